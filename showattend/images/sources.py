"""The accepted kinds of image: a path, a file's content, an open file, a picture, an array."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union

import numpy as np
from PIL import Image

from showattend.exceptions import ImageError, one_line
from showattend.images.arrays import CHANNELS
from showattend.images.photo_file import PhotoFile

if TYPE_CHECKING:
    import torch

ImageSource: TypeAlias = Union[
    str, bytes, bytearray, memoryview, "os.PathLike[str]", IO[bytes], Image.Image, np.ndarray,
    "torch.Tensor",
]  # fmt: skip
_WANTED = (
    "an image must be a path, the bytes of a file, a file opened in binary mode, a PIL image, "
    "or an array or tensor of pixels, not "
)
_reading = threading.Lock()  # the same open file may be given twice


def is_source(given: object) -> TypeGuard[ImageSource]:
    """Whether this is a single image, judging by its type."""
    kinds = (str, bytes, bytearray, memoryview, os.PathLike, Image.Image, np.ndarray)
    return isinstance(given, kinds) or _is_tensor(given) or callable(getattr(given, "read", None))


def listed(images: ImageSource | Iterable[ImageSource]) -> Iterable[ImageSource]:
    """The given images as a list.

    Raises:
        ImageError: It is neither an image nor a list of them.
    """
    if is_source(images):
        return [images]
    many: Any = images
    if isinstance(many, Mapping) or not isinstance(many, Iterable):
        raise ImageError(f"{_WANTED}{_type(many)}; or a list of these")
    return many


def lasting(source: ImageSource) -> ImageSource:
    """The same image in a form that can be opened again: for an open file, its content.

    Raises:
        ImageError: An open file cannot be read, or is open as text.
    """
    if isinstance(source, os.PathLike):
        return source if isinstance(source, Path) else Path(os.fsdecode(source))
    return _content(source) if callable(getattr(source, "read", None)) else source


def plain(source: ImageSource) -> Path | Image.Image | np.ndarray:
    """The same image as a path, a picture, or an array [H, W] or [H, W, channels].

    Raises:
        ImageError: Its type is not an image's; or as for `lasting`.
    """
    kept = lasting(source)
    if isinstance(kept, Path | Image.Image | np.ndarray):
        return kept
    return Path(kept) if isinstance(kept, str) else _unpacked(kept)


def _content(file: Any) -> PhotoFile:
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) and name else "open file"
    if isinstance(file, io.TextIOBase):
        raise ImageError(f"{name}: is open as text; open it in binary mode, 'rb'")
    try:
        with _reading:
            if getattr(file, "seekable", bool)():
                file.seek(0)
            content = file.read()
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise ImageError(f"{name}: cannot be read ({one_line(error)})") from None
    if not isinstance(content, bytes):
        raise ImageError(f"{name}: reading it gives {_type(content)}, not bytes")
    return PhotoFile.of(content, name)


def _unpacked(given: Any) -> Path | np.ndarray:
    if isinstance(given, bytes | bytearray | memoryview):
        content = bytes(given)
        return PhotoFile.of(content, f"image of {len(content):,} bytes")
    if _is_tensor(given):
        return _pixels(given)
    raise ImageError(f"{_WANTED}{_type(given)}")


def _pixels(tensor: torch.Tensor) -> np.ndarray:
    shape = tuple(tensor.shape)
    if len(shape) == 3 and shape[0] in CHANNELS and shape[2] in CHANNELS:
        raise ImageError(
            f"tensor of shape {shape}: it may be (channels, H, W) or (H, W, channels); "
            "give an array, which is (H, W, channels)"
        )
    try:
        kept = tensor.detach().cpu()
        return (kept.float() if kept.is_floating_point() else kept).numpy()
    except (RuntimeError, NotImplementedError, TypeError) as error:
        kind = f"tensor of shape {shape} and type {tensor.dtype}"
        raise ImageError(f"{kind}: has no plain pixels ({one_line(error)})") from None


def _is_tensor(given: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(given, torch.Tensor)


def _type(given: object) -> str:
    kind = type(given)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
