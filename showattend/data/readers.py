"""Readers of captioned data sets. Every format becomes a list of ``Record``.

The formats are COCO caption JSON, Karpathy's split JSON, Flickr8k's own text files, and JSON Lines.
Images are not opened and need not exist; malformed files raise a ``DataError`` that says where.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from showattend.data.places import as_on_disk, relocate
from showattend.data.records import SPLITS, Record
from showattend.exceptions import DataError, shown

FLICKR8K_TOKENS = "Flickr8k.token.txt"
_FLICKR8K_SPLITS = {
    "train": "Flickr_8k.trainImages.txt",
    "val": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
# "Flicker8k" is how the archive itself spells it.
_FLICKR8K_IMAGES = ("images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset")


# Files -----------------------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, ignoring a byte order mark.

    Raises:
        DataError: It cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: this is a folder, not a file") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8, or give another file"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the non-blank lines with their numbers, starting at 1.

    Raises:
        DataError: The file cannot be read, or is not UTF-8.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line := line.strip():
            yield number, line


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: It cannot be read, or is not valid JSON; the message names the line.
    """
    return parse_json(read_text(path), path)


def parse_json(text: str, path: Path, line: int = 1) -> Any:
    """Parse JSON that begins in this line of a file.

    Raises:
        DataError: It is not valid JSON; the message names the line.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {line + error.lineno - 1}"
        raise DataError(f"{where}: broken JSON ({error.msg}, column {error.colno})") from None
    except RecursionError:
        raise DataError(f"{path}, line {line}: broken JSON (nested too deeply)") from None
    except ValueError:  # Python refuses numbers of more than 4,300 digits
        raise DataError(f"{path}, line {line}: broken JSON (a number too long to read)") from None


# COCO ------------------------------------------------------------------------------------------


def coco_records(data: Any, path: Path, image_root: Path, split: str) -> list[Record]:
    """The records of a COCO caption file, such as ``captions_train2017.json``.

    Args:
        data: Its content: ``images`` with ``id`` and ``file_name``, ``annotations`` with
            ``image_id`` and ``caption``.
        path: The file, for messages.
        image_root: The folder that ``file_name`` is relative to.
        split: The split that all its images belong to.

    Returns:
        One record for each image that has captions, in the file's order.

    Raises:
        DataError: The data has another format.
    """
    images, annotations = (_list(data, key, path) for key in ("images", "annotations"))
    captions: dict[int | str, list[str]] = {}
    for number, image in enumerate(images):
        where = f"{path}: images[{number}]"
        image_id = _image_id(_value(image, "id", int | str, where), where)
        check_name(_value(image, "file_name", str, where), where)
        if image_id in captions:
            raise DataError(f"{where}: a second image with the id {shown(image_id)}")
        captions[image_id] = []
    for number, annotation in enumerate(annotations):
        where = f"{path}: annotations[{number}]"
        if isinstance(annotation, dict) and "bbox" in annotation and "caption" not in annotation:
            raise DataError(
                f"{path}: these are object instances, not captions; "
                "give the captions_*.json of the data set"
            )
        caption = _value(annotation, "caption", str, where)
        if (image_id := _value(annotation, "image_id", int | str, where)) not in captions:
            raise DataError(f"{where}: names the image {shown(image_id)}, not in 'images'")
        captions[image_id].append(caption)
    records = [
        Record(image["id"], image_root / image["file_name"], tuple(captions[image["id"]]), split)
        for image in images
        if captions[image["id"]]
    ]
    return _not_empty(records, path)


# Karpathy --------------------------------------------------------------------------------------


def read_karpathy(annotations: Path, image_root: Path, restval: bool = True) -> list[Record]:
    """Read a Karpathy split file, such as ``dataset_coco.json`` or ``dataset_flickr8k.json``.

    Args:
        annotations: The JSON file: ``images`` with ``filename``, ``split`` and ``sentences``.
        image_root: The folder of the images, or of the subfolders named by ``filepath`` (COCO:
            ``train2014`` and ``val2014``).
        restval: Use the split ``restval`` (COCO: 30,504 images) for training, as usual;
            otherwise leave it out.

    Raises:
        DataError: The file cannot be read, or has another format.
    """
    return karpathy_records(read_json(annotations), annotations, image_root, restval)


def karpathy_records(data: Any, path: Path, image_root: Path, restval: bool) -> list[Record]:
    """Convert a parsed Karpathy split to records; ``path`` is for messages.

    Raises:
        DataError: The data has another format.
    """
    records = []
    seen = set()
    for number, image in enumerate(_list(data, "images", path)):
        where = f"{path}: images[{number}]"
        name = check_name(_value(image, "filename", str, where), where)
        split = _value(image, "split", str, where)
        if split not in (*SPLITS, "restval"):
            raise DataError(
                f"{where}: unknown split {shown(split)}: use one of {', '.join(SPLITS)} or restval"
            )
        captions = tuple(
            _value(sentence, "raw", str, f"{where}: sentences[{i}]")
            for i, sentence in enumerate(_list(image, "sentences", where))
        )
        if not captions:
            raise DataError(f"{where}: {name} has no sentences")
        image_id = image.get("cocoid", image.get("imgid", Path(name).stem))
        if _image_id(image_id, where) in seen:
            raise DataError(f"{where}: a second image with the id {shown(image_id)}")
        seen.add(image_id)
        folder = image_root / check_name(str(image.get("filepath", "")), where)
        if not folder.is_dir() and (image_root / name).is_file():
            folder = image_root  # image_root is that subfolder, or all images are in one folder
        if split == "restval" and not restval:
            continue
        records.append(
            Record(image_id, folder / name, captions, "train" if split == "restval" else split)
        )
    return _not_empty(records, path)


# Flickr8k --------------------------------------------------------------------------------------


def read_flickr8k(root: Path, image_root: Path | None = None) -> list[Record]:
    """Read Flickr8k from its own text files.

    Args:
        root: The folder with ``Flickr8k.token.txt`` and ``Flickr_8k.{train,dev,test}Images.txt``,
            or its parent with ``Flickr8k_text`` in it, as unpacked. A split whose file is absent
            is left out.
        image_root: The folder of the images; if None, ``images``, ``Flicker8k_Dataset`` or
            ``Flickr8k_Dataset`` under ``root``.

    Raises:
        DataError: A file is missing or malformed.
    """
    texts = root / "Flickr8k_text" if (root / "Flickr8k_text").is_dir() else root
    tokens = texts / FLICKR8K_TOKENS
    if not tokens.exists() and (root / "captions.txt").is_file():
        raise DataError(
            f"{root}: holds captions.txt, as from Kaggle, not {FLICKR8K_TOKENS}; use "
            "`showattend prepare folder`"
        )
    captions = _flickr8k_captions(tokens)
    if image_root is None:
        image_root = next(
            (root / name for name in _FLICKR8K_IMAGES if (root / name).is_dir()), root / "images"
        )
    records = []
    seen: dict[str, str] = {}
    for split, file in _FLICKR8K_SPLITS.items():
        if not (texts / file).is_file():
            continue
        for number, name in read_lines(texts / file):
            where = f"{texts / file}, line {number}"
            if name not in captions:
                raise DataError(f"{where}: {name} has no captions in {FLICKR8K_TOKENS}")
            if name in seen:
                raise DataError(f"{where}: {name} is already in {seen[name]}")
            seen[name] = file
            image_id = Path(name).stem
            records.append(Record(image_id, image_root / name, tuple(captions[name]), split))
    if not seen:
        files = ", ".join(_FLICKR8K_SPLITS.values())
        raise DataError(f"{texts}: none of {files} exists or names an image")
    return records


def _flickr8k_captions(path: Path) -> dict[str, list[str]]:
    """Read the captions of each image file from lines such as ``file.jpg#0<TAB>A dog runs .``."""
    captions: dict[str, list[str]] = {}
    keys: dict[str, int] = {}
    for number, line in read_lines(path):
        key, tab, caption = line.partition("\t")
        name, mark, _ = key.rpartition("#")
        if not tab or not mark or not name:
            raise DataError(f"{path}, line {number}: not of the form file.jpg#0<TAB>caption")
        check_name(name, f"{path}, line {number}")
        if key in keys:
            raise DataError(f"{path}, line {number}: {key} is already in line {keys[key]}")
        keys[key] = number
        captions.setdefault(name, []).append(caption.strip())
    return captions


# JSON Lines ------------------------------------------------------------------------------------


def read_jsonl(path: Path, image_root: Path | None = None) -> list[Record]:
    """Read a JSON Lines file with one image per line.

    A line is ``{"image": "dogs/1.jpg", "captions": ["A dog."], "split": "train", "image_id": 7}``.
    ``split`` defaults to ``train`` and ``image_id`` to ``image``.

    Args:
        path: The file.
        image_root: The folder that ``image`` is relative to; None uses the file's folder.

    Raises:
        DataError: The file cannot be read, or a line has another format.
    """
    root = path.parent if image_root is None else image_root
    records = []
    lines: dict[int | str, int] = {}
    for number, text in read_lines(path):
        where = f"{path}, line {number}"
        line = parse_json(text, path, number)
        image = check_name(_value(line, "image", str, where), where)
        captions = _value(line, "captions", list, where)
        if not image or not captions or not all(isinstance(caption, str) for caption in captions):
            raise DataError(f"{where}: needs an image and a list of at least one caption")
        split = line.get("split", "train")
        if split not in SPLITS:
            raise DataError(
                f"{where}: unknown split {shown(split)}: use one of {', '.join(SPLITS)}"
            )
        image_id = _image_id(line.get("image_id", image), where)
        if image_id in lines:
            raise DataError(
                f"{where}: a second image with the id {shown(image_id)} (line {lines[image_id]}); "
                "put all captions of an image in one line"
            )
        lines[image_id] = number
        records.append(Record(image_id, root / image, tuple(captions), split))
    return _not_empty(records, path)


# Any of them -----------------------------------------------------------------------------------


def read_dataset(path: Path, image_root: Path | None = None) -> list[Record]:
    """Read a data set in any of the supported formats.

    Args:
        path: A file in one of the formats; or a folder with ``dataset.jsonl``, Flickr8k's text
            files, ``dataset_*.json`` (Karpathy), or ``captions_{train,val,test}*.json`` (COCO).
            The split of a COCO file is ``val`` or ``test`` if its name contains that, otherwise
            ``train``.
        image_root: The folder of the images, even if the data set gives absolute paths elsewhere.
            None uses the one that the format specifies, or ``images`` next to the file, or the
            file's folder.

    Returns:
        The records, with the names that the files have on disk (`as_on_disk`).

    Raises:
        DataError: The format is unknown, or the data is malformed.
    """
    records = _read_any(path, image_root)
    return as_on_disk(records if image_root is None else relocate(records, image_root))


def _read_any(path: Path, image_root: Path | None) -> list[Record]:
    if path.is_dir():
        return _read_folder(path, image_root)
    if path.suffix.lower() == ".jsonl":
        return read_jsonl(path, image_root)
    if path.name == FLICKR8K_TOKENS:
        return read_flickr8k(path.parent, image_root)
    if path.suffix.lower() != ".json" and path.is_file():
        raise DataError(
            f"{path}: not a data set; give a .json or .jsonl file, {FLICKR8K_TOKENS}, or a folder; "
            "for a table of captions, run `showattend prepare folder` on its folder"
        )
    data = read_json(path)
    if image_root is None:
        beside = path.parent / "images"
        image_root = beside if beside.is_dir() else path.parent
    images = data.get("images") if isinstance(data, dict) else None
    first = images[0] if isinstance(images, list) and images else None
    if isinstance(first, dict) and "sentences" in first:
        return karpathy_records(data, path, image_root, restval=True)
    return coco_records(data, path, image_root, split_of(path))


def _read_folder(path: Path, image_root: Path | None) -> list[Record]:
    if (path / "dataset.jsonl").is_file():
        return read_jsonl(path / "dataset.jsonl", image_root)
    if (path / FLICKR8K_TOKENS).is_file() or (path / "Flickr8k_text").is_dir():
        return read_flickr8k(path, image_root)
    if karpathy := sorted(path.glob("dataset_*.json")):
        return _read_any(karpathy[0], image_root)
    files = sorted(path.glob("captions_*.json"))
    records = [record for file in files for record in _read_any(file, image_root)]
    if not records:
        raise DataError(
            f"{path}: no data set found; a folder needs dataset.jsonl, {FLICKR8K_TOKENS}, "
            "dataset_*.json (Karpathy) or captions_*.json (COCO); for photos with texts or a table "
            "of captions, run `showattend prepare folder`"
        )
    check_ids(records)
    return records


def check_ids(records: Iterable[Record]) -> None:
    """Check that ids are unique, for example that no image is in two splits.

    Raises:
        DataError: Two records have the same id.
    """
    seen: dict[int | str, Record] = {}
    for record in records:
        if other := seen.get(record.image_id):
            raise DataError(
                f"two images with the id {record.image_id!r}: {other.path} ({other.split}) "
                f"and {record.path} ({record.split})"
            )
        seen[record.image_id] = record


def split_of(path: Path) -> str:
    """The split of a COCO file by its name: ``val`` or ``test`` if it says so, else ``train``."""
    return next((split for split in ("val", "test") if split in path.name.lower()), "train")


# Checks ----------------------------------------------------------------------------------------


def _list(data: Any, key: str, where: Path | str) -> list[Any]:
    if isinstance(data, list):
        raise DataError(
            f"{where}: a list, not an object with {key!r}; is this a results file? "
            "Give the human captions"
        )
    value: list[Any] = _value(data, key, list, f"{where}")
    return value


def _value(data: Any, key: str, kind: Any, where: str) -> Any:
    """Return ``data[key]`` after checking that it exists and has the right type."""
    if not isinstance(data, dict):
        raise DataError(f"{where}: not an object with {key!r}")
    if key not in data:
        found = ", ".join(map(repr, list(data)[:6])) or "nothing"
        raise DataError(f"{where}: {key!r} is missing (found {found[:200]})")
    if not isinstance(data[key], kind):
        name = {list: "a list", str: "text"}.get(kind, "a number or text")
        raise DataError(f"{where}: {key!r} must be {name}, not {shown_json(data[key])}")
    return data[key]


def _image_id(value: Any, where: str) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{where}: an image id must be a number or text, not {shown(value)}")
    return value


def shown_json(value: Any) -> str:
    """A value of a JSON file as a message quotes it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else shown(value, 40)


def check_name(name: str, where: str) -> str:
    """Check that an image's name is possible as a file name, and return it.

    Raises:
        DataError: It contains a null byte or a lone surrogate, or is too long.
    """
    try:
        encoded = os.fsencode(name)
        longest = max(map(len, encoded.split(b"/")))
        if b"\0" not in encoded and longest <= _LONGEST_PART and len(encoded) <= _LONGEST_NAME:
            return name
    except UnicodeEncodeError:
        pass
    raise DataError(f"{where}: {shown(name)} cannot be the name of a file")


_LONGEST_PART, _LONGEST_NAME = 255, 1024
"""Bytes that file systems allow for a name, and macOS, the strictest, for a path."""


def _not_empty(records: list[Record], path: Path) -> list[Record]:
    if not records:
        raise DataError(f"{path}: holds no image with captions")
    return records
