"""Dropout whose random numbers cost little on a CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

_LEVELS = 1 << 16  # a probability is rounded to this many steps


def dropout(x: torch.Tensor, p: float) -> torch.Tensor:
    """Zero each element with probability p and scale the others by 1 / (1 - p).

    PyTorch draws the mask on a CPU one number at a time, from a slow generator and in one thread.
    Here its generator gives a seed only, so that a seeded run is still repeated bit for bit, and
    16 bits of a fast generator decide about an element.

    Args:
        x: Of any shape.
        p: At least 0 and below 1.
    """
    if not p:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    seed = int(torch.randint(2**63 - 1, ()))
    drawn = np.random.SFC64(seed).random_raw(-(-x.numel() // 4)).view(np.int16)[: x.numel()]
    keep = torch.from_numpy(drawn) >= round(p * _LEVELS) - _LEVELS // 2
    return x * (keep.to(x.dtype) / (1 - p)).view_as(x)
