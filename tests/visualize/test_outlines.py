"""Outlines: they hold half of the attention, where it lies, on photos of any shape."""

from __future__ import annotations

import numpy as np
import pytest

from showattend.images.geometry import Geometry
from showattend.visualize.outlines import contours, half_outline
from tests.visualize.drawing import GRID, SIZES, share_enclosed


def noise(seed: int, power: float) -> np.ndarray:
    values = np.random.default_rng(seed).random(GRID, np.float32) ** power
    return values / values.sum()


def boxes(size: tuple[int, int]) -> list[tuple[float, float, float, float]]:
    """All of the photo, a centre crop of it, and more than it."""
    width, height = size
    side, most = min(size), max(size)
    x, y = (width - side) / 2, (height - side) / 2
    a, b = (width - most) / 2, (height - most) / 2
    return [(0, 0, width, height), (x, y, x + side, y + side), (a, b, a + most, b + most)]


@pytest.mark.parametrize("size", [*SIZES, (40, 40), (30, 180)])
@pytest.mark.parametrize("power", [2, 8, 30])
def test_outlines_hold_half_of_the_attention(size: tuple[int, int], power: float) -> None:
    for seed, box in enumerate(boxes(size)):
        geometry = Geometry(size, box)
        attention = noise(seed, power)
        curves = half_outline(attention, geometry)
        assert curves
        assert share_enclosed(curves, attention, geometry) == pytest.approx(0.5, abs=0.02)
        for curve in curves:
            assert (curve[0] == curve[-1]).all(), "closed"
            assert (curve >= 0).all()
            assert (curve <= size).all()


@pytest.mark.parametrize("size", SIZES)
def test_one_hot_outlines_are_around_their_cell(size: tuple[int, int]) -> None:
    for row, col in ((3, 3), (1, 5), (5, 2)):
        attention = np.zeros(GRID, np.float32)
        attention[row, col] = 1
        geometry = Geometry(size, (0, 0, *size))
        (curve,) = half_outline(attention, geometry)
        left, top, right, bottom = geometry.cell_box(row, col, GRID)
        centre = (curve.min(0) + curve.max(0)) / 2
        assert centre == pytest.approx(((left + right) / 2, (top + bottom) / 2), abs=1)
        assert (curve >= [left - 1, top - 1]).all()
        assert (curve <= [right + 1, bottom + 1]).all()


def test_nothing_to_outline() -> None:
    geometry = Geometry((60, 40), (0, 0, 60, 40))
    assert half_outline(np.zeros(GRID, np.float32), geometry) == []


def test_contours_close_at_the_border_and_run_round_holes() -> None:
    values = np.ones((20, 30))
    values[8:12, 10:20] = 0
    ((outer, hole),) = contours(values, [0.5])
    if np.ptp(outer[:, 0]) < np.ptp(hole[:, 0]):
        outer, hole = hole, outer
    assert (outer.min(0) == 0).all()
    assert (outer.max(0) == [30, 20]).all()
    assert np.sign(area(outer)) == -np.sign(area(hole))


def area(curve: np.ndarray) -> float:
    x, y = curve.T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)
