"""What the values of options must be, asked before any work is done."""

from __future__ import annotations

from pathlib import Path

from showattend.exceptions import UserError
from showattend.images.finding import IMAGE_SUFFIXES


def check_json(path: Path) -> None:
    """Refuse a name like a photo's for JSON; asked early, a mistake costs no waiting.

    Raises:
        UserError: It has the suffix of an image.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise UserError(f"{path}: is called like a photo; --output writes JSON, as results.json")
