"""Few colours for many: the table of a GIF, and each pixel's nearest colour in it.

Pillow's own match takes a colour for its neighbours' too, always to the same side, which would move
the edge of a map by a pixel or two; this one is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

ROUNDS = 3  # of k-means; more change little
SAMPLE = 20_000  # colours that it looks at
CHUNK = 16_384  # colours matched at once, to keep memory small


def choose_colours(pictures: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Choose a table of colours for pictures: k-means, started from Pillow's octree.

    A colour counts by the square root of how often it occurs, so that the few pixels of a glow
    are not left to the many around it.

    Args:
        pictures: Each [H, W, 3] uint8.
        count: How many colours, at most; if there are no more in the pictures, they are all taken.

    Returns:
        The table [colours, 3] uint8.
    """
    codes = np.concatenate([_codes(picture).ravel() for picture in pictures])
    present, often = np.unique(codes, return_counts=True)
    if len(present) <= count:
        return _colours(present).astype(np.uint8)
    step = 1 + len(present) // SAMPLE
    colours, weights = _colours(present[::step]), np.sqrt(often[::step])
    # The octree sees each colour once: a strip of them all.
    strip = Image.fromarray(_colours(present).astype(np.uint8)[None])
    found = strip.quantize(count, Image.Quantize.FASTOCTREE).getpalette() or []
    table = np.array(found[: 3 * count], np.float32).reshape(-1, 3)
    for _ in range(ROUNDS):
        nearest = _nearest(colours, table)
        total = np.bincount(nearest, weights, len(table))
        sums = [np.bincount(nearest, weights * colours[:, k], len(table)) for k in range(3)]
        used = total > 0
        table[used] = (np.stack(sums, 1)[used] / total[used, None]).astype(np.float32)
    return np.rint(table).astype(np.uint8)


def match_colours(pictures: Sequence[np.ndarray], table: np.ndarray) -> list[np.ndarray]:
    """Give each pixel the number of the colour nearest to its own.

    Args:
        pictures: Each [H, W, 3] uint8.
        table: The colours [at most 256, 3] uint8.

    Returns:
        For each picture the numbers [H, W] uint8.
    """
    coded = [_codes(picture) for picture in pictures]
    number = np.zeros(1 << 24, np.uint8)
    present = np.zeros(1 << 24, bool)
    for codes in coded:
        present[codes] = True
    (all_codes,) = np.nonzero(present)
    for first in range(0, len(all_codes), CHUNK):
        some = all_codes[first : first + CHUNK]
        number[some] = _nearest(_colours(some), table.astype(np.float32))
    return [number[codes] for codes in coded]


def _codes(picture: np.ndarray) -> np.ndarray:
    """Each pixel's colour as one number below 2^24."""
    wide = picture.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _colours(codes: np.ndarray) -> np.ndarray:
    return np.stack([codes >> 16, (codes >> 8) & 255, codes & 255], -1).astype(np.float32)


def _nearest(colours: np.ndarray, table: np.ndarray) -> np.ndarray:
    # Without the colours' own squares, which are the same for all of the table.
    return ((table**2).sum(1) - 2 * (colours @ table.T)).argmin(1)
