"""Additive attention (Bahdanau et al. 2015; Show, Attend and Tell, section 3.1.2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from showattend.model.attention.contract import Grid, register
from showattend.model.attention.scored import ScoredAttention
from showattend.model.layers import Linear


@register("additive")
class AdditiveAttention(ScoredAttention):
    """e_i = v . tanh(W_a a_i + W_h h), alpha = softmax(e), z = sum_i alpha_i a_i.

    Equations 4, 5 and 13 of the paper; Luong et al. 2015 call it concat. The product with v has no
    bias, since it would cancel in the softmax; the bias inside the tanh belongs to W_a. Cost of a
    step: B·K·L·A additions and tanh, most of the decoder's work.
    `showattend.model.fast.exponentials` computes the same without a tanh.

    Args:
        **sizes: See `ScoredAttention`.

    Raises:
        ConfigError: See `ScoredAttention`.
    """

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.W_a = Linear(self.feature_dim, self.attention_dim)
        self.W_h = Linear(self.query_dim, self.attention_dim, bias=False)
        self.v = nn.Parameter(torch.empty(self.attention_dim).uniform_(-0.1, 0.1))

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
        query_BKA = self.W_h(query_BKM)
        tanh_BKLA = torch.tanh(query_BKA.unsqueeze(2) + keys.unsqueeze(1))
        return tanh_BKLA @ self.v.to(tanh_BKLA)
