"""Attention to places, computed from the decoder's state alone (Luong et al. 2015, "location")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from showattend.model.attention.contract import Grid, register
from showattend.model.attention.scored import ScoredAttention
from showattend.model.kinds import Option


@register("location")
class LocationAttention(ScoredAttention):
    """e = W h, alpha = softmax(e), z = sum_i alpha_i a_i.

    Luong et al. 2015, equation 9: where to look depends on the words so far but not on the content
    of the image. W has one row for each cell of a learned grid of G x G; for another grid, the rows
    are interpolated bilinearly between the cells' centres. Cost of a step: B·K·L·M multiplications.

    Args:
        grid: G, the side of the learned grid; best equal to the encoder's.
        **sizes: See `ScoredAttention`.

    Raises:
        ConfigError: See `ScoredAttention`.
    """

    why_not: ClassVar[Mapping[str, str]] = {"sentinel": "it scores places, and a sentinel has none"}

    def __init__(
        self,
        *,
        grid: Annotated[int, Option("cells per side of the learned grid", 1, 1000)] = 7,
        **sizes: Any,
    ) -> None:
        super().__init__(**sizes)
        self.W = nn.Parameter(torch.empty(self.query_dim, grid, grid))
        nn.init.normal_(self.W, std=self.query_dim**-0.5)

    def location_keys(self, features_BLD: torch.Tensor, grid: Grid) -> torch.Tensor:
        """Return the rows of W, one per cell of this grid, [B, L, M], expanded without a copy."""
        W_MHW = self.W if grid == tuple(self.W.shape[1:]) else self._interpolated(grid)
        rows_1LM = W_MHW.flatten(1).T.unsqueeze(0).to(features_BLD)
        return rows_1LM.expand(features_BLD.shape[0], -1, -1)

    def _interpolated(self, grid: Grid) -> torch.Tensor:
        return F.interpolate(self.W.unsqueeze(0), size=grid, mode="bilinear").squeeze(0)

    def scores(
        self,
        query_BKM: torch.Tensor,
        keys: torch.Tensor,
        last_BKL: torch.Tensor | None,  # noqa: ARG002
    ) -> torch.Tensor:
        """Compute the scores e, [B, K, L]."""
        return torch.bmm(query_BKM, keys.transpose(1, 2))
