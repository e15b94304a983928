"""No attention: the same vector at every step (Vinyals et al. 2015, Show and Tell)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from showattend.model.attention.contract import Attended, Attention, Grid, Keys, register


@register("none")
class FixedContext(Attention):
    """z = 1/L sum_i a_i, for every query.

    The whole image becomes one vector, as in Show and Tell (Vinyals et al. 2015) and the
    encoder-decoder models of Sutskever et al. 2014 and Cho et al. 2014. Attention was invented to
    avoid this bottleneck. There are no maps. Cost of a step: none.

    Args:
        **sizes: See `Attention`.
    """

    why_not: ClassVar[Mapping[str, str]] = {
        "mode": "it has no softmax to sample from",
        "sentinel": "it has no softmax to share",
    }

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)

    def keys(self, features_BLD: torch.Tensor, grid: Grid) -> Keys:  # noqa: ARG002
        """Compute the mean annotation [B, 1, D]."""
        return (features_BLD.mean(1, keepdim=True),)

    def forward(
        self,
        query_BKM: torch.Tensor,
        keys: Keys,
        last: torch.Tensor | None = None,  # noqa: ARG002
        sentinel: torch.Tensor | None = None,  # noqa: ARG002
    ) -> Attended:
        """Return the mean annotation for every query, [B, K, D]; see `Attention.forward`."""
        return Attended(keys[0].expand(-1, query_BKM.shape[1], -1), None)
