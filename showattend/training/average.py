"""An exponential moving average of the weights: what is validated and kept."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn


class MovingAverage(nn.Module):
    """A copy of a model that follows its weights slowly.

    theta' <- d theta' + (1 - d) theta after every step, with d rising to ``decay`` over the first
    steps, min(decay, (1 + n) / (10 + n)), so that the random start is soon forgotten.

    Args:
        model: The model being trained; only what it trains moves.
        decay: d.
    """

    updates: torch.Tensor

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.model = deepcopy(model).requires_grad_(False).eval()
        self.decay = decay
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Follow the model after a step of the optimizer."""
        n = int(self.updates)
        decay = min(self.decay, (1 + n) / (10 + n))
        for mine, theirs in zip(self.model.parameters(), model.parameters(), strict=True):
            if theirs.requires_grad:
                mine.lerp_(theirs, 1 - decay)
        self.updates += 1
