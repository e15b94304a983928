"""Writes a data set as shards: tar files that WebDataset reads, and an index of them.

Training images are stored in a random, fixed order, so that any few shards are a fair sample. Each
shard is written under a temporary name and renamed when complete, and the index comes last. The
same command continues after an interruption: shards with the same content are kept. Until it is
done, ``unfinished.json`` lists all files that it may replace or remove. Files of other programs,
to which WebDataset may have given such names, are never touched.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import random
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from showattend.data.records import SPLITS, Record
from showattend.data.shard_index import FORMAT, to_json
from showattend.data.shards import INDEX, NOT_IMAGES
from showattend.exceptions import DataError, UserError, one_line
from showattend.images.photo_file import PhotoFile
from showattend.system.files import check_room, remove_stale, write_bytes, writing_file
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
    ours = _Ours(folder)
    words: Counter[str] = Counter()
    for record in records:
        if record.split == "train":
            words.update(word for text in record.captions for word in tokenize(text))
    recipe = None if features is None else features.recipe
    plans = {name: _digest_of_plan(members, recipe) for name, _, members in planned}
    kept = {name for name, (plan, _) in plans.items() if ours.has(name, plan)}
    if kept:
        _log.info("%s: %s of %s shards are there", folder, f"{len(kept):,}", f"{len(plans):,}")
    entries: list[dict[str, Any]] = []
    done = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ours.remove_stale()
        _check_room(folder, {name: plans[name][1] for name in plans.keys() - kept})
        if kept < plans.keys() or ours.names - plans.keys():
            ours.note(plans.keys() - kept)
        for name, split, members in planned:
            if name not in kept:
                # A folder without an index is incomplete, even if it was complete before.
                (folder / INDEX).unlink(missing_ok=True)
                entry = {"name": name, "split": split, "plan": plans[name][0]}
                ours.entries[name] = entry | _write(folder / name, members, features)
                ours.note()
            entries.append(ours.entries[name])
            done += len(members)
            progress("Shards", done, len(records))
        content = json.dumps(to_json(entries, words, recipe), indent=1, ensure_ascii=False) + "\n"
        write_bytes(folder / INDEX, content.encode("utf-8", "backslashreplace"))
        ours.finish(plans.keys())
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


def _digest_of_plan(
    members: Sequence[tuple[str, Record]], recipe: dict[str, Any] | None
) -> tuple[str, int]:
    """The content of a shard, as far as it is known without reading the images, and their bytes."""
    size = 0
    digest = hashlib.sha256(json.dumps([FORMAT, recipe], sort_keys=True).encode())
    for key, record in members:
        try:
            found = record.path.stat()
        except OSError as error:
            raise DataError(f"{record.path}: cannot be read ({one_line(error)})") from error
        size += found.st_size
        state = [key, _values(record), found.st_size, found.st_mtime_ns]
        digest.update(json.dumps(state).encode())
    return digest.hexdigest()[:32], size


def _values(record: Record) -> dict[str, Any]:
    return {
        "image": record.path.name,
        "image_id": record.image_id,
        "split": record.split,
        "captions": list(record.captions),
    }


class _Ours:
    """The files of a folder that prepare has written, or was about to write.

    Args:
        folder: The folder; it need not exist.

    Attributes:
        entries: The entries of the index and the journal, by name of the shard.
        names: The names of all shards that may be replaced or removed.

    Raises:
        DataError: The index or a tar file is not ours.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, dict[str, Any]] = {}
        self.names: set[str] = set()
        there = {path.name for path in folder.glob("*.tar")}
        for name in (INDEX, _JOURNAL):
            values = self._read(name)
            if values is None:
                continue
            self.entries |= {each["name"]: each for each in values["shards"]}
            self.names |= self.entries.keys()
            # The journals of earlier versions have no list of what was about to be written.
            old = there if name == _JOURNAL else ()
            self.names |= set(values.get("planned", old))
        self.names = {name for name in self.names if _NAME.fullmatch(name)}
        if others := there - self.names - self.entries.keys():
            raise DataError(
                f"{folder / min(others)}: not written by prepare (no {INDEX} or {_JOURNAL} lists "
                "it); choose another folder"
            )

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            values = json.loads((self.folder / name).read_bytes())
            planned = values.get("planned", [])
            fits = (
                values["format"] == FORMAT
                and all(isinstance(each["name"], str) for each in values["shards"])
                and isinstance(planned, list)
                and all(isinstance(each, str) for each in planned)
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            fits = False
        except OSError as error:
            raise DataError(f"{self.folder / name}: cannot be read ({one_line(error)})") from error
        if not fits:
            raise DataError(f"{self.folder / name}: not written by prepare; choose another folder")
        return dict(values)

    def has(self, name: str, plan: str) -> bool:
        """Whether a shard written from this plan exists."""
        size, entry = _size_of(self.folder / name), self.entries.get(name, {})
        return size is not None and entry.get("bytes") == size and entry.get("plan") == plan

    def remove_stale(self) -> None:
        """Remove files that killed processes left half written."""
        begun = {path.name[1:].rsplit(".", 2)[0] for path in self.folder.glob(".*.part")}
        for name in begun:
            if _NAME.fullmatch(name) or name in (INDEX, _JOURNAL):
                remove_stale(self.folder / name)

    def note(self, replaced: Iterable[str] = ()) -> None:
        """Write down which files are ours, before they are written.

        Args:
            replaced: Shards that will be written; their entries are forgotten.
        """
        for name in replaced:
            self.entries.pop(name, None)
            self.names.add(name)
        values = {
            "format": FORMAT,
            "shards": list(self.entries.values()),
            "planned": sorted(self.names - self.entries.keys()),
        }
        write_bytes(self.folder / _JOURNAL, json.dumps(values).encode())

    def finish(self, names: Iterable[str]) -> None:
        """Remove the shards of an earlier, larger data set, and the journal that lists them."""
        for name in self.names - set(names):
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / _JOURNAL).unlink(missing_ok=True)


def _check_room(folder: Path, sizes: Mapping[str, int]) -> None:
    """Check that the disk has room for shards; old ones are removed only after the new are written.

    Raises:
        OSError: There is not enough room.
    """
    left = sum(size - (_size_of(folder / name) or 0) for name, size in sizes.items())
    check_room(folder / INDEX, max(left, max(sizes.values(), default=0)))


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _write(
    path: Path, members: Sequence[tuple[str, Record]], features: Features | None
) -> dict[str, Any]:
    """Write one shard, and return its entry for the index."""
    with writing_file(path, sync=True) as aside, aside.open("wb") as file:
        hashing: Any = _Hashing(file)
        with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
            for begin in range(0, len(members), _AT_ONCE):
                _add(tar, members[begin : begin + _AT_ONCE], features)
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
