"""From an opened image file to sRGB: colour profiles, transparency, orientation, memory limits.

- ICC profiles are applied, unless they are equivalent to sRGB, broken, or meant for another kind of
  image.
- ``depth.py`` handles more than 8 bits. Transparency is composited over white.
- The memory needed for decoding is estimated from the header, and files above a limit are refused.
  Pixels are converted in tiles while resizing.

This module needs only numpy and Pillow, because ``showattend export`` copies it into caption.py.
"""

from __future__ import annotations

import io
import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from showattend.images.depth import Numbers, is_cut, numbers_of, stated_white, tiles

MAX_BYTES = 900_000_000
"""Memory limit for decoding an image file."""
_SUPPORT = {Image.Resampling.BILINEAR: 1.0, Image.Resampling.BICUBIC: 2.0}
_LARGEST_PROFILE = 4_000_000  # bytes; printer profiles have about two million
_SAME = 3  # a profile that differs from sRGB by at most this many levels counts as sRGB
# Bytes per pixel: in Pillow, by mode; while decoding, by format (measured).
_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
_DECODED = {"WEBP": 16, "AVIF": 16, "HEIF": 10}
# TIFF's tags.
_BITS_PER_SAMPLE, _ROWS, _TILE_WIDTH, _TILE_LENGTH = 258, 278, 322, 323

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition for each EXIF orientation."""


class TooLargeError(Exception):
    """Decoding an image would need more memory than allowed."""


class Plan(NamedTuple):
    """An image that is about to be decoded.

    Attributes:
        image: The opened image, not loaded; a JPEG may be set to a reduced size.
        size: Stored width and height of the whole photograph.
        covered: Width and height of the part of ``image``, from its top left corner, that the
            photograph fills; None if it fills all of it.
        bytes: Memory needed to decode it.
    """

    image: Image.Image
    size: tuple[int, int]
    covered: tuple[float, float] | None
    bytes: int


def plan(image: Image.Image, at_least: int | None = None, *, whole: bool = True) -> Plan:
    """Prepare an opened image for decoding.

    Args:
        image: An image opened by Pillow. It is modified.
        at_least: Allow a JPEG to be decoded at a reduced size with no side below this many pixels;
            None decodes it in full.
        whole: Whether the image will be converted to RGB without resizing (``Stored.rgb``).
    """
    size, extra = image.size, _buffers(image)
    drafted = image.draft(None, (at_least, at_least)) if at_least else None
    pixels, each = image.width * image.height, _PIXEL.get(image.mode, 4)
    decoding = pixels * _DECODED.get(image.format or "", each)
    tile = getattr(image, "tile", None)
    if image.info.get("bit_depth", 8) > 8:  # set for HEIF
        decoding = 16 * pixels
    if tile and tile[0][0] in Image.DECODERS:  # decoders in Python hold all rows twice
        decoding = 3 * pixels * each
    copied = whole and (image.mode != "RGB" or "icc_profile" in image.info or is_cut(image))
    converting = pixels * (each + 4) if copied else 0
    covered = drafted[1][2:] if drafted is not None else None
    return Plan(image, size, covered, max(decoding + extra, converting))


def _buffers(image: Image.Image) -> int:
    """Bytes that a decoder holds in addition to the image itself."""
    pixels = image.width * image.height
    layers = getattr(image, "layer", None)
    if layers and _in_passes(image, len(layers)):  # JPEG: two bytes per coefficient
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
    """Whether a JPEG has several scans, and so is held in memory in full before decoding."""
    if image.info.get("progressive"):
        return True
    try:  # Pillow stops after the header of the first scan, which has the number of its layers
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


class Stored(NamedTuple):
    """A decoded photograph, before it is turned upright and converted to sRGB.

    Attributes:
        image: The stored pixels; a JPEG may be at a reduced size.
        size: Width and height of the whole photograph.
        covered: Width and height of the part of ``image``, from its top left corner, that the
            photograph fills.
        orientation: The EXIF orientation that remains to be applied.
        numbers: The meaning of values that are not 8-bit; None if all are.
        transform: The conversion of the file's colours to sRGB; None if they are sRGB or unknown.
    """

    image: Image.Image
    size: tuple[int, int]
    covered: tuple[float, float]
    orientation: int = 1
    numbers: Numbers | None = None
    transform: Any = None

    @property
    def _mode(self) -> str:
        """The image mode that the transform expects."""
        return "RGB" if self.transform is None else str(self.transform.input_mode)

    @property
    def is_plain(self) -> bool:
        """Whether the pixels can go to the transform unchanged."""
        image = self.image
        return image.mode == self._mode and self.numbers is None and not image.has_transparency_data

    def rgb(self) -> Image.Image:
        """All of ``image`` in sRGB, not turned upright; may share pixels with ``image``."""
        if self.is_plain:
            whole = self.image._new(self.image.im)  # no copy, and no metadata
        elif self.numbers is None and not self.image.has_transparency_data:
            whole = self.convert(self.image)
        else:
            whole = Image.new(self._mode, self.image.size)
            for box in tiles((0, 0, *self.image.size), 1, 1):
                whole.paste(self.convert(self.image.crop(box)), box[:2])
        whole.info.clear()
        return self.to_srgb(whole)

    def resized(
        self,
        size: tuple[int, int],
        resample: Image.Resampling,
        box: tuple[float, float, float, float],
        gap: float = 3.0,
    ) -> Image.Image:
        """Resize a part of ``image`` and convert it to sRGB, without turning it upright.

        Equal to ``rgb().resize(size, resample, box, reducing_gap=gap)`` if there is no profile (a
        profile is applied after resizing), with a fraction of the memory.

        Args:
            size: Target width and height.
            resample: BILINEAR or BICUBIC.
            box: Left, top, right, bottom of the part.
            gap: Pillow's ``reducing_gap``: whole blocks are averaged first, down to this many
                times the target size.
        """
        if self.is_plain:
            return self.to_srgb(self.image.resize(size, resample, box, reducing_gap=gap))
        left, top, right, bottom = box
        x = int((right - left) / size[0] / gap) or 1
        y = int((bottom - top) / size[1] / gap) or 1
        safe = (0, 0, *self.image.size)
        if (x, y) != (1, 1):  # as Pillow does
            reach = _SUPPORT[resample] - 0.5
            reach_x, reach_y = reach * (right - left) / size[0], reach * (bottom - top) / size[1]
            safe = (
                max(0, int(left - reach_x)),
                max(0, int(top - reach_y)),
                min(safe[2], math.ceil(right + reach_x)),
                min(safe[3], math.ceil(bottom + reach_y)),
            )
        width, height = safe[2] - safe[0], safe[3] - safe[1]
        reduced = Image.new(self._mode, (math.ceil(width / x), math.ceil(height / y)))
        for tile in tiles(safe, x, y):
            place = ((tile[0] - safe[0]) // x, (tile[1] - safe[1]) // y)
            reduced.paste(self.convert(self.image.crop(tile)).reduce((x, y)), place)
        part = (
            (left - safe[0]) / x,
            (top - safe[1]) / y,
            (right - safe[0]) / x,
            (bottom - safe[1]) / y,
        )
        return self.to_srgb(reduced.resize(size, resample, part))

    def convert(self, image: Image.Image) -> Image.Image:
        """Convert a part of the image to 8 bits without transparency, in the file's colours."""
        if self.numbers is not None:
            image = self.numbers(image)
        if image.mode == "LAB":
            return _applied(_lab_to_srgb(), image)
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            image = Image.new("RGB", image.size, "white")
            image.paste(rgba, mask=rgba.getchannel("A"))
        return image.convert(self._mode)

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """Convert an image from the file's colours to sRGB."""
        return image if self.transform is None else _applied(self.transform, image)


def decode(
    image: Image.Image, at_least: int | None = None, *, whole: bool = True, most: int = MAX_BYTES
) -> Stored:
    """Load an opened image.

    Args:
        image: An image opened by Pillow.
        at_least: See `plan`.
        whole: See `plan`.
        most: Memory limit in bytes.

    Raises:
        TooLargeError: Decoding would exceed the limit.
        Exception: The data is damaged; Pillow's decoders raise almost any exception.
    """
    image, size, covered, needed = plan(image, at_least, whole=whole)
    if needed > most:
        raise TooLargeError(
            f"decoding it needs {needed / 1e6:,.0f} MB of memory, more than the limit of "
            f"{most / 1e6:,.0f} MB; make it smaller"
        )
    stated, deep = stated_white(image), is_cut(image)
    image.load()
    numbers = numbers_of(image, stated, deep)
    profile = image.info.get("icc_profile")
    transform = None
    if isinstance(profile, bytes) and 0 < len(profile) <= _LARGEST_PROFILE:
        transform = _transform(profile, "L" if numbers and not deep else image.mode)
    if covered is None:
        size, covered = image.size, image.size
    stored = Stored(image, size, covered, _orientation(image), numbers, transform)
    if not stored.is_plain:  # raises for modes that cannot be converted
        stored.to_srgb(stored.convert(image.crop((0, 0, 1, 1))))
    return stored


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; a broken EXIF block counts as 1."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:
        return 1
    return value if value in TURNS else 1


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Apply an EXIF orientation."""
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


# Colour ------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> Any:
    """Build the transform from an ICC profile to sRGB; None if it changes nothing or is unusable.

    Args:
        profile: The profile as stored in the file.
        mode: The mode of the image.
    """
    try:
        from PIL import ImageCms

        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        grey = mode in ("1", "L", "LA")
        taken = {"GRAY": "L" if grey else "", "CMYK": "CMYK", "RGB": "RGB"}.get(space, "")
        if not taken or (taken == "CMYK") != (mode == "CMYK") or mode == "LAB":
            return None  # for another kind of image
        transform = ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            taken,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        probe = _probe(taken)
        found = np.asarray(_applied(transform, probe)).astype(int)
        if taken == "CMYK":
            white, black = found[0, 0], found[0, -1]
        else:
            given = np.asarray(probe.convert("RGB")).astype(int)
            if np.abs(found - given).max() <= _SAME:
                return None
            black, white = found[0, 0], found[0, -1]
        return transform if white.min() - black.max() > 64 else None  # otherwise it is nonsense
    except Exception:  # broken, or Pillow was built without colour management
        return None


def _probe(mode: str) -> Image.Image:
    """One row of colours that covers a mode's space, from all zeros to all maxima."""
    steps = np.linspace(0, 255, 256 if mode == "L" else 9).round().astype(np.uint8)
    grid = np.meshgrid(*[steps] * len(mode.strip()), indexing="ij")
    row = np.stack([axis.ravel() for axis in grid], -1)[None]
    return Image.frombytes(mode, (row.shape[1], 1), row.tobytes())


@lru_cache(maxsize=1)
def _lab_to_srgb() -> Any:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")


def _applied(transform: Any, image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # None only when converting in place
    converted.info.clear()
    return converted
