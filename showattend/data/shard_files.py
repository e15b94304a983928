"""Shards opened for reading any of their samples.

A shard on this machine is read in place. A remote one is copied to an unnamed temporary file, which
disappears after its last use, and checked against its digest on the way. For an open shard, a
process keeps the positions of its members: 48 bytes per sample.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import tempfile
import threading
import time
import weakref
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from showattend.data.shard_index import Shard
from showattend.data.shards import (
    Header,
    check_size,
    damaged,
    files_in,
    is_image,
    size_of,
    split_name,
)
from showattend.exceptions import DataError, one_line, shown
from showattend.system.addresses import TRIES, MissingError, is_remote, local_path, open_stream
from showattend.system.files import check_room
from showattend.system.npy_files import parse_array

_BLOCK = 1 << 20
_AT_ONCE = 4  # shards that are copied or scanned at a time
_KEPT = 32  # validation shards; a process may have a few hundred open files
IMAGE, JSON, FEATURES = range(3)


class OpenShard:
    """A shard whose members can be read in any order, from several threads.

    Args:
        shard: Its entry in the index.
        folder: The folder for the copy of a remote shard; None: the system's temporary folder.

    Raises:
        DataError: It is missing, damaged, or not the one that the index describes.
    """

    def __init__(self, shard: Shard, folder: Path | None = None) -> None:
        self.shard = shard
        self._lock = threading.Lock()
        file: IO[bytes] = _copied(shard, folder) if is_remote(shard.place) else _opened(shard)
        self._file = file
        self._end = weakref.finalize(self, file.close)
        try:
            self._members = _members(shard, file)
        except BaseException:
            self._end()
            raise

    def read(self, row: int, member: int) -> bytes | None:
        """A member of a sample.

        Args:
            row: The number of the sample in the shard.
            member: ``IMAGE``, ``JSON`` or ``FEATURES``.

        Returns:
            Its bytes; None if the sample lacks it.

        Raises:
            DataError: It cannot be read.
        """
        offset, size = self._members[row, member].tolist()
        if not offset:
            return None
        try:
            if hasattr(os, "pread"):
                content = os.pread(self._file.fileno(), size, offset)
            else:
                with self._lock:
                    self._file.seek(offset)
                    content = self._file.read(size)
        except OSError as error:
            raise DataError(f"{self.shard.place}: cannot be read ({one_line(error)})") from error
        if len(content) < size:
            raise damaged(self.shard.place, f"it ends within sample {row}")
        return content

    def values(self, row: int) -> dict[str, Any]:
        """The content of a sample's JSON.

        Raises:
            DataError: There is none, or it is broken.
        """
        content = self.read(row, JSON)
        try:
            values = json.loads(content or b"")
            texts, name = values["captions"], values.get("image_id", row)
            if not (isinstance(texts, list) and texts and all(type(t) is str for t in texts)):
                raise ValueError(f"captions is {shown(texts)}; it must be a list of texts")
            if type(name) not in (int, str):
                raise ValueError(f"image_id is {shown(name)}; it must be a number or a text")
            if type(file := values.get("image", "")) is not str:
                raise ValueError(f"image is {shown(file)}; it must be the name of the file")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise damaged(self.shard.place, f"sample {row}: {one_line(error)}") from None
        return dict(values)

    def image(self, row: int) -> bytes:
        """The image file of a sample.

        Raises:
            DataError: There is none.
        """
        content = self.read(row, IMAGE)
        if content is None:
            raise damaged(self.shard.place, f"sample {row} has no image")
        return content

    def features(self, row: int) -> np.ndarray:
        """The features of a sample, [H, W, D].

        Raises:
            DataError: There are none, or they are damaged.
        """
        content = self.read(row, FEATURES)
        try:
            return parse_array(content or b"")
        except ValueError as error:
            where, reason = self.shard.place, f"features of sample {row}: {one_line(error)}"
            raise damaged(where, reason) from None


def _opened(shard: Shard) -> IO[bytes]:
    size = size_of(shard.place)
    if size != shard.size:
        raise DataError(_other_size(shard, f"{size:,}"))
    try:
        return Path(local_path(shard.place)).open("rb", buffering=0)
    except OSError as error:
        raise DataError(f"{shard.place}: cannot be read ({one_line(error)})") from error


def _other_size(shard: Shard, size: str) -> str:
    return (
        f"{shard.place}: has {size} bytes, its index says {shard.size:,}; copy it again, with its "
        "index"
    )


class _HopelessError(DataError):
    """An error that another attempt cannot help."""


def _copied(shard: Shard, folder: Path | None) -> IO[bytes]:
    """A copy of a shard in an unnamed temporary file.

    Raises:
        DataError: It cannot be read, or is not the one that the index describes.
    """
    for left in range(TRIES - 1, -1, -1):
        file = _empty(shard, folder)
        try:
            _fill(file, shard, folder)
            return file
        except BaseException as error:  # each kind of connection has its own errors
            file.close()
            if not isinstance(error, Exception) or isinstance(error, _HopelessError | MissingError):
                raise
            if not left:
                if isinstance(error, DataError):
                    raise
                raise DataError(f"{shard.place}: cannot be read ({one_line(error)})") from error
        time.sleep(0.5 * 2 ** (TRIES - 1 - left))
    raise AssertionError


def _empty(shard: Shard, folder: Path | None) -> IO[bytes]:
    """A file without a name, on a disk that has room for a shard."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        check_room(_where(folder) / "shard", shard.size)
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise _no_room(folder, error) from error


def _fill(file: IO[bytes], shard: Shard, folder: Path | None) -> None:
    """Copy a shard, without reading much beyond the size that its index gives."""
    digest, count = hashlib.sha256(), 0
    with open_stream(shard.place) as stream:
        while block := stream.read(min(_BLOCK, shard.size + 1 - count)):
            count += len(block)
            if count > shard.size:
                raise _HopelessError(_other_size(shard, f"more than {shard.size:,}"))
            digest.update(block)
            try:
                file.write(block)
            except OSError as error:
                raise _no_room(folder, error) from error
    try:
        file.flush()
    except OSError as error:
        raise _no_room(folder, error) from error
    if digest.hexdigest() != shard.digest:
        raise DataError(
            f"{shard.place}: is not the shard that its index describes (its SHA-256 is "
            f"{digest.hexdigest()[:12]}..., not {shard.digest[:12]}...); copy it there again"
        )
    if count != shard.size:
        raise _HopelessError(_other_size(shard, f"{count:,}"))


def _where(folder: Path | None) -> Path:
    return folder or Path(tempfile.gettempdir())


def _no_room(folder: Path | None, error: OSError) -> _HopelessError:
    where = _where(folder)
    return _HopelessError(f"{where}: cannot hold a copy of a shard ({one_line(error)})")


def _members(shard: Shard, file: IO[bytes]) -> np.ndarray:
    """The position of each sample's members: [samples, 3, (offset, size)].

    Raises:
        DataError: The shard is damaged, or its number of samples differs from the index.
    """
    members = np.zeros((shard.images, 3, 2), np.int64)
    row, key = -1, None
    try:
        file.seek(0)
        end = os.fstat(file.fileno()).st_size
        with tarfile.open(fileobj=file, mode="r:", tarinfo=Header) as tar:
            for member in files_in(tar):
                if member.offset_data + member.size > end:
                    raise tarfile.ReadError(f"it ends within {member.name}")
                named, extension = split_name(member.name)
                if named != key:
                    row, key = row + 1, named
                if row >= shard.images:
                    continue  # counted below
                kind = {"json": JSON, "npy": FEATURES}.get(extension)
                if kind is None and is_image(extension):
                    kind = IMAGE
                if kind is not None:
                    check_size(shard.place, member)
                    members[row, kind] = member.offset_data, member.size
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{shard.place}: cannot be read ({one_line(error)})") from error
    except Exception as error:  # of many kinds, from headers that claim too much
        raise damaged(shard.place, one_line(error)) from error
    if row + 1 != shard.images:
        raise DataError(
            f"{shard.place}: holds {row + 1:,} samples, its index says {shard.images:,}; copy it "
            "again, with its index"
        )
    return members


class ShardFiles:
    """The open shards of a process; the next ones are opened in the background.

    Args:
        shards: All S shards.
        folder: See `OpenShard`.
    """

    def __init__(self, shards: Iterable[Shard], folder: Path | None = None) -> None:
        self.shards, self.folder = tuple(shards), folder
        self._open: dict[int, Future[OpenShard]] = {}
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="shards")

    def want(self, numbers: Iterable[int]) -> None:
        """Open these shards, and close the others once they are no longer read.

        Args:
            numbers: Some of the S, the most urgent first.
        """
        numbers = list(dict.fromkeys(numbers))
        for number in self._open.keys() - set(numbers):
            self._open.pop(number).cancel()
        for number in numbers:
            if number not in self._open:
                self._open[number] = self._pool.submit(OpenShard, self.shards[number], self.folder)

    def also(self, numbers: Iterable[int], most: int = _KEPT) -> None:
        """Open these shards too, and close the oldest of the others.

        Args:
            numbers: Some of the S.
            most: The most shards to keep open.
        """
        numbers = list(dict.fromkeys(numbers))
        others = [number for number in self._open if number not in numbers]
        room = max(0, most - len(numbers))
        self.want([*others[len(others) - room if room < len(others) else 0 :], *numbers])

    def get(self, number: int) -> OpenShard:
        """A requested shard, once it is open.

        Raises:
            DataError: See `OpenShard`.
        """
        return self._open[number].result()
