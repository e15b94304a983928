"""What an image file's header claims, for a server that must not decode just anything."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from showattend.exceptions import ImageError, one_line
from showattend.images.image_files import damaged, draft, identify
from showattend.system.quiet import quiet


class Claim(NamedTuple):
    """What an image file's header claims.

    Attributes:
        width: The stored width in pixels.
        height: The stored height in pixels.
        bytes: The memory that decoding takes.
    """

    width: int
    height: int
    bytes: int


def claim(path: Path, at_least: int | None = None) -> Claim:
    """Read an image file's claims without decoding it.

    Args:
        path: The file.
        at_least: See `showattend.images.image_files.load_image`.

    Raises:
        ImageError: See `showattend.images.upright.open_image`, as far as the header shows it.
    """
    try:
        with path.open("rb") as file, quiet():
            image = identify(file, path)
            size = image.size
            return Claim(*size, draft(image, at_least)[1])
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({one_line(error)})") from None
    except ImageError:
        raise
    except Exception as error:
        raise damaged(str(path), error) from None
