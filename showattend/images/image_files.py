"""Open any image file safely: decoded, not yet upright nor at the network's size.

An ordinary photograph, a JPEG in sRGB, needs only this module. Others need more: `colours` and
`depth` convert other values to sRGB, `memory_needed` estimates the cost of decoding, `heif` and
`arrays` read what Pillow does not.

This module needs only numpy and Pillow, because ``showattend export`` copies it into caption.py.
"""

from __future__ import annotations

import logging
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from showattend.exceptions import ImageError, one_line
from showattend.images.arrays import from_array
from showattend.images.colours import Conversion, conversion_of, stated_depth
from showattend.images.heif import is_heif, open_heif
from showattend.images.memory_needed import buffers_of, bytes_needed, refuse_costly
from showattend.images.turns import orientation_of
from showattend.system.quiet import quiet

MAX_PIXELS = 178_956_970
"""Pillow's limit against decompression bombs; larger files are refused."""

# Listed so that Pillow neither imports its other forty plugins nor tries them on a file (EPS would
# start Ghostscript on any upload). JPEG includes MPO.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "PPM")
for _plugin in ("Jpeg", "Png", "WebP", "Gif", "Bmp", "Tiff", "Avif", "Ppm"):
    import_module(f"PIL.{_plugin}ImagePlugin")

# Without a handler, Python prints what Pillow logs about damaged data.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class Stored(NamedTuple):
    """A decoded photograph, before it is turned upright.

    Attributes:
        image: Its pixels as stored; for a JPEG perhaps at a fraction of its size.
        size: The whole photograph's width and height as stored.
        covered: The part of ``image``, from its top left corner, that the whole photograph fills.
        orientation: The EXIF orientation still to be applied, 1 to 8.
        conversion: The conversion to sRGB; None if the pixels already are sRGB.
    """

    image: Image.Image
    size: tuple[int, int]
    covered: tuple[float, float]
    orientation: int = 1
    conversion: Conversion | None = None

    @property
    def upright_size(self) -> tuple[int, int]:
        """The whole photograph's width and height, turned upright."""
        return self.size[::-1] if self.orientation >= 5 else self.size

    def rgb(self) -> Image.Image:
        """All of ``image`` in sRGB, not rotated; the pixels may be those of ``image`` itself."""
        if self.conversion is not None:
            return self.conversion.rgb(self.image)
        whole = self.image._new(self.image.im)  # no copy, and none of the file's metadata
        whole.info.clear()
        return whole

    def resized(
        self,
        size: tuple[int, int],
        resample: Image.Resampling,
        box: tuple[float, float, float, float],
        gap: float = 3.0,
    ) -> Image.Image:
        """The part of ``image`` within a box, at another size, in sRGB, not rotated.

        Args:
            size: Width and height.
            resample: BILINEAR or BICUBIC.
            box: Left, top, right, bottom of the part.
            gap: Pillow's ``reducing_gap``: averaging whole blocks leaves this many times the
                pixels.
        """
        if self.conversion is not None:
            return self.conversion.resized(self.image, size, resample, box, gap)
        return self.image.resize(size, resample, box, reducing_gap=gap)


def load_image(path: Path | Image.Image | np.ndarray, at_least: int | None = None) -> Stored:
    """Decode an image.

    Args:
        path: A file, a picture or an array [H, W], [H, W, 3 or 4]; see
            `showattend.images.sources.plain`.
        at_least: A JPEG may be decoded smaller, with no side below this; None needs all its pixels.

    Raises:
        ImageError: See `showattend.images.upright.open_image`.
    """
    if isinstance(path, np.ndarray):
        image = from_array(path)
        return Stored(image, image.size, image.size, 1, conversion_of(image, None, False))
    if isinstance(path, Image.Image):
        return _decode(path, f"image of {path.width}×{path.height} pixels", at_least)
    try:
        if path.is_dir():
            raise ImageError(f"{path}: this is a folder, not an image")
        if not path.is_file() and path.exists():
            raise ImageError(f"{path}: not a regular file")
        with path.open("rb") as file, quiet():
            return _decode(identify(file, path), str(path), at_least)
    except FileNotFoundError:
        gone = " (a broken link)" if path.is_symlink() else ""
        raise ImageError(not_an_address(str(path)) or f"{path}: no such file{gone}") from None
    except PermissionError:
        raise ImageError(f"{path}: cannot be read (permission denied)") from None
    except (OSError, ValueError) as error:  # a name too long, a null byte in it, a failing disk
        raise ImageError(f"{path}: cannot be read ({one_line(error)})") from None


def identify(file: IO[bytes], path: Path) -> Image.Image:
    """Open the file with the plugin of its format; nothing is decoded yet.

    Raises:
        ImageError: It is empty, not an image, or has too many pixels.
    """
    head = file.read(12)
    file.seek(0)
    if not head:
        raise ImageError(f"{path}: the file is empty (0 bytes)")
    try:
        try:
            return Image.open(file, formats=_FORMATS)
        except UnidentifiedImageError:
            if not is_heif(head):
                raise
            file.seek(0)
            return open_heif(file, path)
    except UnidentifiedImageError:
        raise ImageError(
            f"{path}: not an image, or in a format that cannot be read "
            "(JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC can)"
        ) from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: the image has more than {MAX_PIXELS:,} pixels") from None
    except ImageError:
        raise
    except Exception as error:
        raise damaged(str(path), error) from None


def draft(image: Image.Image, at_least: int | None) -> tuple[tuple[float, float] | None, int]:
    """Set an opened JPEG to a fraction of its size, no side below ``at_least``.

    Returns:
        The part of the decoded image that the whole photograph covers (None: all of it), and the
        bytes that decoding takes.
    """
    buffers = buffers_of(image)
    drafted = image.draft(None, (at_least, at_least)) if at_least else None
    return drafted and drafted[1][2:], bytes_needed(image, buffers, whole=at_least is None)


def _decode(image: Image.Image, name: str, at_least: int | None) -> Stored:
    """Decode an opened image; a JPEG at the smallest sufficient size."""
    size = image.size
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(
            f"{name}: the image has {size[0] * size[1]:,} pixels, "
            f"more than the limit of {MAX_PIXELS:,}"
        )
    # On damaged data, Pillow's decoders raise OSError, SyntaxError, struct.error, ValueError,
    # MemoryError and others. Treat every exception as a damaged file.
    try:
        with quiet():
            covered, needed = draft(image, at_least)
            refuse_costly(name, needed)
            depth = stated_depth(image)
            image.load()
            if covered is None:
                size = covered = image.size
            conversion = conversion_of(image, *depth)
            return Stored(image, size, covered, orientation_of(image), conversion)
    except ImageError:
        raise
    except Exception as error:
        raise damaged(name, error) from None


def damaged(name: str, error: Exception) -> ImageError:
    """The error for a file that a decoder cannot read."""
    return ImageError(f"{name}: the image is damaged or cut short ({one_line(error)})")


def not_an_address(given: str) -> str | None:
    """A line that says how to download a photo, if its address is given; else None."""
    found = re.match(r"([a-z][a-z0-9+.-]+):/+(?=.)", given, re.IGNORECASE)
    if found is None:
        return None
    address = f"{found[1]}://{given[found.end() :]}"  # a path has one of the slashes
    if found[1].lower() not in ("http", "https", "ftp"):
        return f"{address}: an address, not a file; give the path of a file"
    command = f"curl -L -o photo.jpg {shlex.quote(address)}"
    return f"{address}: an address, not a file; download the photo first: {command}"
