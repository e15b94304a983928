"""Writes a data set as shards: tar files that WebDataset reads, and an index of them.

Training images are stored in a random, fixed order, so that any few shards are a fair sample. Each
shard is written under a temporary name and renamed when complete, and the index comes last. The
same command continues after an interruption: shards with the same content are kept.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import random
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from showattend.data.records import SPLITS, Record
from showattend.data.shard_index import FORMAT, to_json
from showattend.data.shards import INDEX, NOT_IMAGES
from showattend.exceptions import DataError, UserError, one_line
from showattend.images.photo_file import PhotoFile
from showattend.system.files import name_aside, remove_stale, write_bytes
from showattend.text.tokenizer import tokenize

if TYPE_CHECKING:
    import numpy as np

_log = logging.getLogger(__name__)
SIZE = 1000
"""Images per shard."""
_AT_ONCE = 32  # images encoded together
_JOURNAL = "unfinished.json"
_NAME = re.compile(rf"(?:{'|'.join(SPLITS)})-\d{{6,}}\.tar")
_KINDS = ((b"\xff\xd8\xff", "jpg"), (b"\x89PNG", "png"), (b"GIF8", "gif"))
_SEED = 0


class Features(Protocol):
    """The features of a frozen encoder, stored with the images."""

    recipe: dict[str, Any]

    def encode(self, photos: Sequence[PhotoFile]) -> list[np.ndarray]:
        """The features [H, W, D] of each photograph."""


def write_shards(
    records: Sequence[Record],
    folder: Path,
    *,
    size: int = SIZE,
    features: Features | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> dict[str, int]:
    """Write records and their images as shards, with their index.

    The same records give the same files, byte by byte.

    Args:
        records: Records whose images exist and whose captions have words.
        folder: The folder to write to, created if absent.
        size: The number of images per shard; the last shard of a split may have fewer.
        features: Computes the features stored with each image; None stores none.
        progress: Called with a label, the number of images written, and the total.

    Returns:
        The number of shards of each split.

    Raises:
        DataError: The folder cannot be written or holds another program's shards, or an image
            cannot be read.
    """
    if size < 1:
        raise DataError(f"--shard-size is {size}; it must be 1 or more")
    planned = list(_plan(records, size))
    before = _before(folder)
    words: Counter[str] = Counter()
    for record in records:
        if record.split == "train":
            words.update(word for text in record.captions for word in tokenize(text))
    recipe = None if features is None else features.recipe
    entries: list[dict[str, Any]] = []
    done = 0
    plans = {name: _digest_of_plan(members, recipe) for name, _, members in planned}
    kept = {
        name
        for name, plan in plans.items()
        if before.get(name, {}).get("plan") == plan
        and _has_size(folder / name, before[name].get("bytes"))
    }
    if kept:
        _log.info("%s: %s of %s shards are there", folder, f"{len(kept):,}", f"{len(plans):,}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, split, members in planned:
            if name in kept:
                entry = before[name]
            else:
                # A folder without an index is incomplete, even if it was complete before.
                _note(folder, before)
                (folder / INDEX).unlink(missing_ok=True)
                entry = {"name": name, "split": split, "plan": plans[name]}
                entry |= _write(folder / name, members, features)
                before[name] = entry
                _note(folder, before)
            entries.append(entry)
            done += len(members)
            progress("Shards", done, len(records))
        _finish(folder, entries, words, recipe)
    except UserError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({one_line(error)})") from error
    counts = Counter(entry["split"] for entry in entries)
    return {split: counts[split] for split in SPLITS if counts[split]}


def _plan(
    records: Sequence[Record], size: int
) -> Iterator[tuple[str, str, list[tuple[str, Record]]]]:
    """The shards to write: their names, splits and records with their keys."""
    for split in SPLITS:
        rows = [row for row, record in enumerate(records) if record.split == split]
        if split == "train":
            random.Random(_SEED).shuffle(rows)
        for number, begin in enumerate(range(0, len(rows), size)):
            members = [
                (f"{split}-{begin + i:09}", records[row])
                for i, row in enumerate(rows[begin : begin + size])
            ]
            yield f"{split}-{number:06}.tar", split, members


def _digest_of_plan(members: Sequence[tuple[str, Record]], recipe: dict[str, Any] | None) -> str:
    """The content of a shard, as far as it is known without reading the images."""
    digest = hashlib.sha256(json.dumps([FORMAT, recipe], sort_keys=True).encode())
    for key, record in members:
        try:
            found = record.path.stat()
        except OSError as error:
            raise DataError(f"{record.path}: cannot be read ({one_line(error)})") from error
        state = [key, _values(record), found.st_size, found.st_mtime_ns]
        digest.update(json.dumps(state).encode())
    return digest.hexdigest()[:32]


def _values(record: Record) -> dict[str, Any]:
    return {
        "image": record.path.name,
        "image_id": record.image_id,
        "split": record.split,
        "captions": list(record.captions),
    }


def _before(folder: Path) -> dict[str, dict[str, Any]]:
    """The entries of shards written by an earlier call, by name.

    Raises:
        DataError: The index or the shards are not ours.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in (INDEX, _JOURNAL):
        try:
            values = json.loads((folder / name).read_bytes())
            if values["format"] != FORMAT:
                raise ValueError
            found |= {each["name"]: each for each in values["shards"]}
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (ValueError, TypeError, KeyError):
            raise DataError(
                f"{folder / name}: not written by prepare; choose another folder"
            ) from None
        except OSError as error:
            raise DataError(f"{folder / name}: cannot be read ({one_line(error)})") from error
    others = [path for path in folder.glob("*.tar") if path.name not in found]
    if others and not all(_NAME.fullmatch(path.name) for path in others):
        raise DataError(f"{min(others)}: not written by prepare; choose another folder")
    return found


def _note(folder: Path, entries: dict[str, dict[str, Any]]) -> None:
    values = {"format": FORMAT, "shards": list(entries.values())}
    write_bytes(folder / _JOURNAL, json.dumps(values).encode())


def _finish(
    folder: Path,
    entries: Sequence[dict[str, Any]],
    words: Counter[str],
    recipe: dict[str, Any] | None,
) -> None:
    content = json.dumps(to_json(entries, words, recipe), indent=1, ensure_ascii=False) + "\n"
    write_bytes(folder / INDEX, content.encode("utf-8", "backslashreplace"))
    (folder / _JOURNAL).unlink(missing_ok=True)
    names = {entry["name"] for entry in entries}
    for path in folder.glob("*.tar"):  # of an earlier, larger data set
        if _NAME.fullmatch(path.name) and path.name not in names:
            path.unlink()


def _has_size(path: Path, size: object) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _write(
    path: Path, members: Sequence[tuple[str, Record]], features: Features | None
) -> dict[str, Any]:
    """Write one shard, and return its entry for the index."""
    remove_stale(path)
    aside = name_aside(path)
    try:
        with aside.open("wb") as file:
            hashing: Any = _Hashing(file)
            with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
                for begin in range(0, len(members), _AT_ONCE):
                    _add(tar, members[begin : begin + _AT_ONCE], features)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return {
        "images": len(members),
        "captions": sum(len(record.captions) for _, record in members),
        "bytes": hashing.count,
        "sha256": hashing.digest.hexdigest(),
    }


class _Hashing:
    """A file being written, with the digest of its content so far."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest, self.count = file, hashlib.sha256(), 0

    def write(self, content: bytes) -> int:
        """Write, and update the digest."""
        self.digest.update(content)
        self.count += len(content)
        return self.file.write(content)


def _add(
    tar: tarfile.TarFile, members: Sequence[tuple[str, Record]], features: Features | None
) -> None:
    contents = []
    for _, record in members:
        try:
            contents.append(record.path.read_bytes())
        except OSError as error:
            raise DataError(f"{record.path}: cannot be read ({one_line(error)})") from error
    encoded: Sequence[np.ndarray | None] = [None] * len(members)
    if features is not None:
        photos = [
            PhotoFile.of(content, str(record.path))
            for content, (_, record) in zip(contents, members, strict=True)
        ]
        encoded = features.encode(photos)
    import numpy as np  # not above: `showattend prepare --help` does not wait for it

    for (key, record), content, array in zip(members, contents, encoded, strict=True):
        _put(tar, f"{key}.{extension_of(content, record.path)}", content)
        _put(tar, f"{key}.json", json.dumps(_values(record)).encode())
        if array is not None:
            file = io.BytesIO()
            np.save(file, array)
            _put(tar, f"{key}.npy", file.getvalue())


def extension_of(content: bytes, path: Path) -> str:
    """The extension of an image's member: by its content, or that of its file."""
    for start, extension in _KINDS:
        if content.startswith(start):
            return extension
    named = re.sub(r"[^a-z0-9]", "", path.suffix.lower())
    return named if named and named not in NOT_IMAGES else "img"


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)  # no time, no owner: the same images give the same file
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
