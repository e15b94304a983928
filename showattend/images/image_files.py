"""Image files: open them safely, upright and in sRGB; find them in folders."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

# Listing the plugins keeps Pillow from importing forty others and trying them on files (EPS would
# start Ghostscript on uploads).
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from showattend.exceptions import ImageError
from showattend.images.depth import full_scale
from showattend.images.pixels import Stored, TooLargeError, decode, plan, turn
from showattend.system.quiet import quiet

ImageSource = str | Path | Image.Image | np.ndarray

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".avif", ".heic", ".heif", ".hif", ".ppm", ".pgm", ".pbm", ".pnm",
})
# fmt: on
MAX_PIXELS = 178_956_970
"""Pillow's limit against decompression bombs; larger files are refused."""

# JPEG includes MPO, a format of many phones; Pillow has one plugin for both.
_FORMATS = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
        BmpImagePlugin.BmpImageFile,
        BmpImagePlugin.DibImageFile,
        TiffImagePlugin.TiffImageFile,
        AvifImagePlugin.AvifImageFile,
        PpmImagePlugin.PpmImageFile,
    )
)
_HEIF_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)


# --- opening -----------------------------------------------------------------------------------


def open_image(source: ImageSource) -> Image.Image:
    """Open an image, upright, in sRGB and fully loaded.

    The ICC profile is applied, greyscale of more than 8 bits is scaled to 8, transparency is
    composited over white, and of an animation the first frame is used.

    Args:
        source: A path, a PIL image, or an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] of type
            uint8, uint16 (scaled like a 16-bit file), bool, or float in [0, 1].

    Returns:
        The image in mode RGB.

    Raises:
        ImageError: The file is missing, a folder, empty, not an image, damaged, has more than
            ``MAX_PIXELS`` pixels, or needs more than ``pixels.MAX_BYTES`` to decode; or the array
            has another shape or type.
    """
    stored = load_image(source)
    image = stored.rgb()
    if isinstance(source, Image.Image) and image.im is source.im:
        image = image.copy()
    return turn(image, stored.orientation)


def load_image(source: ImageSource, at_least: int | None = None) -> Stored:
    """Load an image without converting it to sRGB or turning it upright.

    Args:
        source: See ``open_image``.
        at_least: Allow a JPEG to be decoded at a reduced size with no side below this many pixels;
            None decodes it in full.

    Raises:
        ImageError: See ``open_image``.
    """
    if isinstance(source, np.ndarray):
        image = _from_array(source)
        return Stored(image, image.size, image.size)
    if isinstance(source, Image.Image):
        return _load(
            source, f"image of {source.width}×{source.height} pixels", None, at_least is None
        )
    if not isinstance(source, str | Path):
        raise ImageError(
            f"an image must be a path, a PIL image or a numpy array, not {type(source).__name__}"
        )
    path = Path(source)
    try:
        if path.is_dir():
            raise ImageError(f"{path}: this is a folder, not an image")
        if path.exists() and not path.is_file():
            raise ImageError(f"{path}: not a regular file")
        with path.open("rb") as file, quiet():
            return _load(_identify(file, path), str(path), at_least, at_least is None)
    except FileNotFoundError:
        gone = " (a broken link)" if path.is_symlink() else ""
        raise ImageError(f"{path}: no such file{gone}") from None
    except PermissionError:
        raise ImageError(f"{path}: cannot be read (permission denied)") from None
    except (OSError, ValueError) as error:  # name too long, null byte in it, disk failure
        raise ImageError(f"{path}: cannot be read ({_one_line(error)})") from None


class Claim(NamedTuple):
    """What the header of an image file says.

    Attributes:
        width: Stored width in pixels.
        height: Stored height in pixels.
        bytes: Memory needed to decode it.
    """

    width: int
    height: int
    bytes: int


def claim(path: Path, at_least: int | None = None) -> Claim:
    """Read the header of an image file without decoding it.

    Args:
        path: The file.
        at_least: See ``load_image``.

    Raises:
        ImageError: See ``open_image``, as far as the header shows it.
    """
    try:
        with path.open("rb") as file, quiet():
            found = plan(_identify(file, path), at_least, whole=at_least is None)
            return Claim(*found.size, found.bytes)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({_one_line(error)})") from None
    except ImageError:
        raise
    except Exception as error:
        raise _damaged(str(path), error) from None


def _identify(file: IO[bytes], path: Path) -> Image.Image:
    """Open the file with the plugin for its format, without decoding it."""
    head = file.read(12)
    file.seek(0)
    if not head:
        raise ImageError(f"{path}: the file is empty (0 bytes)")
    try:
        return Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError:
        if head[4:8] != b"ftyp" or head[8:12] not in _HEIF_BRANDS:
            raise ImageError(
                f"{path}: not an image, or in a format that cannot be read "
                "(JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC can)"
            ) from None
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: the image has more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:
        raise _damaged(str(path), error) from None
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise ImageError(
            f'{path}: a HEIC photo; to read it, run: pip install "showattend[heif]"'
        ) from None
    file.seek(0)
    try:
        return HeifImageFile(file)
    except Exception as error:
        raise _damaged(str(path), error) from None


def _load(image: Image.Image, name: str, at_least: int | None, whole: bool) -> Stored:
    """Decode an opened image."""
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(
            f"{name}: the image has {image.width * image.height:,} pixels, "
            f"more than the limit of {MAX_PIXELS:,}"
        )
    # On damaged data, Pillow's decoders raise OSError, SyntaxError, struct.error, ValueError,
    # MemoryError and others. Treat every exception as a damaged file.
    try:
        with quiet():
            return decode(image, at_least, whole=whole)
    except TooLargeError as error:
        raise ImageError(f"{name}: {error}") from None
    except Exception as error:
        raise _damaged(name, error) from None


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name}: the image is damaged or cut short ({_one_line(error)})")


def _one_line(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.split()) or type(error).__name__


def _from_array(array: np.ndarray) -> Image.Image:
    shape = f"array of shape {array.shape} and type {array.dtype}"
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        hint = "; move the channels last" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise ImageError(
            f"{shape}: an image must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4){hint}"
        )
    if array.size == 0:
        raise ImageError(f"{shape}: the image has no pixels")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        full = full_scale(int(array.max())) or 65535
        array = np.rint(array * (255 / np.float32(full))).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        # Allow for rounding errors from resizing; 0..255 or NaN is a mistake.
        if not (array.min() >= -0.01 and array.max() <= 1.01):
            raise ImageError(f"{shape}: floating-point values must lie in [0, 1]; divide by 255?")
        array = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(f"{shape}: the type must be uint8, or float with values in [0, 1]")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(array))


# --- finding -----------------------------------------------------------------------------------


def find_images(
    paths: Sequence[str | Path], recursive: bool = False
) -> tuple[list[Path], list[str]]:
    """List the image files given by files, folders and glob patterns.

    A file given by name is included whatever its suffix. Folders and patterns contribute the files
    that are not hidden and have one of ``IMAGE_SUFFIXES``, including broken links, which are
    reported when opened.

    Args:
        paths: Files, folders, and patterns such as ``photos/*.jpg`` or ``photos/**/*.png``.
        recursive: Include subfolders of the folders.

    Returns:
        The sorted files without duplicates, and one line for each problem.
    """
    found: dict[Path, Path] = {}
    problems: list[str] = []
    for given in paths:
        path = Path(given)
        try:
            if path.is_dir():
                matches = _images_in(path, recursive)
                problem = f"{path}: no images in this folder"
                if not recursive and not matches and any(p.is_dir() for p in path.iterdir()):
                    problem += " itself (--recursive looks into its subfolders)"
            elif path.exists():
                matches, problem = [path], ""
            elif glob.has_magic(str(given)):
                matches = _images_matching(str(given), recursive)
                problem = f"{given}: no image matches this pattern"
            else:
                matches, problem = [], f"{path}: no such file or folder"
        except (OSError, ValueError) as error:
            matches, problem = [], f"{path}: cannot be read ({_one_line(error)})"
        if not matches:
            problems.append(problem)
        for match in matches:
            found.setdefault(match.parent.resolve() / match.name, match)
    return sorted(found.values()), problems


def _is_image_file(path: Path) -> bool:
    hidden = path.name.startswith(".")
    if hidden or path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    return path.is_file() or (path.is_symlink() and not path.exists())


def _images_in(folder: Path, recursive: bool) -> list[Path]:
    candidates = folder.rglob("*") if recursive else folder.iterdir()
    return [path for path in candidates if _is_image_file(path)]


def _images_matching(pattern: str, recursive: bool) -> list[Path]:
    matches: list[Path] = []
    for path in map(Path, glob.glob(pattern, recursive=True)):  # noqa: PTH207 (Path.glob refuses absolute patterns)
        if _is_image_file(path):
            matches.append(path)
        elif recursive and path.is_dir():
            matches += _images_in(path, recursive)
    return matches
