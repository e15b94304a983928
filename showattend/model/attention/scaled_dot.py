"""Scaled dot-product attention with one head (Vaswani et al. 2017)."""

from __future__ import annotations

import math
from typing import Any

import torch

from showattend.model.attention.contract import Grid, register
from showattend.model.attention.scored import ScoredAttention
from showattend.model.layers import Linear


@register("scaled_dot")
class ScaledDotAttention(ScoredAttention):
    """e_i = (W_h h) . (W_a a_i) / sqrt(A), alpha = softmax(e), z = sum_i alpha_i a_i.

    Vaswani et al. 2017, "Attention Is All You Need", equation 1, with the annotations themselves as
    values. Dividing by sqrt(A) keeps the variance of the scores from growing with A, which would
    leave the softmax with almost no gradient. Cost of a step: B·K·L·A multiplications, in one
    product.

    Args:
        **sizes: See `ScoredAttention`.

    Raises:
        ConfigError: See `ScoredAttention`.
    """

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.W_a = Linear(self.feature_dim, self.attention_dim)
        self.W_h = Linear(self.query_dim, self.attention_dim)

    def location_keys(self, features_BLD: torch.Tensor, grid: Grid) -> torch.Tensor:  # noqa: ARG002
        """Compute W_a a [B, L, A]."""
        return self.W_a(features_BLD)

    def scores(
        self,
        query_BKM: torch.Tensor,
        keys: torch.Tensor,
        last_BKL: torch.Tensor | None,  # noqa: ARG002
    ) -> torch.Tensor:
        """Compute the scores e, [B, K, L]."""
        query_BKA = self.W_h(query_BKM) / math.sqrt(self.attention_dim)
        return torch.bmm(query_BKA, keys.transpose(1, 2))
