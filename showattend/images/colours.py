"""Conversion of an image file's values to sRGB; an ordinary photograph needs none of it.

- An ICC profile is applied, unless it is equivalent to sRGB, broken, or meant for another kind of
  image.
- More than 8 bits: see ``depth.py``. Transparency is composited over white.
- Pixels are converted in tiles, on the way to the requested size.

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

_SUPPORT = {Image.Resampling.BILINEAR: 1.0, Image.Resampling.BICUBIC: 2.0}
_LARGEST_PROFILE = 4_000_000  # bytes: printers' profiles have two million
_SAME = 3  # levels by which a profile may differ from sRGB and count as it


class Conversion(NamedTuple):
    """How to convert an image's pixels to sRGB.

    Attributes:
        numbers: The meaning of values that are not 8-bit; None if there are none.
        transform: Converts the file's colours to sRGB; None if they are sRGB, or unknown.
    """

    numbers: Numbers | None
    transform: Any

    @property
    def _mode(self) -> str:
        """The mode that the transform takes."""
        return "RGB" if self.transform is None else str(self.transform.input_mode)

    def is_plain(self, image: Image.Image) -> bool:
        """Whether an image's pixels need no conversion before the transform."""
        return image.mode == self._mode and self.numbers is None and not image.has_transparency_data

    def rgb(self, image: Image.Image) -> Image.Image:
        """The whole image in sRGB; its pixels may be shared with the image itself."""
        if self.is_plain(image):
            whole = image._new(image.im)  # no copy, and none of the file's metadata
        elif self.numbers is None and not image.has_transparency_data:
            whole = self._converted(image)
        else:
            whole = Image.new(self._mode, image.size)
            for box in tiles((0, 0, *image.size), 1, 1):
                whole.paste(self._converted(image.crop(box)), box[:2])
        whole.info.clear()
        return self._to_srgb(whole)

    def resized(
        self,
        image: Image.Image,
        size: tuple[int, int],
        resample: Image.Resampling,
        box: tuple[float, float, float, float],
        gap: float,
    ) -> Image.Image:
        """`Stored.resized` for an image that needs conversion, in a fraction of the memory.

        The pixels equal ``rgb(image).resize(size, resample, box, reducing_gap=gap)`` if no profile
        is applied (profiles are applied after resizing).
        """
        if self.is_plain(image):
            return self._to_srgb(image.resize(size, resample, box, reducing_gap=gap))
        left, top, right, bottom = box
        x = int((right - left) / size[0] / gap) or 1
        y = int((bottom - top) / size[1] / gap) or 1
        safe = (0, 0, *image.size)
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
            reduced.paste(self._converted(image.crop(tile)).reduce((x, y)), place)
        part = (
            (left - safe[0]) / x,
            (top - safe[1]) / y,
            (right - safe[0]) / x,
            (bottom - safe[1]) / y,
        )
        return self._to_srgb(reduced.resize(size, resample, part))

    def _converted(self, image: Image.Image) -> Image.Image:
        """Convert a part of the picture to 8 bits without transparency, in the file's colours."""
        if self.numbers is not None:
            image = self.numbers(image)
        if image.mode == "LAB":
            return _applied(_lab_to_srgb(), image)
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            image = Image.new("RGB", image.size, "white")
            image.paste(rgba, mask=rgba.getchannel("A"))
        return image.convert(self._mode)

    def _to_srgb(self, image: Image.Image) -> Image.Image:
        """Convert a picture in the file's own colours to sRGB."""
        return image if self.transform is None else _applied(self.transform, image)


def stated_depth(image: Image.Image) -> tuple[float | None, bool]:
    """`stated_white` and `is_cut` of an opened image; loading it loses them."""
    return stated_white(image), is_cut(image)


def conversion_of(image: Image.Image, stated: float | None, deep: bool) -> Conversion | None:
    """How to convert a loaded image to sRGB; None if its pixels already are sRGB.

    Args:
        image: Loaded by Pillow.
        stated: The first result of `stated_depth`.
        deep: The second result of `stated_depth`.

    Raises:
        Exception: Nearly any, from Pillow: the image has a mode that cannot be shown.
    """
    numbers = numbers_of(image, stated, deep)
    profile = image.info.get("icc_profile")
    transform = None
    if isinstance(profile, bytes) and 0 < len(profile) <= _LARGEST_PROFILE:
        transform = _transform(profile, "L" if numbers and not deep else image.mode)
    found = Conversion(numbers, transform)
    if not found.is_plain(image):
        found.rgb(image.crop((0, 0, 1, 1)))
    return None if transform is None and found.is_plain(image) else found


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> Any:
    """A transform from a profile's colours to sRGB; None if it changes nothing, or makes no sense.

    Args:
        profile: The profile as stored in the file.
        mode: The mode of the picture.
    """
    try:
        from PIL import ImageCms

        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        grey = mode in ("1", "L", "LA")
        taken = {"GRAY": "L" if grey else "", "CMYK": "CMYK", "RGB": "RGB"}.get(space, "")
        if not taken or (taken == "CMYK") != (mode == "CMYK") or mode == "LAB":
            return None  # it is for another kind of image
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
        return transform if white.min() - black.max() > 64 else None  # else it is nonsense
    except Exception:  # broken, or Pillow was built without colour management
        return None


def _probe(mode: str) -> Image.Image:
    """Colours from all over a mode's space in one row, from zeros to full values."""
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
