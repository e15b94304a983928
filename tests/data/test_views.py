"""Crops have the promised area and are repeatable."""

from __future__ import annotations

import numpy as np
import pytest

from showattend.data.views import View, Views, show

SIZE = 64
# Red encodes the column and green the row, so a crop can be read from its corners.
RAMP = np.zeros((SIZE, SIZE, 3), np.uint8)
RAMP[..., 0] = np.arange(SIZE) * 4
RAMP[..., 1] = np.arange(SIZE)[:, None] * 4


def test_the_whole_image_is_unchanged() -> None:
    assert np.array_equal(show(RAMP, View(), name="3.jpg", area=0.5), RAMP)
    assert np.array_equal(show(RAMP, View(mirrored=True), name="3.jpg", area=0.5), RAMP[:, ::-1])


@pytest.mark.parametrize("area", [0.5, 0.8])
def test_a_crop_keeps_its_area_and_nearly_its_proportions(area: float) -> None:
    shares = []
    for row in range(200):
        shown = show(RAMP, View(1), name=str(row), area=area).astype(float)
        assert shown.shape == RAMP.shape
        width = (shown[0, -5, 0] - shown[0, 4, 0]) / 4 / (SIZE - 9)
        height = (shown[-5, 0, 1] - shown[4, 0, 1]) / 4 / (SIZE - 9)
        assert 0.85 < width / height < 1.18
        shares.append(width * height)
    assert area - 0.06 < min(shares) < area + 0.06
    assert 0.9 < max(shares) < 1.06


def test_crops_depend_on_the_image_and_are_repeatable() -> None:
    one = show(RAMP, View(1), name="7.jpg", area=0.7)
    assert np.array_equal(one, show(RAMP, View(1), name="7.jpg", area=0.7))
    assert np.array_equal(one[:, ::-1], show(RAMP, View(1, True), name="7.jpg", area=0.7))
    assert not np.array_equal(one, show(RAMP, View(2), name="7.jpg", area=0.7))
    assert not np.array_equal(one, show(RAMP, View(1), name="8.jpg", area=0.7))


def test_views_of_many_records() -> None:
    views = Views(np.array([0, 3, 1]), np.array([True, False, False]))
    wanted = [View(0, True), View(3, False), View(1, False)]
    assert list(views) == wanted
    assert (len(views), views[1], views[-1]) == (3, wanted[1], wanted[2])
    assert views == wanted
    assert views == Views(np.array([0, 3, 1]), np.array([True, False, False]))
    assert views != wanted[:2]
    assert views != Views.plain(3)
    assert Views.plain(3) == [View()] * 3
    assert views != "abc"


def test_a_crop_of_a_file_whose_name_is_not_utf8() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    assert show(pixels, View(crop=1), name="\udcff.jpg", area=0.5).shape == (8, 8, 3)
