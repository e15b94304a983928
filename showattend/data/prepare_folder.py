"""``showattend prepare folder``: your own photos, with captions in text files or in a table."""

from __future__ import annotations

import csv
import io
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from showattend.data.places import Files
from showattend.data.prepare import Report, prepare
from showattend.data.readers import check_name, read_jsonl, read_lines, read_text
from showattend.data.records import SPLITS, Record
from showattend.exceptions import DataError


def prepare_folder(
    folder: Path,
    out: Path,
    val_fraction: float = 0.1,
    seed: int = 0,
    message: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> Report:
    """Prepare a folder of your own photos.

    Captions are read from the first of these that exists: ``captions.jsonl`` (see ``read_jsonl``);
    ``captions.csv`` with the columns ``image``, ``caption`` and optionally ``split``, one caption
    per line; ``photo.txt`` next to each ``photo.jpg``, one caption per line, subfolders included.

    Args:
        folder: The folder.
        out: The folder to write to.
        val_fraction: Fraction of the images to draw for validation if the captions name no split
            other than ``train``; 0 draws none.
        seed: The seed of that draw.
        message: Called with a line about caption files that are ignored.
        options: See `prepare`.

    Raises:
        DataError: No captions are found, or `prepare` refuses.
    """
    if not 0 <= val_fraction < 1:
        raise DataError(f"val_fraction is {val_fraction:g}: give a share from 0 to below 1")
    records, skipped = read_folder(folder, message)

    def draw(kept: list[Record], _: list[str]) -> list[Record]:
        if any(record.split != "train" for record in kept) or len(kept) < 2 or not val_fraction:
            return kept
        count = min(max(1, round(len(kept) * val_fraction)), len(kept) - 1)
        return draw_validation(kept, count, seed)

    return prepare(records, out, skipped=skipped, draw=draw, **options)


def read_folder(
    folder: Path, message: Callable[[str], None] = lambda _: None
) -> tuple[list[Record], list[str]]:
    """Read the photos of a folder that have captions, and a line for each that has none.

    Args:
        folder: See `prepare_folder`.
        message: Called with a line about caption files that are ignored.

    Raises:
        DataError: There is no such folder, it holds no images, or a table is malformed.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    tables = [name for name in _TABLES if (folder / name).is_file()]
    if not tables:
        return _read_sidecars(folder)
    records = _TABLES[tables[0]](folder / tables[0])
    if unread := [*tables[1:], *_unread_texts(folder, records)]:
        message(f"{folder}: captions come from {tables[0]}, not from {' or '.join(unread)}")
    return records, []


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


def _read_csv(path: Path) -> list[Record]:
    captions: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    for where, row in _csv_rows(path):
        image, caption, split = row["image"], row["caption"], row.get("split") or "train"
        if not image or caption is None or None in row:
            raise DataError(
                f"{where}: expected one value per column; a caption with commas needs quotes"
            )
        if "\n" in image or "\r" in image:
            raise DataError(f"{where}: a line break in an image name; is a quote left open?")
        check_name(image, where)
        if split not in SPLITS:
            raise DataError(f"{where}: unknown split {split!r}: use one of {', '.join(SPLITS)}")
        if splits.setdefault(image, split) != split:
            raise DataError(f"{where}: {image} is already in the split {splits[image]!r}")
        captions.setdefault(image, []).append(caption)
    return [
        Record(image, path.parent / image, tuple(texts), splits[image])
        for image, texts in captions.items()
    ]


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str | None, str | None]]]:
    """Yield the rows of the table, each with a description of where it ends.

    Raises:
        DataError: A column is missing, or a quote is not closed.
    """
    text = io.StringIO(read_text(path), newline="")
    rows = csv.DictReader(text, skipinitialspace=True, strict=True)
    began = 1
    try:
        missing = {"image", "caption"} - set(rows.fieldnames or ())
        if missing:
            raise DataError(
                f"{path}, line 1: no column {' and '.join(sorted(missing))}; "
                "the first line must name the columns image,caption or image,caption,split"
            )
        began = rows.line_num + 1
        for row in rows:
            yield f"{path}, line {rows.line_num}", row
            began = rows.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}, line {began}: broken CSV, noticed in line {rows.reader.line_num} ({error}); "
            "is a quote left open? A quote inside a caption must be doubled"
        ) from None


def _read_sidecars(folder: Path) -> tuple[list[Record], list[str]]:
    from showattend.images.finding import find_images

    files = Files()
    images, skipped = find_images([folder], recursive=True)
    records = []
    for image in images:
        beside = image.with_suffix(".txt")
        text = files.find(beside)
        try:
            captions = tuple(line for _, line in read_lines(text)) if text is not None else ()
        except DataError as error:
            skipped.append(str(error))
            continue
        if captions:
            name = image.relative_to(folder).as_posix()
            records.append(Record(name, image, captions, "train"))
        else:
            skipped.append(f"{image}: no caption in {beside.name} next to it")
    if not images:
        raise DataError(f"{folder}: holds no images, and no captions.jsonl or captions.csv")
    return records, skipped


# If there are several, the first is read.
_TABLES: dict[str, Callable[[Path], list[Record]]] = {
    "captions.jsonl": read_jsonl,
    "captions.csv": _read_csv,
}
