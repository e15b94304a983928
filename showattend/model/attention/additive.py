"""Additive attention (Bahdanau et al. 2015; Show, Attend and Tell, section 3.1.2)."""

from __future__ import annotations

import torch
from torch import nn

from showattend.model.attention.contract import Attended, Attention, Grid, Keys, register, softmax
from showattend.model.layers import Linear


@register("additive")
class AdditiveAttention(Attention):
    """e_i = v . tanh(W_a a_i + W_h h), alpha = softmax(e), z = sum_i alpha_i a_i.

    Equations 4, 5 and 13 of the paper. v has no bias, which would cancel in the softmax; the one
    inside the tanh is W_a's. Cost of a step: B·K·L·A additions and tanh, which is most of the
    decoder's work; `showattend.model.fast.exponentials` computes the same without a tanh.
    """

    def __init__(self, *, feature_dim: int, query_dim: int, attention_dim: int) -> None:
        super().__init__(feature_dim=feature_dim, query_dim=query_dim, attention_dim=attention_dim)
        self.W_a = Linear(feature_dim, attention_dim)
        self.W_h = Linear(query_dim, attention_dim, bias=False)
        self.v = nn.Parameter(torch.empty(attention_dim).uniform_(-0.1, 0.1))

    def keys(self, features_BLD: torch.Tensor, grid: Grid) -> Keys:  # noqa: ARG002
        """The annotations a, and W_a a [B, L, A]."""
        return features_BLD, self.W_a(features_BLD)

    def forward(
        self,
        query_BKM: torch.Tensor,
        keys: Keys,
        last: torch.Tensor | None = None,  # noqa: ARG002
        sentinel: torch.Tensor | None = None,  # noqa: ARG002
    ) -> Attended:
        """Attend; see `Attention.forward`."""
        features_BLD, keys_BLA = keys
        query_BKA = self.W_h(query_BKM)
        tanh_BKLA = torch.tanh(query_BKA.unsqueeze(2) + keys_BLA.unsqueeze(1))
        alpha_BKL = softmax(tanh_BKLA @ self.v.to(tanh_BKLA))
        return Attended(torch.bmm(alpha_BKL.to(features_BLD), features_BLD), alpha_BKL)
