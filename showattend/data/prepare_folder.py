"""``showattend prepare folder``: photos of one's own, with captions beside them or in a table."""

from __future__ import annotations

import csv
import io
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from showattend.data.prepare import Report, prepare
from showattend.data.readers import check_name, read_jsonl, read_lines, read_text
from showattend.data.records import SPLITS, Record
from showattend.errors import DataError


def prepare_folder(
    folder: Path, out: Path, val_fraction: float = 0.1, seed: int = 0, **options: Any
) -> Report:
    """Prepare a folder of one's own photos.

    The captions come from ``captions.jsonl`` in it (see ``read_jsonl``), from ``captions.csv``
    (columns ``image``, ``caption`` and, if wanted, ``split``; a line a caption), and from
    ``photo.txt`` beside each ``photo.jpg``, a caption a line, folders within it too. A photo
    without captions is reported where there is no table: a table need not name them all.

    Args:
        folder: The folder.
        out: Where to write.
        val_fraction: Share of the images to validate on, drawn when the captions name no split
            but ``train``; 0 draws none.
        seed: The seed of that draw.
        options: See `prepare`.

    Raises:
        DataError: No captions are found, an image has captions in two of these places, or
            `prepare` refuses.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    if not 0 <= val_fraction < 1:
        raise DataError(f"val_fraction is {val_fraction:g}: give a share from 0 to below 1")
    records, skipped = _read(folder)
    if all(record.split == "train" for record in records) and len(records) > 1 and val_fraction:
        count = min(max(1, round(len(records) * val_fraction)), len(records) - 1)
        drawn = set(random.Random(seed).sample(range(len(records)), count))
        records = [
            replace(record, split="val") if i in drawn else record
            for i, record in enumerate(records)
        ]
    return prepare(records, out, skipped=skipped, **options)


def _read(folder: Path) -> tuple[list[Record], list[str]]:
    """The records of all the places that hold captions, and the images skipped, a line each."""
    records: list[Record] = []
    tables: dict[Path, str] = {}  # the images they name, and which of them does
    found = False
    for name, read in (("captions.jsonl", read_jsonl), ("captions.csv", _read_csv)):
        if not (folder / name).is_file():
            continue
        found = True
        for record in read(folder / name):
            if (other := tables.setdefault(_place(record.path), name)) != name:
                raise _told_twice(record.path, other, name)
            records.append(record)
    beside, skipped = _read_sidecars(folder, tables)
    if not (found or beside or skipped):
        raise DataError(f"{folder}: holds no images, and no captions.jsonl or captions.csv")
    return records + beside, skipped


def _place(image: Path) -> Path:
    """One path for all the ways to write it."""
    return Path(os.path.realpath(image.parent)) / image.name  # Path.resolve minds loops of links


def _told_twice(image: Path, one: str, other: str) -> DataError:
    return DataError(f"{image}: has captions in {one} and in {other}; leave them in one of the two")


def _read_csv(path: Path) -> list[Record]:
    captions: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    for where, row in _csv_rows(path):
        image, caption, split = row["image"], row["caption"], row.get("split") or "train"
        if not image or caption is None or None in row:
            raise DataError(
                f"{where}: not one value a column; a caption with commas needs quotes around it"
            )
        if "\n" in image or "\r" in image:
            raise DataError(f"{where}: a line end in an image's name; is a quote left open?")
        check_name(image, where)
        if split not in SPLITS:
            raise DataError(f"{where}: unknown split {split!r}: use one of {', '.join(SPLITS)}")
        if splits.setdefault(image, split) != split:
            raise DataError(f"{where}: {image} is in the split {splits[image]!r} already")
        captions.setdefault(image, []).append(caption)
    return [
        Record(image, path.parent / image, tuple(texts), splits[image])
        for image, texts in captions.items()
    ]


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str | None, str | None]]]:
    """The rows of the table, with where each of them ends.

    Raises:
        DataError: The columns are others, or a quote is not closed.
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
            "is a quote left open? One within a caption is written twice"
        ) from None


def _read_sidecars(folder: Path, tables: Mapping[Path, str]) -> tuple[list[Record], list[str]]:
    from showattend.images import find_images

    images, _ = find_images([folder], recursive=True)
    records, skipped = [], []
    for image in images:
        beside = image.with_suffix(".txt")
        if tables and not beside.is_file():
            continue
        captions, problem = _read_sidecar(beside)
        table = tables.get(_place(image))
        if table and (captions or problem):
            raise _told_twice(image, table, f"{beside.name} beside it")
        if captions:
            name = image.relative_to(folder).as_posix()
            records.append(Record(name, image, captions, "train"))
        elif not table:
            skipped.append(problem or f"{image}: no caption in {beside.name} beside it")
    return records, skipped


def _read_sidecar(path: Path) -> tuple[tuple[str, ...], str]:
    """The captions, none if the file is absent; and why it cannot be read, if it cannot."""
    try:
        return tuple(line for _, line in read_lines(path)) if path.is_file() else (), ""
    except DataError as error:
        return (), str(error)
