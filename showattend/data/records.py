"""The one record that every reader yields and everything downstream takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Record:
    """One image with its human captions.

    Attributes:
        image_id: The data set's own id (COCO: the integer as given; Flickr8k: the file's stem).
        path: The image file.
        captions: The captions as written by people (not tokenized), at least one.
        split: One of ``SPLITS``.
    """

    image_id: int | str
    path: Path
    captions: tuple[str, ...]
    split: str
