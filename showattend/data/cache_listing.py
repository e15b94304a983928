"""The contents of the feature cache's folder, and the removal of what is not needed."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from showattend.data.cache import reading_of, said
from showattend.data.shelf import FORMAT, RECIPE, Shelf
from showattend.data.views import View
from showattend.exceptions import ConfigError, DataError
from showattend.images.preprocessing import Preprocessing
from showattend.model.model_schema import PREPROCESSING, parse_json

DAY = 24 * 3600


class Entry(NamedTuple):
    """A shelf as listed.

    Attributes:
        place: Its folder.
        encoder: The encoder's name; the folder's name for an earlier version.
        size: The side of the encoder's input in pixels; 0 if unknown.
        view: How the images are shown: "whole", "mirrored", "cropped (1)".
        images: The number of images with features.
        bytes: The bytes on disk.
        used: The time when a run last read it, in seconds since 1970.
        state: "in use", "ready", or "stale": made by an earlier version, or from pixels that are
            now read differently; no run will use it again.
    """

    place: Path
    encoder: str
    size: int
    view: str
    images: int
    bytes: int
    used: float
    state: str


def list_caches(folder: Path) -> list[Entry]:
    """All shelves of a folder, by name.

    Raises:
        DataError: There is no such folder, or it cannot be read.
    """
    try:
        places = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise DataError(f"{folder}: no cache there ({error.strerror})") from error
    return [entry for place in places if (entry := _entry(place)) is not None]


def _entry(place: Path) -> Entry | None:
    """None if the folder is not a cache: synthetic pictures, or anything of the user's."""
    if not (place / RECIPE).is_file():
        if not list(place.glob("*/status.npy")):
            return None
        used = max(path.stat().st_mtime for path in place.glob("*/status.npy"))
        return Entry(place, place.name, 0, "", 0, _bytes(place), used, "stale")
    shelf = Shelf(place, (0, 0, 0))
    try:
        recipe = parse_json((place / RECIPE).read_text(encoding="utf-8"))
        encoder, view = str(recipe["encoder"]), View(int(recipe["crop"]), bool(recipe["mirror"]))
        PREPROCESSING(recipe["preprocessing"], "preprocessing")
        preprocessing = Preprocessing.from_dict(recipe["preprocessing"])
        stale = recipe["format"] != FORMAT or recipe["reading"] != reading_of(preprocessing)
        size, shown = preprocessing.size, said(view).strip() or "whole"
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        encoder, size, shown, stale = place.name, 0, "", True
    state = "in use" if shelf.in_use() else "stale" if stale else "ready"
    return Entry(
        place, encoder, size, shown, shelf.count(), _bytes(place), shelf.last_used(), state
    )


def _bytes(place: Path) -> int:
    total = 0
    for path in place.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def prune(entries: list[Entry], days: float) -> list[Entry]:
    """Remove what is stale or unread for this many days; never what is in use.

    Returns:
        The shelves removed.

    Raises:
        DataError: Something cannot be removed.
    """
    removed = []
    for entry in entries:
        old = time.time() - entry.used >= days * DAY
        if entry.state == "in use" or not (old or entry.state == "stale"):
            continue
        try:
            with FileLock(entry.place / "lock", timeout=0, thread_local=False):
                if Shelf(entry.place, (0, 0, 0)).in_use(adding=False):
                    continue
                shutil.rmtree(entry.place)
        except Timeout:
            continue
        except OSError as error:
            raise DataError(f"{entry.place}: cannot be removed ({error.strerror})") from error
        removed.append(entry)
    return removed
