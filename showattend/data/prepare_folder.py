"""``showattend prepare folder``: your own photos, with captions in text files or in a table."""

from __future__ import annotations

import contextlib
import logging
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from showattend.data.places import Files
from showattend.data.prepare import Report, prepare
from showattend.data.readers import read_dataset, read_jsonl, read_lines
from showattend.data.records import Record
from showattend.data.tables import SPLIT_NAMES, read_csv, read_metadata
from showattend.exceptions import DataError

_log = logging.getLogger(__name__)

SIDECARS = (".txt", ".caption")
"""Suffixes of the text files next to photos; the first that exists is read."""


def prepare_folder(
    folder: Path,
    out: Path,
    val_fraction: float = 0.1,
    seed: int = 0,
    **options: Any,
) -> Report:
    """Prepare a folder of your own photos.

    Captions are read from the first of these that exists: ``captions.jsonl`` (see ``read_jsonl``);
    ``captions.csv`` or ``captions.tsv`` (`showattend.data.tables.read_csv`); Hugging Face's
    ``metadata.jsonl`` or ``metadata.csv``; Kaggle's ``captions.txt``, a table with the photos in
    ``Images``; ``photo.txt`` or ``photo.caption`` next to each ``photo.jpg``, one caption per line,
    subfolders included.

    Args:
        folder: The folder.
        out: The folder to write to.
        val_fraction: Fraction of the images to draw for validation if the captions name no split
            other than ``train``; 0 draws none.
        seed: The seed of that draw.
        options: See `prepare`.

    Raises:
        DataError: No captions are found, or `prepare` refuses.
    """
    if not 0 <= val_fraction < 1:
        raise DataError(f"val_fraction is {val_fraction:g}: give a share from 0 to below 1")
    records, skipped = read_folder(folder)

    def draw(kept: list[Record], _: list[str]) -> list[Record]:
        if any(record.split != "train" for record in kept) or len(kept) < 2 or not val_fraction:
            return kept
        count = min(max(1, round(len(kept) * val_fraction)), len(kept) - 1)
        return draw_validation(kept, count, seed)

    return prepare(records, out, skipped=skipped, draw=draw, **options)


def read_folder(folder: Path) -> tuple[list[Record], list[str]]:
    """Read the photos of a folder that have captions, and a line for each that has none.

    Args:
        folder: See `prepare_folder`.

    Raises:
        DataError: There is no such folder, it holds no images, or a table is malformed.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    tables = [
        name for name in _TABLES if (folder / name).is_file() and not _is_sidecar(folder, name)
    ]
    if not tables:
        return _read_split_folders(folder) or _read_sidecars(folder)
    records = _TABLES[tables[0]](folder / tables[0])
    if unread := [*tables[1:], *_unread_texts(folder, records)]:
        _log.warning(
            "%s: captions come from %s, not from %s", folder, tables[0], " or ".join(unread)
        )
    return records, []


def _read_split_folders(folder: Path) -> tuple[list[Record], list[str]] | None:
    """Read Hugging Face's folders train, validation and test, each with its metadata."""
    records: list[Record] = []
    for name, split in SPLIT_NAMES.items():
        for table in ("metadata.jsonl", "metadata.csv"):
            if (folder / name / table).is_file():
                found = _TABLES[table](folder / name / table)
                records += [
                    replace(each, split=split, image_id=f"{name}/{each.image_id}") for each in found
                ]
                break
    return (records, []) if records else None


def _is_sidecar(folder: Path, name: str) -> bool:
    """Whether captions.txt belongs to a photo captions.jpg, and is not Kaggle's table."""
    if not name.endswith(".txt"):
        return False
    with (folder / name).open("rb") as file:
        first = file.readline(1000).decode("utf-8-sig", "replace").lower()
    return not ("image" in first and "caption" in first)


def draw_validation(records: Sequence[Record], count: int, seed: int = 0) -> list[Record]:
    """Move ``count`` randomly drawn training images to the validation split."""
    training = [i for i, record in enumerate(records) if record.split == "train"]
    drawn = set(random.Random(seed).sample(training, count))
    return [
        replace(record, split="val") if i in drawn else record for i, record in enumerate(records)
    ]


def _unread_texts(folder: Path, records: Sequence[Record]) -> list[str]:
    """Describe the text files next to photos that a table does not name, if any."""
    from showattend.images.finding import find_images

    named = {os.path.realpath(record.path) for record in records}
    images, _ = find_images([folder], recursive=True)
    left = [
        image
        for image in images
        if image.with_suffix(".txt").is_file() and os.path.realpath(image) not in named
    ]
    if not left:
        return []
    which = "a photo" if len(left) == 1 else f"{len(left):,} photos"
    first = left[0].with_suffix(".txt").name
    return [f"the .txt files next to {which} that it does not name ({first})"]


def _read_sidecars(folder: Path) -> tuple[list[Record], list[str]]:
    from showattend.images.finding import find_images

    files = Files()
    images, skipped = find_images([folder], recursive=True)
    records = []
    owners: dict[Path, Path] = {}
    for image in images:
        texts = [files.find(image.with_suffix(suffix)) for suffix in SIDECARS]
        text = next((each for each in texts if each is not None), None)
        try:
            captions = tuple(line for _, line in read_lines(text)) if text is not None else ()
        except DataError as error:
            skipped.append(str(error))
            continue
        if not captions or text is None:
            name = image.with_suffix(SIDECARS[0]).name
            skipped.append(f"{image}: no caption in {name} next to it")
        elif (owner := owners.setdefault(text, image)) != image:
            skipped.append(
                f"{image}: has no {text.name} of its own, {owner.name} has it; rename one of the "
                "two, or remove it if they show the same"
            )
        else:
            name = image.relative_to(folder).as_posix()
            records.append(Record(name, image, captions, "train"))
    if not images:
        raise DataError(f"{folder}: holds no images, and no captions.jsonl or captions.csv")
    if not records and (other := _other_data(folder)):
        raise DataError(f"{folder}: {other}")
    return records, skipped


def _other_data(folder: Path) -> str | None:
    """Other files in the folder that may hold captions, and what to do with them."""
    with contextlib.suppress(DataError):
        if read_dataset(folder):
            return "holds a data set in another format; prepare flickr8k, karpathy or coco reads it"
    kinds = (".csv", ".tsv", ".jsonl", ".json", ".xlsx", ".parquet", ".arrow")
    found = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in kinds)
    if not found:
        return None
    return (
        f"no photo has a text next to it, but there is {found[0]}; if it contains the captions, "
        "save it as captions.csv with the columns image,caption"
    )


# If there are several, the first is read.
_TABLES: dict[str, Callable[[Path], list[Record]]] = {
    "captions.jsonl": read_jsonl,
    "captions.csv": read_csv,
    "captions.tsv": read_csv,
    "metadata.jsonl": read_metadata,
    "metadata.csv": read_csv,
    "captions.txt": read_csv,
}
