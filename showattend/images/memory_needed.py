"""The memory needed to decode an image, estimated before decoding.

This module needs only Pillow, because ``showattend export`` copies it into caption.py.
"""

from __future__ import annotations

from typing import Any

from PIL import Image

from showattend.exceptions import ImageError
from showattend.images.depth import is_cut

MAX_BYTES = 900_000_000
"""The memory that an image file may take to decode."""

# Bytes of a pixel in memory: in Pillow, by mode; while decoding, by format (measured).
_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
_DECODED = {"WEBP": 16, "AVIF": 16, "HEIF": 10}
# TIFF's tags.
_BITS_PER_SAMPLE, _ROWS, _TILE_WIDTH, _TILE_LENGTH = 258, 278, 322, 323


def bytes_needed(image: Image.Image, buffers: int, whole: bool) -> int:
    """The bytes needed to decode an opened image.

    Args:
        image: An image opened by Pillow, not loaded.
        buffers: The result of `buffers_of`, from before a JPEG was set to a fraction of its size.
        whole: Whether it is needed in RGB at full size, not resized.
    """
    pixels, each = image.width * image.height, _PIXEL.get(image.mode, 4)
    decoding = pixels * _DECODED.get(image.format or "", each)
    tile = getattr(image, "tile", None)
    if image.info.get("bit_depth", 8) > 8:  # of HEIF
        decoding = 16 * pixels
    if tile and tile[0][0] in Image.DECODERS:  # written in Python: holds all rows twice
        decoding = 3 * pixels * each
    copied = whole and (image.mode != "RGB" or "icc_profile" in image.info or is_cut(image))
    converting = pixels * (each + 4) if copied else 0
    return max(decoding + buffers, converting)


def buffers_of(image: Image.Image) -> int:
    """Bytes that a decoder holds in addition to the picture."""
    pixels = image.width * image.height
    layers = getattr(image, "layer", None)
    if layers and _in_passes(image, len(layers)):  # a JPEG: two bytes per coefficient
        blocks = [across * down for _, across, down, *_ in layers]
        most = max(each[1] for each in layers) * max(each[2] for each in layers)
        return 2 * pixels * sum(blocks) // max(most, 1)
    tags = getattr(image, "tag_v2", None)
    if tags and any(each[0] == "libtiff" for each in getattr(image, "tile", ())):
        bits = tags.get(_BITS_PER_SAMPLE)
        bits = sum(bits) if isinstance(bits, tuple) else 32
        rows = min(tags.get(_ROWS, image.height), image.height)
        strip = image.width * rows
        if _TILE_WIDTH in tags:
            strip = tags[_TILE_WIDTH] * tags.get(_TILE_LENGTH, image.height)
        return int(strip * max(4, bits / 8))
    return 0


def _in_passes(image: Any, layers: int) -> bool:
    """Whether a JPEG has several scans: all of it is in memory before any pixel is known."""
    if image.info.get("progressive"):
        return True
    try:  # Pillow has stopped after the first scan's header, which states how many it holds
        place = image.fp.tell()
        image.fp.seek(max(0, place - 16))
        read = image.fp.read(place - image.fp.tell())
        image.fp.seek(place)
    except (AttributeError, OSError, ValueError):  # already loaded
        return False
    heads = [read[len(read) - 8 - 2 * held :] for held in range(1, layers)]
    return any(
        head[:5] == bytes((0xFF, 0xDA, 0, 6 + 2 * held, held)) for held, head in enumerate(heads, 1)
    )


def refuse_costly(name: str, needed: int) -> None:
    """Refuse an image that takes too much memory to decode.

    Args:
        name: The image's name in the message.
        needed: `bytes_needed`.

    Raises:
        ImageError: It is more than `MAX_BYTES`.
    """
    if needed > MAX_BYTES:
        raise ImageError(
            f"{name}: decoding it needs {needed / 1e6:,.0f} MB of memory, more than the "
            f"limit of {MAX_BYTES / 1e6:,.0f} MB; make it smaller"
        )
