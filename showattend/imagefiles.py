"""Image files: open any of them safely, upright and in RGB; find them in folders."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

# The plugins are named so that Pillow neither imports its other forty nor tries them on a file
# (one of them, EPS, would start Ghostscript on whatever is uploaded).
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

from showattend.errors import ImageError
from showattend.quiet import quiet

ImageSource = str | Path | Image.Image | np.ndarray

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".avif", ".heic", ".heif", ".hif", ".ppm", ".pgm", ".pbm", ".pnm",
})
# fmt: on
MAX_PIXELS = 178_956_970
"""Pillow's limit against decompression bombs: above it a file is refused."""

# JPEG stands for MPO too, the format of many phones: Pillow gives both one plugin.
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
_EXIF_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# --- opening -----------------------------------------------------------------------------------


def open_image(source: ImageSource) -> Image.Image:
    """Open an image, upright, in RGB and fully loaded.

    Greyscale of 16 bits is scaled to 8, transparency is laid over white, of an animation the
    first frame is taken.

    Args:
        source: A file's path, a PIL image, or an array of shape (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4) that is uint8, uint16, bool, or float in [0, 1].

    Raises:
        ImageError: The file is missing, a folder, empty, not an image, damaged, or has more
            than ``MAX_PIXELS`` pixels; or the array is none of the above.
    """
    stored = decode(source)
    return turn(stored.image, stored.orientation)


class Stored(NamedTuple):
    """An RGB image as it is stored, before it is turned upright.

    ``covered`` is the part of ``image``, from its top left corner, that the whole photograph of
    ``size`` pixels fills: all of it, but for a JPEG that was decoded at a fraction of its size.
    """

    image: Image.Image
    size: tuple[int, int]
    covered: tuple[float, float]
    orientation: int


def decode(source: ImageSource, at_least: int | None = None) -> Stored:
    """Load ``source``; with ``at_least``, a JPEG may come smaller, no side below ``at_least``."""
    if isinstance(source, np.ndarray):
        image = _from_array(source)
        return Stored(image, image.size, image.size, orientation=1)
    if isinstance(source, Image.Image):
        return _load(source, f"image of {source.width}×{source.height} pixels", None)
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
            return _load(_identify(file, path), str(path), at_least)
    except FileNotFoundError:
        gone = " (a link to one that is gone)" if path.is_symlink() else ""
        raise ImageError(f"{path}: no such file{gone}") from None
    except PermissionError:
        raise ImageError(f"{path}: cannot be read (permission denied)") from None
    except (OSError, ValueError) as error:  # a name too long, a null byte in it, a failing disk
        raise ImageError(f"{path}: cannot be read ({_one_line(error)})") from None


def claimed_size(path: Path) -> tuple[int, int]:
    """Width and height that an image file claims, as stored; nothing is decoded.

    Raises:
        ImageError: As ``open_image``, as far as the file's head shows it.
    """
    try:
        with path.open("rb") as file, quiet():
            return _identify(file, path).size
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({_one_line(error)})") from None


def _identify(file: IO[bytes], path: Path) -> Image.Image:
    """Open the file with the plugin of its format; nothing is decoded yet."""
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


def _load(image: Image.Image, name: str, at_least: int | None) -> Stored:
    """Decode an opened image and bring it to RGB."""
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(
            f"{name}: the image has {image.width * image.height:,} pixels, "
            f"more than the limit of {MAX_PIXELS:,}"
        )
    # Pillow's decoders raise nearly anything on damaged data: OSError, SyntaxError, struct.error,
    # ValueError, MemoryError. Whatever it is, it is the file's fault.
    try:
        size = image.size
        drafted = image.draft(None, (at_least, at_least)) if at_least else None
        with quiet():
            image.load()
            orientation = _orientation(image)
            rgb = _to_rgb(image)
    except Exception as error:
        raise _damaged(name, error) from None
    if drafted is not None:
        return Stored(rgb, size, drafted[1][2:], orientation)
    return Stored(rgb, rgb.size, rgb.size, orientation)


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name}: the image is damaged or cut short ({_one_line(error)})")


def _one_line(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.split()) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    """The EXIF turn still to be made, 1 to 8; a broken EXIF block counts as none."""
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        return 1
    return value if value in _TURNS else 1


def turn(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _to_rgb(image: Image.Image) -> Image.Image:
    """A plain RGB image of 8 bits, without metadata (a second opening must not turn it again)."""
    if image.mode.startswith("I;16"):
        rgb = _grey(np.asarray(image).astype(np.float32) / 257)
    elif image.mode in ("I", "F"):
        rgb = _grey(_to_8_bits(np.asarray(image).astype(np.float64), is_float=image.mode == "F"))
    elif image.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None  # it is None only when converting in place
        rgb = converted
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        rgb = Image.new("RGB", image.size, "white")
        rgb.paste(rgba, mask=rgba.getchannel("A"))
    else:
        rgb = image.convert("RGB")
    rgb.info.clear()
    return rgb


def _to_8_bits(values: np.ndarray, *, is_float: bool) -> np.ndarray:
    """Bring numbers of unknown range to 0..255: by the usual full scales, else by their own."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    if low >= 0 and is_float and high <= 1:
        return values * 255
    if low >= 0 and is_float and high <= 255:
        return values
    if low >= 0 and high <= 65535:
        return values / 257
    return (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8)).convert("RGB")


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
        array = np.rint(array / np.float32(257)).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        # Rounding errors of a resize are forgiven; 0..255 or NaN is a mistake worth a word.
        if not (array.min() >= -0.01 and array.max() <= 1.01):
            raise ImageError(f"{shape}: floating-point values must lie in [0, 1]; divide by 255?")
        array = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(f"{shape}: the type must be uint8, or float with values in [0, 1]")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return _to_rgb(Image.fromarray(np.ascontiguousarray(array)))


# --- finding -----------------------------------------------------------------------------------


def find_images(
    paths: Sequence[str | Path], recursive: bool = False
) -> tuple[list[Path], list[str]]:
    """List the image files that files, folders and glob patterns stand for.

    A file that is named is taken whatever its suffix; folders and patterns yield the files with
    one of ``IMAGE_SUFFIXES`` that are not hidden, links to what is gone among them: to open one
    says so.

    Args:
        paths: Files, folders, and patterns such as ``photos/*.jpg`` or ``photos/**/*.png``.
        recursive: Look into the folders' subfolders too.

    Returns:
        The files, sorted and each once, and the problems, one line each.
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
