"""The sheet of hits and misses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from showattend.caption import Caption
from showattend.images.preprocessing import Preprocessing
from showattend.visualize.gallery import draw_gallery
from showattend.visualize.looks import OUTLINE, PEAK, Looks, draw_look

SIZE = (80, 40)
PHOTO = Image.new("RGB", SIZE, (120, 120, 120))
GEOMETRY = Preprocessing(size=64).load_pixels(PHOTO)[1]


def caption(row: int, column: int) -> Caption:
    """Says "a dog", and looks at one cell of a 4 x 4 grid while it does."""
    maps = np.zeros((2, 4, 4), np.float32)
    maps[:, row, column] = 1
    return Caption(("a", "dog"), (-1.0,) * 3, maps, np.ones(2), GEOMETRY, -1.0, PHOTO)


def word(hit: bool, mass: float) -> dict[str, Any]:
    return {
        "word": "dog",
        "position": 1,
        "categories": ["dog"],
        "pointing": {"model": float(hit)},
        "mass": {"model": mass},
    }


def mask() -> np.ndarray:
    inside = np.zeros((40, 80), bool)
    inside[10:20, 40:60] = True  # cell (1, 2)
    return inside


@pytest.mark.parametrize(("row", "column"), [(1, 2), (2, 1)])
def test_the_peak_is_marked_and_the_object_outlined(row: int, column: int) -> None:
    pixels = np.asarray(draw_look(caption(row, column), 1, 1, mask()))
    assert pixels.shape == (240, 480, 3)
    ys, xs = np.nonzero((pixels == OUTLINE).all(2))
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (60, 119, 240, 359)
    ys, xs = np.nonzero((pixels == PEAK).all(2))
    assert ys.mean() == pytest.approx((row + 0.5) * 60, abs=4)
    assert xs.mean() == pytest.approx((column + 0.5) * 120, abs=4)


def test_the_clearest_hits_and_the_worst_misses_are_kept() -> None:
    looks, masks = Looks(2), {"dog": mask()}
    for hit, mass in ((True, 0.5), (False, 0.2), (True, 0.9), (False, 0.1), (True, 0.7)):
        looks(caption(1, 2), [word(hit, mass)], masks)
    looks(caption(1, 2), [], masks)
    looks(caption(1, 2), [word(True, 0.1), word(False, 0.15)], masks)
    cards = looks.cards()
    assert [card.score or card.tags[0] for card in cards] == [
        "“dog”: peak inside, 90 % of its map on the dog",
        "“dog”: peak inside, 70 % of its map on the dog",
        "“dog”: peak outside, 10 % of its map on the dog",
        "“dog”: peak outside, 15 % of its map on the dog",
    ]
    assert draw_gallery(cards, "Where it looked").get_size_inches()[1] > 4
