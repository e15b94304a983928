"""Maps over photos: each pixel's own heat, light that grows with it, scales, entropy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from showattend.exceptions import UserError
from showattend.visualize.heat import STYLES, entropy_of, heat_of, paint
from tests.visualize.drawing import brightness, caption_of, plain


@pytest.mark.parametrize("style", STYLES)
def test_paint_keeps_the_pixels_apart(style: str) -> None:
    """One hot pixel changes one pixel; more heat is more light, on any grey."""
    heat = np.zeros((5, 8), np.float32)
    heat[1, 6] = 1
    cold = paint(plain(8, 5), np.zeros((5, 8)), style=style)
    drawn = paint(plain(8, 5), heat, style=style)
    changed = (drawn != cold).any(2)
    assert changed[1, 6]
    assert changed.sum() == 1
    for grey in (0, 60, 128, 200, 255):
        ramp = np.linspace(0, 1, 50)[None]
        light = brightness(paint(np.full((1, 50, 3), grey, np.uint8), ramp, style=style))[0]
        assert light[-1] > light[0] + 50
        assert (np.diff(light) > -1.5).all(), "no rim darker than its surroundings"
    assert drawn.dtype == np.uint8


def test_light_adds_no_colour() -> None:
    ramp = np.linspace(0, 1, 50)[None]
    grey = paint(np.full((1, 50, 3), 90, np.uint8), ramp, style="light")
    assert (np.ptp(grey.astype(int), axis=2) <= 1).all()
    red = paint(np.full((1, 50, 3), (200, 30, 30), np.uint8), ramp, style="light")
    assert (red[..., 0] > red[..., 1]).all(), "a red coat stays red"


def test_unknown_styles_are_refused() -> None:
    with pytest.raises(UserError, match="heat, light"):
        paint(plain(8, 5), np.zeros((5, 8)), style="dark")


def test_scales() -> None:
    caption = caption_of(plain(77, 77), [(3, 3), (3, 3)])
    caption.attention[1] = 1 / 49
    size = caption.geometry.image_size
    assert heat_of(caption, 0, size, "word").max() == pytest.approx(1)
    assert heat_of(caption, 1, size, "word").max() == pytest.approx(0.16), "an even map stays dim"
    assert heat_of(caption, 1, size, "common").max() == pytest.approx(1 / 49)
    assert heat_of(caption, 0, size, "common").max() == pytest.approx(1)
    with pytest.raises(UserError, match="word, common"):
        heat_of(caption, 0, size, "log")


def test_entropy_is_in_bits() -> None:
    one = np.zeros((7, 7))
    one[2, 3] = 1
    assert str(entropy_of(one)) == "0.0", "not minus zero"
    assert entropy_of(np.full((7, 7), 1 / 49)) == pytest.approx(math.log2(49))
    half = np.zeros((2, 4))
    half[0] = 0.25
    assert entropy_of(half) == pytest.approx(2)
