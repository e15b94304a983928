"""The colours of a GIF: few enough, and each pixel gets the nearest."""

from __future__ import annotations

import numpy as np

from showattend.visualize.palette import choose_colours, match_colours


def test_few_colours_are_all_kept() -> None:
    picture = np.random.default_rng(0).choice([0, 100, 255], (9, 8, 3)).astype(np.uint8)
    table = choose_colours([picture], 64)
    (numbers,) = match_colours([picture], table)
    assert (table[numbers] == picture).all()


def test_every_pixel_gets_its_nearest_colour() -> None:
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(3)]
    table = choose_colours(pictures, 30)
    assert 20 <= len(table) <= 30
    for picture, numbers in zip(pictures, match_colours(pictures, table), strict=True):
        squares = ((picture[:, :, None].astype(int) - table.astype(int)) ** 2).sum(-1)
        chosen = np.take_along_axis(squares, numbers[:, :, None].astype(int), 2)[:, :, 0]
        assert (chosen == squares.min(2)).all()


def test_a_small_glow_is_not_forgotten() -> None:
    """A few bright pixels among many dark ones of many colours."""
    picture = np.random.default_rng(2).integers(0, 60, (200, 300, 3), dtype=np.uint8)
    picture[100:104, 150:154] = (250, 190, 60)
    table = choose_colours([picture], 100)
    (numbers,) = match_colours([picture], table)
    glow = table[numbers][101, 151].astype(int)
    assert np.abs(glow - (250, 190, 60)).max() <= 12
