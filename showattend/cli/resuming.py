"""Continuing an interrupted ``showattend caption``: what is done, and with which options."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from showattend.exceptions import DataError, UserError

CSV_COLUMNS = ("image", "rank", "caption", "words", "log_prob", "score", "confidence",
               "confidences", "unsure", "familiarity", "note")  # fmt: skip
"""Columns may be added at the end; none is changed or removed."""

OPTIONS = {
    "model": "--model (the digest of its files)",
    "engine": "--engine",
    "precision": "--precision",
    "size": "--size",
    "beam_size": "--beam-size",
    "n_best": "--n-best",
}
"""The options that a caption depends on, and how a message names them."""


class Done(NamedTuple):
    """The contents of a file of captions.

    Attributes:
        images: The images that are complete, as `image_key` gives them.
        length: The length of the complete lines in bytes; a cut last line is not counted.
    """

    images: frozenset[str]
    length: int


def image_key(image: str | Path, folder: str | Path = ".") -> str:
    """The name that identifies an image, however its path is written.

    Args:
        image: The path of the image.
        folder: The folder that a relative path starts from.
    """
    path = Path(folder) / image
    try:
        name = str(_resolved(path.parent) / path.name)
    except (OSError, ValueError, RuntimeError):
        name = str(path)
    # In a file of captions, names that are not UTF-8 are escaped.
    return name.encode("utf-8", "backslashreplace").decode()


@lru_cache(maxsize=1000)
def _resolved(folder: Path) -> Path:
    return Path(os.path.realpath(folder))  # `Path.resolve` raises for circular links


def captioned_images(path: Path, n_best: int, folder: str | Path = ".") -> Done:
    """Read which images a file of captions holds.

    A process that is killed may leave half a line at the end, or in CSV some of an image's lines.
    They are not counted: the image is captioned again.

    Args:
        path: A .jsonl or .csv file that ``showattend caption`` wrote, or its part file.
        n_best: Captions per image.
        folder: The folder that relative names of images start from.

    Raises:
        DataError: The file cannot be read, or is not a file of captions.
    """
    is_csv = path.name.removesuffix(".part").lower().endswith(".csv")
    try:
        read = _from_csv(path, n_best) if is_csv else _from_json_lines(path)
        images, length = set(), 0
        for image, length in read:  # noqa: B007 (the last length is used)
            if image is not None:
                images.add(image_key(image, folder))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return Done(frozenset(images), length)


def _from_json_lines(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each image, and the length of the file up to the end of its line."""
    length = 0
    for number, line in enumerate(_whole_lines(path), 1):
        length += len(line)
        try:
            image = json.loads(line)["image"]
            if not isinstance(image, str):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _strange(path, number) from None
        yield image, length


def _from_csv(path: Path, n_best: int) -> Iterator[tuple[str | None, int]]:
    """The same for CSV; the first pair is the header's and has no image."""
    last, rank, length = "", 0, 0
    before = 0  # the length up to the last image's first line
    for number, line in enumerate(_whole_lines(path, quotes=True), 1):
        try:
            (row,) = csv.reader(io.StringIO(line.decode("utf-8"), newline=""))
            if number == 1 and tuple(row) != CSV_COLUMNS:
                raise ValueError
            if number > 1 and int(row[1]) < 1:
                raise ValueError
        except (ValueError, IndexError, csv.Error):
            raise _strange(path, number) from None
        if number > 1 and row[1] == "1":
            if last:
                yield last, length
            before = length
        length += len(line)
        if number == 1:
            yield None, length
        else:
            last, rank = row[0], int(row[1])
    if last:
        # An image may have fewer captions than n_best, or this one was cut short.
        yield (last, length) if rank >= n_best else (None, before)


def _whole_lines(path: Path, quotes: bool = False) -> Iterator[bytes]:
    """Yield the complete lines of a file; with ``quotes``, a quoted value may contain line ends."""
    with path.open("rb") as file:
        line = b""
        for piece in file:
            line += piece
            if line.endswith(b"\n") and not (quotes and line.count(b'"') % 2):
                yield line
                line = b""


def _strange(path: Path, number: int) -> DataError:
    return DataError(
        f"{path}, line {number}: not written by this version of showattend caption; repair the "
        "line, or leave out --resume to start again"
    )


def model_digest(model: str | None, engine: str) -> str:
    """16 hexadecimal digits that identify a model's files, wherever they are.

    Args:
        model: The value of ``--model``.
        engine: The value of ``--engine``.

    Raises:
        CheckpointError: There is no such model, or one of its files cannot be read.
        UserError: A file of an export cannot be read.
    """
    from showattend.export.engine import is_exported
    from showattend.model import checkpoint as checkpoints

    if engine != "onnx" or model is None or not is_exported(model):
        return checkpoints.files_digest(model)
    digest = hashlib.sha256()
    try:
        for path in sorted(Path(model).glob("*.*")):
            if path.is_file() and path.suffix in (".onnx", ".json", ".npy"):
                digest.update(path.read_bytes())
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:16]


def options_file(part: Path) -> Path:
    """The file next to a part file that records the options of its captions."""
    return part.with_name(f"{part.name}.options")


def recorded_options(part: Path) -> dict[str, Any]:
    """The options that a part file was made with; empty if they are not known."""
    try:
        found = json.loads(options_file(part).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def check_options(part: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to add captions made with other options.

    Args:
        part: The part file, for the message.
        before: The options that it was made with; empty if they are not known.
        now: The options of this run.

    Raises:
        UserError: They differ.
    """
    changed = [
        f"{name} was {before[key]}, is {now.get(key)}"
        for key, name in OPTIONS.items()
        if key in before and before[key] != now.get(key)
    ]
    if changed:
        raise UserError(
            f"{part}: was made with other options ({'; '.join(changed)}); use the same ones, or "
            "leave out --resume to start again"
        )


class Texts(NamedTuple):
    """Photos by whether they need a text file.

    Attributes:
        without: The photos to caption.
        texts: The number that have a text already.
        problems: A line for each photo that cannot have a text file of its own.
    """

    without: list[Path]
    texts: int
    problems: list[str]


def photos_without_text(photos: Sequence[Path]) -> Texts:
    """Select the photos that have no photo.txt, or an empty one."""
    without, problems, count = [], [], 0
    owners: dict[Path, Path] = {}
    for photo in photos:
        text = photo.with_suffix(".txt")
        owner = owners.setdefault(text, photo)
        if owner != photo:
            problems.append(no_file_of_its_own(photo, text, owner))
        elif text != photo and has_text(text):
            count += 1
        else:
            without.append(photo)
    return Texts(without, count, problems)


def has_text(path: Path) -> bool:
    """Whether a text file has content; an unreadable one may."""
    try:
        return path.is_file() and bool(path.read_bytes().strip())
    except OSError:
        return True


def no_file_of_its_own(photo: Path, beside: Path, owner: Path) -> str:
    """The line for a photo whose photo.txt or photo.xmp belongs to another photo of that name."""
    return f"{photo}: has no {beside.name} of its own, {owner.name} has it; rename one of the two"
