"""Statistics of attention maps with known answers."""

from __future__ import annotations

import pytest
import torch

from showattend.evaluation.scores.map_statistics import complain_of_maps, describe_maps


def test_uniform_maps() -> None:
    figures = describe_maps([torch.full((4, 3, 3), 1 / 9), torch.full((2, 9), 1 / 9)])
    assert figures["entropy"] == pytest.approx(1)
    assert figures["change"] == pytest.approx(0)
    assert figures["coverage"] == pytest.approx(1)  # nothing twice: 4 and 2 of 9 looks, spread
    assert "uniform" in (complain_of_maps(figures) or "")


def test_one_hot_maps() -> None:
    apart = describe_maps([torch.eye(6)[:4]])
    assert apart == {"entropy": 0.0, "change": 1.0, "coverage": 1.0}
    assert complain_of_maps(apart) is None
    stuck = describe_maps([torch.eye(6)[[2, 2, 2, 2]]])
    assert stuck == {"entropy": 0.0, "change": 0.0, "coverage": 0.25}
    assert "all alike" in (complain_of_maps(stuck) or "")


def test_half_and_half() -> None:
    maps = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.5, 0.5]])
    figures = describe_maps([maps])
    assert figures["entropy"] == pytest.approx(0.5)
    assert figures["change"] == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert figures["coverage"] == pytest.approx(3 / 3)
    twice = describe_maps([maps, maps[[0, 0, 0]]])
    assert twice["coverage"] == pytest.approx((1 + 2 / 3) / 2)


def test_undefined_statistics_are_left_out() -> None:
    assert describe_maps([]) == {}
    assert describe_maps([torch.ones(3, 1), torch.zeros(0, 9)]) == {}
    assert set(describe_maps([torch.eye(3)[:1]])) == {"entropy", "coverage"}
    assert complain_of_maps({}) is None
