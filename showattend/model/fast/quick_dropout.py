"""Dropout with fast random numbers on a CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

_LEVELS = 1 << 16  # probabilities are rounded to multiples of 1 / _LEVELS


def dropout(x: torch.Tensor, p: float) -> torch.Tensor:
    """Zero each element with probability p and scale the others by 1 / (1 - p).

    On a CPU, PyTorch draws the mask one number at a time, with a slow generator in one thread. Here
    its generator only provides a seed, so that seeded runs remain reproducible bit for bit, and a
    fast generator draws 16 bits per element.

    Args:
        x: A tensor [...] of any shape.
        p: The probability, at least 0 and below 1.

    Returns:
        A tensor of the shape of x.
    """
    if not p:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    seed = int(torch.randint(2**63 - 1, ()))
    drawn = np.random.SFC64(seed).random_raw(-(-x.numel() // 4)).view(np.int16)[: x.numel()]
    keep = torch.from_numpy(drawn) >= round(p * _LEVELS) - _LEVELS // 2
    return x * (keep.to(x.dtype) / (1 - p)).view_as(x)
