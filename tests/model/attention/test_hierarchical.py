"""Regions, and cells within each, against loops."""

from __future__ import annotations

import pytest
import torch

from showattend.model.attention import build_attention
from showattend.model.attention.hierarchical import members


@torch.no_grad()
def test_it_is_a_product_of_two_softmaxes() -> None:
    torch.manual_seed(0)
    H, W, D = 4, 6, 5
    attention = build_attention(
        "hierarchical", feature_dim=D, query_dim=3, attention_dim=7, regions=2
    ).double()
    a, h = torch.randn(H * W, D).double(), torch.randn(3).double()
    found = attention(h[None, None], attention.keys(a[None], (H, W)))
    e = torch.stack([attention.v @ torch.tanh(attention.W_a(x) + attention.W_h(h)) for x in a])
    blocks = [
        [y * W + x for y in range(top, top + 2) for x in range(left, left + 3)]
        for top in (0, 2)
        for left in (0, 3)
    ]
    within = [e[cells].softmax(0) for cells in blocks]
    rho = [weights @ a[cells] for weights, cells in zip(within, blocks, strict=True)]
    g = [attention.u @ torch.tanh(attention.W_r(r) + attention.W_g(h)) for r in rho]
    beta = torch.stack(g).softmax(0)
    alpha, regions, cells_map = torch.zeros(3, H * W, dtype=torch.float64)
    for b, weights, cells in zip(beta, within, blocks, strict=True):
        alpha[cells] = b * weights
        regions[cells] = b / len(cells)
        cells_map[cells] = weights / len(blocks)
    torch.testing.assert_close(found.alpha[0, 0], alpha)
    torch.testing.assert_close(found.context[0, 0], alpha @ a)
    torch.testing.assert_close(found.parts[0, 0], torch.stack([regions, cells_map]))
    assert attention.part_names == ("regions", "cells")


@pytest.mark.parametrize("grid", [(7, 7), (2, 9), (1, 1), (10, 3)])
@pytest.mark.parametrize("side", [1, 3, 4])
def test_every_cell_is_in_one_region_and_none_is_empty(grid: tuple[int, int], side: int) -> None:
    inside = members(grid, side)
    assert inside.shape == (min(side, grid[0]) * min(side, grid[1]), grid[0] * grid[1])
    assert (inside.sum(0) == 1).all()
    assert (inside.sum(1) >= 1).all()
