"""Additive attention that also reads the previous map (Chorowski et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from showattend.exceptions import ConfigError
from showattend.model.attention.contract import Grid, register
from showattend.model.attention.scored import ScoredAttention
from showattend.model.kinds import Option
from showattend.model.layers import Linear


@register("convolution")
class ConvolutionAttention(ScoredAttention):
    """e_i = v . tanh(W_a a_i + W_h h + U f_i), f = F * alpha_{t-1}, alpha = softmax(e).

    Chorowski et al. 2015, "Attention-Based Models for Speech Recognition", equations 8 and 9, with
    filters F over the two axes of the grid instead of over time. Outside the grid alpha is zero,
    and before the first word it is uniform. Cost of a step: the cost of additive attention, plus
    B·K·L·C·(A + k²) multiplications for C filters of k x k.

    Args:
        filters: C.
        kernel: k, odd.
        **sizes: See `ScoredAttention`.

    Raises:
        ConfigError: See `ScoredAttention`; or ``kernel`` is even.
    """

    why_not: ClassVar[Mapping[str, str]] = {
        "sentinel": "it scores what is near the last place, and a sentinel has no place"
    }
    needs_last: ClassVar[bool] = True

    def __init__(
        self,
        *,
        filters: Annotated[
            int, Option("filters over the weights of the previous step", 1, 1000)
        ] = 16,
        kernel: Annotated[int, Option("cells per side of each filter; odd", 1, 99)] = 5,
        **sizes: Any,
    ) -> None:
        super().__init__(**sizes)
        if kernel % 2 == 0:
            raise ConfigError(f"attention.kernel is {kernel}; it must be an odd number")
        self.W_a = Linear(self.feature_dim, self.attention_dim)
        self.W_h = Linear(self.query_dim, self.attention_dim, bias=False)
        self.F = nn.Conv2d(1, filters, kernel, padding=kernel // 2, bias=False)
        self.U = Linear(filters, self.attention_dim, bias=False)
        self.v = nn.Parameter(torch.empty(self.attention_dim).uniform_(-0.1, 0.1))

    def location_keys(self, features_BLD: torch.Tensor, grid: Grid) -> torch.Tensor:
        """Compute W_a a on the grid, [B, H, W, A]."""
        return self.W_a(features_BLD).unflatten(1, grid)

    def scores(
        self, query_BKM: torch.Tensor, keys: torch.Tensor, last_BKL: torch.Tensor | None
    ) -> torch.Tensor:
        """Compute the scores e, [B, K, L]."""
        B, K, _ = query_BKM.shape
        _, H, W, _ = keys.shape
        if last_BKL is None:
            last_BKL = query_BKM.new_full((B, K, H * W), 1 / (H * W))
        maps = last_BKL.to(keys).reshape(B * K, 1, H, W)
        f = F.conv2d(maps, self.F.weight.to(keys), padding=self.F.padding)
        f_BKLC = f.flatten(2).transpose(1, 2).unflatten(0, (B, K))
        state_BK1A = self.W_h(query_BKM).unsqueeze(2)
        tanh_BKLA = torch.tanh(keys.flatten(1, 2).unsqueeze(1) + state_BK1A + self.U(f_BKLC))
        return tanh_BKLA @ self.v.to(tanh_BKLA)
