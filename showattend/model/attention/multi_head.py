"""Multi-head attention (Vaswani et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch

from showattend.exceptions import ConfigError
from showattend.model.attention.contract import Attended, Attention, Grid, Keys, register, softmax
from showattend.model.kinds import Option
from showattend.model.layers import Linear


@register("multi_head")
class MultiHeadAttention(Attention):
    """alpha^p = softmax(q^p . k_i^p / sqrt(d)), z = W_o [sum_i alpha_i^p v_i^p], p = 1..P.

    Vaswani et al. 2017, section 3.2.2: each head has its own query, keys and values of size
    d = A / P, slices of W_q h, W_k a and W_v a. ``alpha`` is the mean of the heads' maps. Keys and
    values are computed once per image. Cost of a step: 2·B·K·L·A multiplications, and B·K·A·D for
    W_o.

    Args:
        heads: P, which divides A.
        **sizes: See `Attention`.

    Raises:
        ConfigError: ``heads`` does not divide A.
    """

    why_not: ClassVar[Mapping[str, str]] = {
        "mode": "one location is sampled from one softmax, and each head has its own",
        "sentinel": "it would have another share in each head",
    }

    def __init__(
        self, *, heads: Annotated[int, Option("maps per step", 1)] = 8, **sizes: Any
    ) -> None:
        super().__init__(**sizes)
        D, M, A = self.feature_dim, self.query_dim, self.attention_dim
        if A % heads:
            raise ConfigError(
                f"attention.heads is {heads}; it must divide decoder.attention_dim, {A}"
            )
        self.heads = heads
        self.W_q, self.W_k, self.W_v = Linear(M, A), Linear(D, A), Linear(D, A)
        self.W_o = Linear(A, D)

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names of the heads."""
        return tuple(f"head {p + 1}" for p in range(self.heads))

    def keys(self, features_BLD: torch.Tensor, grid: Grid) -> Keys:  # noqa: ARG002
        """Compute keys and values of each head, [B, P, L, d]."""
        return self._split(self.W_k(features_BLD)), self._split(self.W_v(features_BLD))

    def _split(self, x_BLA: torch.Tensor) -> torch.Tensor:
        return x_BLA.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(
        self,
        query_BKM: torch.Tensor,
        keys: Keys,
        last: torch.Tensor | None = None,  # noqa: ARG002
        sentinel: torch.Tensor | None = None,  # noqa: ARG002
    ) -> Attended:
        """Attend to the annotations; see `Attention.forward`."""
        k_BPLd, v_BPLd = keys
        q_BPKd = self._split(self.W_q(query_BKM)) / math.sqrt(k_BPLd.shape[3])
        alpha_BPKL = softmax(q_BPKd @ k_BPLd.transpose(2, 3))
        z_BPKd = alpha_BPKL.to(v_BPLd) @ v_BPLd
        context_BKD = self.W_o(z_BPKd.transpose(1, 2).flatten(2))
        return Attended(context_BKD, alpha_BPKL.mean(1), alpha_BPKL.transpose(1, 2))
