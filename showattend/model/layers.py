"""Layers that run in the precision of what they are given.

A model's weights stay in float32 while it is trained; annotations come in the precision that the
products are to run in (float32, bf16, float16; float64 in tests). Weights are cast to it.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Linear(nn.Linear):
    """x W^T + b in the precision of x."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The product for x [..., in], [..., out]."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


def wide(dtype: torch.dtype) -> torch.dtype:
    """float32, or float64 where the work is done in it: for what must not be rounded further."""
    return torch.promote_types(dtype, torch.float32)
