"""Bilinear attention (Luong et al. 2015, "general")."""

from __future__ import annotations

from typing import Any

import torch

from showattend.model.attention.contract import Grid, register
from showattend.model.attention.scored import ScoredAttention
from showattend.model.layers import Linear


@register("general")
class GeneralAttention(ScoredAttention):
    """e_i = h^T W_a a_i, alpha = softmax(e), z = sum_i alpha_i a_i.

    Luong et al. 2015, equation 8, "general": one matrix W_a [M, D] without bias. W_a a is computed
    once per image. Cost of a step: B·K·L·M multiplications, in one product.

    Args:
        **sizes: See `ScoredAttention`.

    Raises:
        ConfigError: See `ScoredAttention`.
    """

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.W_a = Linear(self.feature_dim, self.query_dim, bias=False)

    def location_keys(self, features_BLD: torch.Tensor, grid: Grid) -> torch.Tensor:  # noqa: ARG002
        """Compute W_a a [B, L, M]."""
        return self.W_a(features_BLD)

    def scores(
        self,
        query_BKM: torch.Tensor,
        keys: torch.Tensor,
        last_BKL: torch.Tensor | None,  # noqa: ARG002
    ) -> torch.Tensor:
        """Compute the scores e, [B, K, L]."""
        return torch.bmm(query_BKM, keys.transpose(1, 2))
