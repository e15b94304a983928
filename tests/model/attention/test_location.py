"""Attention to places: W h, on the grid that was learned and on others."""

from __future__ import annotations

import torch

from showattend.model.attention import build_attention


def test_it_is_luongs_formula_and_does_not_see_the_image() -> None:
    torch.manual_seed(0)
    attention = build_attention("location", feature_dim=5, query_dim=3, attention_dim=4, grid=2)
    h, a = torch.randn(1, 1, 3), torch.randn(1, 4, 5)
    attended = attention(h, attention.keys(a, (2, 2)))
    rows = [attention.W[:, row, column] for row in range(2) for column in range(2)]
    wanted = torch.stack([row @ h[0, 0] for row in rows]).softmax(0)
    torch.testing.assert_close(attended.alpha[0, 0], wanted)
    again = attention(h, attention.keys(torch.randn(1, 4, 5), (2, 2)))
    torch.testing.assert_close(again.alpha, attended.alpha)


def test_a_finer_grid_looks_at_the_same_place() -> None:
    attention = build_attention("location", feature_dim=5, query_dim=3, attention_dim=4, grid=4)
    with torch.no_grad():  # the further down and right, the higher
        attention.W.zero_()
        attention.W[0] = torch.arange(4.0)[:, None] + torch.arange(4.0)
    h = torch.tensor([[[1.0, 0, 0]]])
    coarse = attention(h, attention.keys(torch.zeros(1, 16, 5), (4, 4))).alpha.view(4, 4)
    fine = attention(h, attention.keys(torch.zeros(1, 64, 5), (8, 8))).alpha.view(8, 8)
    assert coarse.argmax() == 15
    assert fine.argmax() == 63
    # Half a cell between the centres of neighbours: their scores differ by half as much.
    torch.testing.assert_close((fine[3, 4] / fine[3, 3]).log(), torch.tensor(0.5))
    torch.testing.assert_close((coarse[1, 2] / coarse[1, 1]).log(), torch.tensor(1.0))
