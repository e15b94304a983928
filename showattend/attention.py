"""Soft attention: one query, many locations, weights that sum to one (paper, section 4.2).

Shape suffixes: B images, K queries of one image (its captions in training, its beams in search),
L locations, D feature dimension, M hidden size, A attention size.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class AdditiveAttention(nn.Module):
    """Bahdanau's additive score, e_i = v . tanh(W_a a_i + W_h h) (paper, equation 4).

    The keys W_a a_i depend on the image only: `keys` is called once an image, and every caption,
    beam and time step shares them through the batch dimension; nothing is copied. There is no
    bias on v, which would cancel in the softmax, and one bias inside the tanh, in W_a.

    Args:
        feature_dim: D.
        query_dim: M.
        attention_dim: A.
    """

    def __init__(self, *, feature_dim: int, query_dim: int, attention_dim: int) -> None:
        super().__init__()
        self.W_a = nn.Linear(feature_dim, attention_dim)
        self.W_h = nn.Linear(query_dim, attention_dim, bias=False)
        self.v = nn.Parameter(torch.empty(attention_dim).uniform_(-0.1, 0.1))

    def keys(self, features_BLD: torch.Tensor) -> torch.Tensor:
        """Project the annotations, once an image: [B, L, D] to [B, L, A]."""
        return F.linear(
            features_BLD, self.W_a.weight.to(features_BLD), self.W_a.bias.to(features_BLD)
        )


def additive_weights(
    query_BKA: torch.Tensor, keys_BLA: torch.Tensor, v_A: torch.Tensor
) -> torch.Tensor:
    """The weights alpha [B, K, L] in float32 for projected queries and keys.

    The softmax is taken in float32 (at least) whatever the precision of the products, so that a
    map sums to one.
    """
    hidden_BKLA = torch.tanh(query_BKA.unsqueeze(2) + keys_BLA.unsqueeze(1))
    scores_BKL = hidden_BKLA @ v_A
    return torch.softmax(scores_BKL.to(torch.promote_types(scores_BKL.dtype, torch.float32)), -1)
