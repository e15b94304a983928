"""Images with more than 8 bits: which values are black and white.

- White is the value stated in the file (TIFF's BitsPerSample, MaxSampleValue and SMaxSampleValue,
  PNG's sBIT, PGM's maxval), unless a pixel exceeds it.
- Without a statement, 16-bit and 32-bit files are assumed to have the smallest of 8, 10, 12, 14 and
  16 bits that holds their largest value, since 12 bits stored in 16 cannot be distinguished from an
  image that is nearly black. Larger and negative values are stretched from smallest to largest.
- Floating-point values up to `MOST_LIGHT` are fractions of white, with highlights above 1; if there
  are larger ones, they are levels of one of the depths above.
- WhiteIsZero is respected (Pillow does so for 8 bits only).

This module needs only numpy and Pillow, because ``showattend export`` copies it into caption.py.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

MOST_LIGHT = 16
"""Floating-point values up to this are fractions of white; an image of levels is never so dark."""

Box = tuple[int, int, int, int]

_TILE = 1 << 20  # pixels converted at once
_DEPTHS = (8, 10, 12, 14, 16)
_BITS, _PHOTOMETRIC, _MAX, _SMAX = 258, 262, 281, 341  # TIFF's tags


class Numbers(NamedTuple):
    """The meaning of pixel values that are not 8-bit.

    Attributes:
        low: The value of black.
        high: The value of white.
        inverted: Whether black and white are swapped.
    """

    low: float
    high: float
    inverted: bool = False

    def __call__(self, image: Image.Image) -> Image.Image:
        """Convert an image to 8 bits."""
        if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
            # Pillow keeps only the upper 8 of 16 bits.
            level = [min(255, round(256 * value * 255 / self.high)) for value in range(256)]
            bands = len(image.getbands())
            alpha = image.mode.endswith("A")
            return image.point(level * (bands - alpha) + list(range(256)) * alpha)
        with np.errstate(invalid="ignore"):  # a signalling NaN
            values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0, neginf=0)
        values = (values - self.low) * 255 / (self.high - self.low)
        values = np.rint(values).clip(0, 255)
        return Image.fromarray((255 - values if self.inverted else values).astype(np.uint8))


def numbers_of(image: Image.Image, stated: float | None, cut: bool) -> Numbers | None:
    """Determine the meaning of a loaded image's values; None if they are ordinary bytes.

    Args:
        image: An image loaded by Pillow.
        stated: The result of `stated_white` when it was opened.
        cut: The result of `is_cut` when it was opened.
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
    """Determine black and white for values between ``low`` and ``high``.

    Args:
        low: The smallest value.
        high: The largest value.
        stated: White as stated in the file.
        is_float: Whether the values are floating-point.
    """
    if low >= 0:
        if is_float and not (stated and high <= stated) and high <= MOST_LIGHT:
            return 0, 1
        full = full_scale(high, stated)
        if full is not None:
            return 0, full
    return (low, high) if high > low else (low, low + max(1, abs(low)))


def full_scale(high: float, stated: float | None = None) -> float | None:
    """White for a maximum of ``high``: as stated, or by the smallest usual bit depth."""
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
    """White as stated in an opened file that is not yet loaded; None if it states nothing."""
    try:
        if image.format == "PPM":
            return 65535.0  # Pillow has already scaled the values by maxval
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
    """The significant bits in a PNG's sBIT chunk; the largest if they differ by channel."""
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
    """Divide a box into tiles of about `_TILE` pixels whose sides are multiples of x and y."""
    left, top, right, bottom = box
    across = min(max(_TILE // x, 1) * x, right - left)
    down = max(_TILE // across // y, 1) * y
    for above in range(top, bottom, down):
        for start in range(left, right, across):
            yield start, above, min(start + across, right), min(above + down, bottom)
