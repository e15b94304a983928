"""HEIC photographs, read by pillow-heif if it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from PIL import Image

from showattend.exceptions import ImageError

_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
)


def is_heif(head: bytes) -> bool:
    """Whether a file that begins with these 12 bytes is a HEIC photograph."""
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS


def open_heif(file: IO[bytes], path: Path) -> Image.Image:
    """Open the file; nothing is decoded yet.

    Raises:
        ImageError: pillow-heif is not installed.
        Exception: Any, from pillow-heif, if the file is damaged.
    """
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise ImageError(
            f'{path}: a HEIC photo; to read it, run: pip install "showattend[heif]"'
        ) from None
    return HeifImageFile(file)
