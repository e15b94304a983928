"""The measure of "looked somewhere": what it is of known maps, and who uses it."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from showattend.visualize.focus import SOMEWHERE, full_share, half_area, looked, sharpest
from showattend.visualize.page import photo_values
from showattend.visualize.raw import json_bytes, npz_bytes
from tests.visualize.drawing import caption_of, plain


def test_half_area_of_known_maps() -> None:
    one = np.zeros((5, 8))
    one[3, 3] = 0.7  # the sum does not matter
    assert half_area(one) == pytest.approx(0.5 / 40)
    assert half_area(np.full((5, 8), 1 / 40)) == pytest.approx(0.5)
    two = np.array([[0.6, 0.4], [0, 0]])
    assert half_area(two) == pytest.approx(0.5 / 0.6 / 4)
    half_and_half = np.array([[0.25, 0.25, 0.25, 0.25, 0, 0, 0, 0]])
    assert half_area(half_and_half) == pytest.approx(0.25)
    assert half_area(np.zeros((3, 3))) == 0.5, "no attention at all"


def test_half_area_means_the_same_on_any_grid() -> None:
    """A map looked at on a grid three times as fine has the same area."""
    coarse = np.random.default_rng(0).random((7, 9)) ** 6
    fine = np.kron(coarse, np.ones((3, 3)))
    assert half_area(fine) == pytest.approx(half_area(coarse))


def test_brightness_falls_with_the_spread() -> None:
    one = np.zeros((10, 10))
    one[2, 2] = 1
    assert full_share(one) == 1, "a pointed map is as bright as it can be"
    even = np.full((10, 10), 0.01)
    assert even.max() / full_share(even) == pytest.approx((SOMEWHERE / 0.5) ** 2)
    mixed = [share * one + (1 - share) * even for share in np.linspace(0, 1, 300)]
    brightness = [each.max() / full_share(each) for each in mixed]
    assert (np.diff(brightness) > -1e-9).all()
    assert np.abs(np.diff(brightness)).max() < 0.05, "without a jump at the threshold"


def test_the_sharpest_content_words_come_first() -> None:
    caption = caption_of(plain(9, 6), [(0, 0)] * 5, words="the dog chases the ball")
    for t, share in enumerate((1, 0.9, 0.7, 0.0, 0.8)):
        caption.attention[t] = share * caption.attention[t] + (1 - share) / 49
    assert looked(caption) == (True, True, True, False, True)
    assert sharpest(caption, range(5), 2) == [1, 4], "in the caption's order"
    assert sharpest(caption, range(5), 9) == [1, 2, 4]
    assert sharpest(caption, [0, 3], 4) == [0], "function words, where nothing else is there"
    assert sharpest(caption, [3], 4) == []


def test_page_and_numbers_have_the_same_measure() -> None:
    caption = caption_of(plain(9, 6), [(0, 0), (3, 3)], words="a dog")
    caption.attention[0] = 1 / 49
    wanted = [half_area(each) for each in caption.attention]
    values = photo_values([caption])
    assert values["captions"][0]["half_area"] == pytest.approx(wanted, abs=1e-6)
    assert values["somewhere"] == SOMEWHERE
    assert json.loads(json_bytes(caption))["half_area"] == wanted
    with np.load(io.BytesIO(npz_bytes(caption))) as maps:
        assert maps["half_area"].tolist() == wanted
