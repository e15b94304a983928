"""Dot-product attention (Luong et al. 2015)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from showattend.model.attention.contract import Grid, register
from showattend.model.attention.scored import ScoredAttention
from showattend.model.layers import Linear


@register("dot")
class DotAttention(ScoredAttention):
    """e_i = h . a_i, alpha = softmax(e), z = sum_i alpha_i a_i.

    Luong et al. 2015, equation 8, "dot". It has no weights if query and annotations have the same
    size, M = D (``decoder.projection_dim`` equal to ``decoder.hidden_dim``). Otherwise a matrix
    without bias projects the query to the size of an annotation: e_i = (W_h h) . a_i. Cost of a
    step: B·K·L·D multiplications, in one product.

    Args:
        **sizes: See `ScoredAttention`.

    Raises:
        ConfigError: See `ScoredAttention`.
    """

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        M, D = self.query_dim, self.feature_dim
        self.W_h = nn.Identity() if M == D else Linear(M, D, bias=False)

    def location_keys(self, features_BLD: torch.Tensor, grid: Grid) -> torch.Tensor:  # noqa: ARG002
        """Return the annotations themselves, [B, L, D]."""
        return features_BLD

    def scores(
        self,
        query_BKM: torch.Tensor,
        keys: torch.Tensor,
        last_BKL: torch.Tensor | None,  # noqa: ARG002
    ) -> torch.Tensor:
        """Compute the scores e, [B, K, L]."""
        return torch.bmm(self.W_h(query_BKM), keys.transpose(1, 2))
