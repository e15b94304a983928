"""Pictures of more than 8 bits: which of their numbers are black and white.

- The full scale that the file states counts (TIFF's BitsPerSample, MaxSampleValue and
  SMaxSampleValue, PNG's sBIT, PGM's maxval), unless a pixel exceeds it.
- A file of 16 or 32 bits that states none is taken for the least of 8, 10, 12, 14 and 16 bits that
  holds its largest value: nothing tells 12 bits stored in 16 from a picture that is nearly black.
  Larger and negative numbers are stretched, from the least of them to the largest.
- Floating-point numbers up to `MOST_LIGHT` are shares of white, with highlights above 1; where
  there are larger ones, they are levels of one of the depths above.
- WhiteIsZero is obeyed (by Pillow itself for 8 bits only).

This module needs numpy and Pillow alone: ``showattend export`` writes it into caption.py.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

MOST_LIGHT = 16
"""Up to here floating-point numbers are shares of white; no picture of levels is so dark."""

Box = tuple[int, int, int, int]

_TILE = 1 << 20  # pixels that are converted at once
_DEPTHS = (8, 10, 12, 14, 16)
_BITS, _PHOTOMETRIC, _MAX, _SMAX = 258, 262, 281, 341  # TIFF's tags


class Numbers(NamedTuple):
    """What numbers of other than 8 bits mean.

    Attributes:
        low: The number of black.
        high: The number of white.
        inverted: Black and white are the other way round.
    """

    low: float
    high: float
    inverted: bool = False

    def __call__(self, image: Image.Image) -> Image.Image:
        """The picture in 8 bits."""
        if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
            # Pillow has kept the upper 8 of 16 bits.
            level = [min(255, round(256 * value * 255 / self.high)) for value in range(256)]
            bands = len(image.getbands())
            alpha = image.mode.endswith("A")
            return image.point(level * (bands - alpha) + list(range(256)) * alpha)
        values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0, neginf=0)
        values = (values - self.low) * 255 / (self.high - self.low)
        values = np.rint(values).clip(0, 255)
        return Image.fromarray((255 - values if self.inverted else values).astype(np.uint8))


def numbers_of(image: Image.Image, stated: float | None, cut: bool) -> Numbers | None:
    """What the numbers of a loaded image mean; None where they are plain bytes.

    Args:
        image: Loaded by Pillow.
        stated: `stated_white`, of the time when it was opened.
        cut: `is_cut`, of the same.
    """
    is_float = image.mode == "F"
    if not (cut or is_float or image.mode == "I" or image.mode.startswith("I;16")):
        return None
    tags = getattr(image, "tag_v2", None) or {}
    if cut:
        colours = [band for band in image.getbands() if band != "A"]
        highest = max(
            band[1] for band in image.getextrema()[: len(colours)] if isinstance(band, tuple)
        )
        full = full_scale(256 * highest + 255, stated)
        return None if full is None or full >= 65535 else Numbers(0, full)
    low, high = _extent(image)
    found = scale_of(low, high, stated, is_float=is_float)
    return Numbers(*found, inverted=tags.get(_PHOTOMETRIC) == 0)


def _extent(image: Image.Image) -> tuple[float, float]:
    low, high = math.inf, -math.inf
    for box in tiles((0, 0, *image.size), 1, 1):
        values = np.nan_to_num(np.asarray(image.crop(box)), posinf=0, neginf=0)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    return low, high


def scale_of(
    low: float, high: float, stated: float | None = None, *, is_float: bool = False
) -> tuple[float, float]:
    """Which of numbers between ``low`` and ``high`` are black and white.

    Args:
        low: The least of them.
        high: The largest.
        stated: The number of white as the file states it.
        is_float: They are no integers.
    """
    if low >= 0:
        if is_float and not (stated and high <= stated) and high <= MOST_LIGHT:
            return 0, 1
        full = full_scale(high, stated)
        if full is not None:
            return 0, full
    return (low, high) if high > low else (low, low + 1)


def full_scale(high: float, stated: float | None = None) -> float | None:
    """The number of white where ``high`` is the largest: as stated, or by the least usual depth."""
    if stated and high <= stated:
        return stated
    return next((2**bits - 1 for bits in _DEPTHS if high < 2**bits), None)


def is_cut(image: Any) -> bool:
    """Whether Pillow keeps only the upper byte of 16-bit colours."""
    tile = getattr(image, "tile", None)
    if not tile or image.mode.startswith("I"):
        return False
    arguments = tile[0][3]
    rawmode = arguments if isinstance(arguments, str) else (arguments or ("",))[0]
    return isinstance(rawmode, str) and ";16" in rawmode and image.mode in ("RGB", "RGBA", "LA")


def stated_white(image: Any) -> float | None:
    """The number of white that an opened, not yet loaded file states; None where it states none."""
    try:
        if image.format == "PPM":
            return 65535.0  # Pillow has scaled them by the file's maxval
        if image.format == "PNG":
            bits = _significant_bits(image.fp)
            return None if bits is None or bits > 16 else 2.0**bits - 1
        tags = image.tag_v2
        for tag in (_SMAX, _MAX):
            value = tags.get(tag)
            value = max(value) if isinstance(value, tuple) else value
            if value is not None and 0 < float(value) <= 65535:
                return float(value)
        bits = max(tags.get(_BITS, (8,)))
        return 2.0**bits - 1 if 8 < bits < 16 else None
    except (AttributeError, OSError, TypeError, ValueError, struct.error):
        return None


def _significant_bits(file: Any) -> int | None:
    """What a PNG's sBIT says of its colours; where there are several numbers, the largest."""
    place = file.tell()
    try:
        file.seek(8)
        for _ in range(100):
            length, name = struct.unpack(">I4s", file.read(8))
            if name == b"sBIT":
                given = file.read(min(length, 4))
                return max(given[:3]) if length in (1, 3, 4) else given[0]
            if name == b"IDAT":
                return None
            file.seek(length + 4, 1)
        return None
    finally:
        file.seek(place)


def tiles(box: Box, x: int, y: int) -> Iterator[Box]:
    """Cut a box into tiles of some `_TILE` pixels whose sides are multiples of x and y."""
    left, top, right, bottom = box
    across = min(max(_TILE // x, 1) * x, right - left)
    down = max(_TILE // across // y, 1) * y
    for above in range(top, bottom, down):
        for start in range(left, right, across):
            yield start, above, min(start + across, right), min(above + down, bottom)
