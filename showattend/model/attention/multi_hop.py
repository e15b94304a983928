"""Several attention maps per step, with a penalty on their overlap (Lin et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import nn

from showattend.model.attention.contract import (
    Attended,
    Attention,
    AttentionLoss,
    Grid,
    Keys,
    register,
    softmax,
)
from showattend.model.kinds import Option
from showattend.model.layers import Linear


@register("multi_hop")
class MultiHopAttention(Attention):
    """A = softmax(V tanh(W_a a_i + W_h h)) [P, L], z = W_o [A_1 a, .., A_P a].

    Lin et al. 2017, "A Structured Self-Attentive Sentence Embedding", equation 6, with the
    decoder's state inside the tanh. The P maps share one hidden layer and have one row of V each.
    Their contexts are concatenated and projected to the size of an annotation by W_o [D, P·D];
    ``alpha`` is the mean of the maps. To keep the hops different, training adds the penalty
    ||A A^T - I||_F^2 (equation 8), summed over a caption's steps. Cost of a step: the tanh of
    additive attention, P times its other products, and B·K·P·D² multiplications for W_o.

    Args:
        hops: P.
        hop_penalty: The weight of the penalty.
        **sizes: See `Attention`.
    """

    why_not: ClassVar[Mapping[str, str]] = {
        "mode": "one location is sampled from one softmax, and each hop has its own",
        "sentinel": "it would have another share in each hop",
    }

    def __init__(
        self,
        *,
        hops: Annotated[int, Option("maps per step", 1, 1000)] = 4,
        hop_penalty: Annotated[
            float, Option("weight of the penalty on similar maps", 0, training=True)
        ] = 0.1,
        **sizes: Any,
    ) -> None:
        super().__init__(**sizes)
        D, M, A = self.feature_dim, self.query_dim, self.attention_dim
        self.hops, self.hop_penalty = hops, hop_penalty
        self.W_a, self.W_h = Linear(D, A), Linear(M, A, bias=False)
        self.V = nn.Parameter(torch.empty(hops, A).uniform_(-0.1, 0.1))
        self.W_o = Linear(hops * D, D)

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names of the hops."""
        return tuple(f"hop {p + 1}" for p in range(self.hops))

    def keys(self, features_BLD: torch.Tensor, grid: Grid) -> Keys:  # noqa: ARG002
        """Return the annotations [B, L, D] and W_a a [B, L, A]."""
        return features_BLD, self.W_a(features_BLD)

    def forward(
        self,
        query_BKM: torch.Tensor,
        keys: Keys,
        last: torch.Tensor | None = None,  # noqa: ARG002
        sentinel: torch.Tensor | None = None,  # noqa: ARG002
    ) -> Attended:
        """Attend to the annotations; see `Attention.forward`."""
        features_BLD, keys_BLA = keys
        tanh_BKLA = torch.tanh(self.W_h(query_BKM).unsqueeze(2) + keys_BLA.unsqueeze(1))
        A_BKPL = softmax((tanh_BKLA @ self.V.T.to(tanh_BKLA)).transpose(2, 3))
        hops_BKPD = A_BKPL.to(features_BLD) @ features_BLD.unsqueeze(1)
        context_BKD = self.W_o(hops_BKPD.flatten(2))
        aside = (overlap(A_BKPL),) if self.training else None
        return Attended(context_BKD, A_BKPL.mean(2), A_BKPL, aside=aside)

    def loss(
        self,
        asides: Sequence[tuple[torch.Tensor, ...]],
        log_probs_BKT: torch.Tensor,  # noqa: ARG002
        real_BKT: torch.Tensor,
    ) -> AttentionLoss:
        """Compute the penalty of each caption [B, K]; see `Attention.loss`.

        The figure ``hop_overlap`` is the unweighted mean penalty per step.
        """
        overlap_BKT = torch.stack([aside[0] for aside in asides], 2) * real_BKT
        mean = overlap_BKT.detach().sum() / real_BKT.sum().clamp(min=1)
        return AttentionLoss(self.hop_penalty * overlap_BKT.sum(2), {"hop_overlap": mean})


def overlap(A_BKPL: torch.Tensor) -> torch.Tensor:
    """Compute ||A A^T - I||_F^2 for the maps of each query, [B, K]."""
    product_BKPP = A_BKPL @ A_BKPL.transpose(2, 3)
    return ((product_BKPP - torch.eye(A_BKPL.shape[2]).to(product_BKPP)) ** 2).sum((2, 3))
