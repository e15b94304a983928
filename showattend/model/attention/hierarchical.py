"""Two levels of attention: regions of the grid, and cells within each (Yang et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import nn

from showattend.model.attention.contract import Attended, Attention, Grid, Keys, register, softmax
from showattend.model.kinds import Option
from showattend.model.layers import Linear


@register("hierarchical")
class HierarchicalAttention(Attention):
    """alpha_i = beta_r alpha_{i|r} for the cells i of a region r, z = sum_i alpha_i a_i.

    Follows Yang et al. 2016, "Hierarchical Attention Networks for Document Classification". Their
    words and sentences become cells and regions, and their fixed query becomes the decoder's state:

    * alpha_{i|r} = softmax over the cells of r of v . tanh(W_a a_i + W_h h)
    * rho_r = sum_i alpha_{i|r} a_i, the summary of r
    * beta_r = softmax over the regions of u . tanh(W_r rho_r + W_g h)

    The regions are R x R blocks, as equal as the grid allows. Each has at least one cell, so a
    small grid has fewer regions. W_r rho_r is computed as sum_i alpha_{i|r} W_r a_i, with W_r a
    computed once per image. Cost of a step: the cost of additive attention, B·K·R²·L for the
    softmax within regions, and B·K·R²·L·A multiplications, most of them by zero.

    `part_names` has two maps, each of which sums to one: "regions" is beta_r spread evenly over the
    cells of r, and "cells" is alpha_{i|r} with equal weight for all regions.

    Args:
        regions: R.
        **sizes: See `Attention`.
    """

    why_not: ClassVar[Mapping[str, str]] = {
        "mode": "one location is sampled from one softmax, and it has two levels of them",
        "sentinel": "it belongs to no region",
    }

    def __init__(
        self,
        *,
        regions: Annotated[int, Option("regions per side of the grid", 1, 1000)] = 3,
        **sizes: Any,
    ) -> None:
        super().__init__(**sizes)
        D, M, A = self.feature_dim, self.query_dim, self.attention_dim
        self.regions = regions
        self.W_a, self.W_h = Linear(D, A), Linear(M, A, bias=False)
        self.W_r, self.W_g = Linear(D, A), Linear(M, A, bias=False)
        self.v = nn.Parameter(torch.empty(A).uniform_(-0.1, 0.1))
        self.u = nn.Parameter(torch.empty(A).uniform_(-0.1, 0.1))

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names of the two levels."""
        return ("regions", "cells")

    def keys(self, features_BLD: torch.Tensor, grid: Grid) -> Keys:
        """Return the annotations [B, L, D], W_a a and W_r a [B, L, A], and `members` [B, R, L]."""
        inside_RL = members(grid, self.regions).to(features_BLD)
        inside_BRL = inside_RL.unsqueeze(0).expand(features_BLD.shape[0], -1, -1)
        return features_BLD, self.W_a(features_BLD), self.W_r(features_BLD), inside_BRL

    def forward(
        self,
        query_BKM: torch.Tensor,
        keys: Keys,
        last: torch.Tensor | None = None,  # noqa: ARG002
        sentinel: torch.Tensor | None = None,  # noqa: ARG002
    ) -> Attended:
        """Attend to the annotations; see `Attention.forward`."""
        features_BLD, cells_BLA, regions_BLA, inside_BRL = keys
        tanh_BKLA = torch.tanh(self.W_h(query_BKM).unsqueeze(2) + cells_BLA.unsqueeze(1))
        e_BK1L = (tanh_BKLA @ self.v.to(tanh_BKLA)).unsqueeze(2)
        within_BKRL = softmax(e_BK1L.masked_fill(inside_BRL.unsqueeze(1) == 0, -torch.inf))
        rho_BKRA = within_BKRL.to(regions_BLA) @ regions_BLA.unsqueeze(1)
        tanh_BKRA = torch.tanh(self.W_g(query_BKM).unsqueeze(2) + rho_BKRA)
        beta_BKR = softmax(tanh_BKRA @ self.u.to(tanh_BKRA))
        alpha_BKL = (beta_BKR.unsqueeze(3) * within_BKRL).sum(2)
        context_BKD = torch.bmm(alpha_BKL.to(features_BLD), features_BLD)
        even_BRL = inside_BRL.to(beta_BKR) / inside_BRL.to(beta_BKR).sum(2, keepdim=True)
        levels = torch.bmm(beta_BKR, even_BRL), within_BKRL.mean(2)
        return Attended(context_BKD, alpha_BKL, torch.stack(levels, 2))


def members(grid: Grid, side: int) -> torch.Tensor:
    """Mark the cells of each region: [R, L] of 0 and 1, where R is side², or fewer on a small grid.

    Args:
        grid: Rows and columns of the grid.
        side: The number of regions along each side.
    """
    (H, W), rows, columns = grid, min(side, grid[0]), min(side, grid[1])
    row_H = torch.arange(H) * rows // H
    column_W = torch.arange(W) * columns // W
    region_L = (row_H.unsqueeze(1) * columns + column_W).flatten()
    return (region_L == torch.arange(rows * columns).unsqueeze(1)).float()
