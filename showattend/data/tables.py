"""Tables of captions: CSV from spreadsheets, Hugging Face and Kaggle, and JSON Lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from showattend.data.readers import check_name, parse_json, read_lines, read_text
from showattend.data.records import SPLITS, Record
from showattend.exceptions import DataError

IMAGE_COLUMNS = ("image", "file_name", "filename", "file", "image_name", "image_path", "path")
CAPTION_COLUMNS = ("caption", "captions", "text", "comment", "description")
SEPARATORS = (",", ";", "\t", "|")
IMAGE_FOLDERS = ("Images", "images")

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Other names of the splits."""


def read_csv(path: Path) -> list[Record]:
    """Read a table with one caption per row.

    The first row names the columns: ``image`` and ``caption`` and optionally ``split``, or one of
    ``IMAGE_COLUMNS`` and ``CAPTION_COLUMNS``, in upper or lower case. Values are separated by one
    of ``SEPARATORS``; a first row ``sep=;`` may say which. Blank rows are ignored.

    Args:
        path: The file. Names of images are relative to its folder, or to ``Images`` in it.

    Raises:
        DataError: It cannot be read, a column is missing, or a row is malformed.
    """
    captions: dict[str, list[str]] = {}
    splits: dict[str, str] = {}
    for where, row in _rows(path):
        image, caption = row["image"].strip(), row["caption"]
        if not image:
            raise DataError(f"{where}: no image is named")
        if "\n" in image or "\r" in image:
            raise DataError(f"{where}: a line break in an image name; is a quote left open?")
        check_name(image, where)
        named = row.get("split", "").strip() or "train"
        split = SPLIT_NAMES.get(named.lower(), named)
        if split not in SPLITS:
            raise DataError(f"{where}: unknown split {named!r}: use one of {', '.join(SPLITS)}")
        if splits.setdefault(image, split) != split:
            raise DataError(f"{where}: {image} is already in the split {splits[image]!r}")
        captions.setdefault(image, []).append(caption)
    folder = _image_folder(path.parent, list(captions))
    return [
        Record(image, folder / image, tuple(texts), splits[image])
        for image, texts in captions.items()
    ]


def read_metadata(path: Path) -> list[Record]:
    """Read Hugging Face's ``metadata.jsonl``: ``file_name``, and ``text`` or ``caption``.

    Raises:
        DataError: It cannot be read, or a line has another format.
    """
    captions: dict[str, list[str]] = {}
    for number, text in read_lines(path):
        where = f"{path}, line {number}"
        line = parse_json(text, path, number)
        if not isinstance(line, dict):
            raise DataError(f"{where}: not an object with 'file_name' and 'text'")
        values = {key.lower(): value for key, value in line.items()}
        image = next((values[key] for key in IMAGE_COLUMNS if key in values), None)
        said = next((values[key] for key in CAPTION_COLUMNS if key in values), None)
        texts: list[Any] = said if isinstance(said, list) else [said]
        if not isinstance(image, str) or not all(isinstance(each, str) for each in texts):
            raise DataError(
                f"{where}: needs 'file_name' and 'text' or 'caption' (found {', '.join(line)})"
            )
        captions.setdefault(check_name(image, where), []).extend(texts)
    folder = _image_folder(path.parent, list(captions))
    return [Record(name, folder / name, tuple(each), "train") for name, each in captions.items()]


def _image_folder(folder: Path, names: list[str]) -> Path:
    """The folder that names start from: Kaggle's Flickr8k has them in Images/."""
    if any((folder / name).exists() for name in names[:100]):
        return folder
    return next((folder / each for each in IMAGE_FOLDERS if (folder / each).is_dir()), folder)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows with the values of the known columns, and where each ends.

    Raises:
        DataError: A column is missing, a row has too few or too many values, or a quote is not
            closed.
    """
    text = io.StringIO(read_text(path), newline="")
    separator, skipped = _separator(text)
    reader = csv.reader(text, delimiter=separator, skipinitialspace=True, strict=True)
    began = skipped + 1
    try:
        columns: list[str] = []
        for values in reader:
            where = f"{path}, line {skipped + reader.line_num}"
            if not columns:
                columns = _columns(values, where)
                began = skipped + reader.line_num + 1
                continue
            began = skipped + reader.line_num + 1
            if not any(value.strip() for value in values):  # as a spreadsheet writes at the end
                continue
            extra = values[len(columns) :]
            if len(values) < len(columns) or any(value.strip() for value in extra):
                raise DataError(
                    f"{where}: expected one value per column ({len(columns)}), found "
                    f"{len(values)}; a caption with {_name(separator)} needs quotes"
                )
            yield where, {name: value for name, value in zip(columns, values, strict=False) if name}
        if not columns:
            _columns([], f"{path}, line 1")
    except csv.Error as error:
        noticed = skipped + reader.line_num
        raise DataError(
            f"{path}, line {began}: broken CSV, noticed in line {noticed} ({error}); "
            "is a quote left open? A quote inside a caption must be doubled"
        ) from None


def _separator(text: io.StringIO) -> tuple[str, int]:
    """The separator of a table, and how many lines come before its header."""
    first, skipped = text.readline(), 0
    if first.strip().strip('"').lower().startswith("sep="):
        stated = first.strip("\r\n").strip('"')[4:5]
        if stated:
            return stated, 1
        start, skipped = text.tell(), 1
        first = text.readline()
        text.seek(start)
    else:
        text.seek(0)
    return max(SEPARATORS, key=first.count), skipped


def _columns(header: list[str], where: str) -> list[str]:
    """The names of the columns: image, caption, split, or "" for one that is not used.

    Raises:
        DataError: There is no column for the image, or for the caption.
    """
    names = [name.strip().lower() for name in header]
    found = [""] * len(names)
    roles = {"image": IMAGE_COLUMNS, "caption": CAPTION_COLUMNS, "split": ("split",)}
    for role, known in roles.items():
        place = next((names.index(each) for each in known if each in names), None)
        if place is not None:
            found[place] = role
    if missing := [role for role in ("caption", "image") if role not in found]:
        there = ", ".join(each for each in header if each.strip())[:200] or "nothing"
        raise DataError(
            f"{where}: no column {' and '.join(missing)} (found {there}); "
            "the first line must name the columns image,caption or image,caption,split"
        )
    return found


def _name(separator: str) -> str:
    return {",": "commas", ";": "semicolons", "\t": "tabs"}.get(separator, f"{separator!r}")
