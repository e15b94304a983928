"""Checks of option values, made before any work is done."""

from __future__ import annotations

from pathlib import Path

from showattend.exceptions import UserError
from showattend.images.finding import IMAGE_SUFFIXES


def check_json(path: Path) -> None:
    """Refuse a photo's suffix for JSON, before any time is spent.

    Raises:
        UserError: It has the suffix of an image.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise UserError(f"{path}: is a photo's name; --output writes JSON, such as results.json")
