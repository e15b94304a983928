"""What rounding does to a model: a tolerance that follows from the model, not from the machine."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

BF16 = 2.0**-8
"""The largest relative error of a number rounded to bfloat16, which has 8 significant bits."""


def tolerance(model: nn.Module, run: Callable[[nn.Module], torch.Tensor], draws: int = 10) -> float:
    """How far bfloat16 may move a result: four times the most that random errors of its size do.

    Every weight is moved by a random share of itself, of at most `BF16`; where the factors of a
    product are rounded, or its result, this is what happens to the model.

    Args:
        model: In float32 or float64; it stays as it is.
        run: Makes the result.
        draws: How many times the weights are moved.
    """
    exact, most = run(model), 0.0
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for weight in moved.parameters():
                share = torch.rand(weight.shape, generator=generator, dtype=weight.dtype)
                weight.mul_(1 + BF16 * (2 * share - 1))
        most = max(most, float((run(moved) - exact).abs().max()))
    return 4 * most
