"""The files of a feature cache: one folder per way of computing an image's features.

A shelf holds parts. Each run adds a part: the features of n images in one mapped file [n, H, W, D],
the image of each row (``keys``), and the state of each row (``status``). A part exists once its
status file does, and its size never changes, so that others can read it while another run adds a
part.

Two locks keep runs apart. Both are the operating system's, which end with their holder: ``lock`` is
held while features are added, and every run that reads a shelf holds its own ``use-*.lock``, so
that the shelf is not pruned.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout

from showattend.data.identity import DIGEST
from showattend.exceptions import DataError, UserError
from showattend.model.model_schema import parse_json
from showattend.system.files import sweep, write_json
from showattend.system.npy_files import map_array, read_array

FORMAT = 2
RECIPE, USED = "recipe.json", "used"
TODO, DONE, FAILED, TOO_LARGE = range(4)
TYPES = {"float16": np.float16, "bfloat16": np.int16}
"""How numbers are stored; NumPy has no bfloat16, so its bits are stored as integers."""
_NOT_RESERVED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # a file system that cannot


class Part(NamedTuple):
    """The features that one run added.

    Attributes:
        stem: The start of its files' names.
        keys: The image of each row, [n].
        status: TODO, DONE, FAILED, or TOO_LARGE (for the type), [n], mapped.
        features: [n, H, W, D], mapped.
        type: One of `TYPES`.
    """

    stem: Path
    keys: np.ndarray
    status: np.ndarray
    features: np.ndarray
    type: str

    def read(self, rows: np.ndarray) -> torch.Tensor:
        """The annotations of these rows, [B, H, W, D], as a copy in memory."""
        return self.tensor(self.features[rows])

    def tensor(self, numbers: np.ndarray) -> torch.Tensor:
        """Stored numbers [B, H, W, D] as a tensor."""
        found = torch.from_numpy(numbers)
        return found.view(torch.bfloat16) if self.type == "bfloat16" else found

    def write(self, rows: Sequence[int], annotations: torch.Tensor) -> int:
        """Store annotations [B, H, W, D] of these rows, except those that the type cannot hold.

        Returns:
            The number stored.
        """
        numbers = annotations.to(getattr(torch, self.type))
        finite = numbers.flatten(1).isfinite().all(1).cpu().numpy()
        bits = numbers.view(torch.int16) if self.type == "bfloat16" else numbers
        kept, rest = np.asarray(rows)[finite], np.asarray(rows)[~finite]
        self.status[rest] = TOO_LARGE
        self.features[kept] = bits.cpu().numpy()[finite]
        self.status[kept] = DONE  # after the features, so that a kill between the two is safe
        return len(kept)


class Shelf:
    """A folder of parts.

    Args:
        place: The folder; it need not exist.
        shape: (H, W, D).
    """

    def __init__(self, place: Path, shape: tuple[int, int, int]) -> None:
        self.place, self.shape = place, shape

    def parts(self, write: bool = False) -> list[Part]:
        """All parts, oldest first, mapped for reading or writing.

        Raises:
            DataError: A file is damaged, or cannot be opened in this mode.
        """
        try:
            stems = sorted(self.place.glob("*.status.npy"))
            return [self._part(path, write) for path in stems]
        except (FileNotFoundError, ValueError) as error:
            raise self._damaged(error) from error
        except OSError as error:
            raise DataError(
                f"{self.place}: the feature cache cannot be opened ({error.strerror}); make its "
                "files readable and writable, or set data.cache to another folder"
            ) from error

    def _part(self, path: Path, write: bool) -> Part:
        stem = path.with_name(path.name.removesuffix(".status.npy"))
        kind = stem.name.rpartition("-")[2]
        if kind not in TYPES:
            raise ValueError(f"{path.name} is of no known type")
        keys = read_array(_file(stem, "keys"))
        status, features = (map_array(_file(stem, name), write) for name in ("status", "features"))
        wanted = (len(keys), *self.shape)
        types = [each.dtype for each in (keys, status, features)]
        shapes = [keys.shape, status.shape, features.shape]
        if shapes != [wanted[:1], wanted[:1], wanted] or types != [DIGEST, np.uint8, TYPES[kind]]:
            raise ValueError("its shape is not the one expected")
        return Part(stem, keys, status, features, kind)

    def add(self, keys: np.ndarray, kind: str, recipe: Mapping[str, Any]) -> None:
        """Make a part at its full size: a mapped file must not outgrow the disk.

        Args:
            keys: The images, [N].
            kind: One of `TYPES`.
            recipe: The content of ``recipe.json``.

        Raises:
            DataError: It cannot be written, or the disk has no room for it.
        """
        fresh = not self.place.exists()
        number = 1 + len(list(self.place.glob("*.status.npy")))
        stem = self.place / f"{number:04d}-{secrets.token_hex(2)}-{kind}"
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            sweep([self.place])
            size = self.size_of(len(keys))
            if shutil.disk_usage(self.place).free < size * 1.02:
                raise self.no_room(size)
            shape = (len(keys), *self.shape)
            features = _file(stem, "features")
            np.lib.format.open_memmap(features, "w+", TYPES[kind], shape).flush()
            self._reserve(features)
            np.save(_file(stem, "keys"), keys)
            write_json(self.place / RECIPE, dict(recipe))
            aside = stem.with_name(f"{stem.name}.new.npy")
            np.save(aside, np.zeros(len(keys), np.uint8))
            aside.replace(_file(stem, "status"))
        except (OSError, UserError) as error:
            with contextlib.suppress(OSError):
                for path in self.place.glob(f"{stem.name}*"):
                    path.unlink()
                if fresh:
                    shutil.rmtree(self.place)
            if isinstance(error, OSError):
                raise self.cannot_write(error) from error
            raise

    def reserve(self, parts: Sequence[Part]) -> None:
        """Reserve the room of parts to be written: an earlier run's disk may be full by now.

        Raises:
            DataError: The disk has no room.
        """
        for part in parts:
            self._reserve(_file(part.stem, "features"))

    def _reserve(self, path: Path) -> None:
        """Reserve a file's room on disk: writing to a mapped file without room kills a process."""
        if not hasattr(os, "posix_fallocate"):
            return
        with path.open("r+b") as file:
            stat = os.fstat(file.fileno())
            left = max(0, stat.st_size - stat.st_blocks * 512)  # blocks of 512 bytes
            try:
                os.posix_fallocate(file.fileno(), 0, stat.st_size)
            except OSError as error:
                if error.errno not in _NOT_RESERVED:
                    raise self.no_room(left) from error

    def failures(self) -> dict[str, str]:
        """Why images could not be read at the last attempt, by key.

        Raises:
            DataError: The list is damaged.
        """
        listed = self.place / "failures.json"
        try:
            found = parse_json(listed.read_text(encoding="utf-8")) if listed.exists() else {}
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error
        if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
            raise self._damaged(ValueError("failures.json is not a list of reasons"))
        return found

    def write_failures(self, failures: Mapping[str, str]) -> None:
        """Store them.

        Raises:
            DataError: They cannot be written.
        """
        try:
            write_json(self.place / "failures.json", dict(failures))
        except UserError as error:
            raise self.cannot_write(error.__cause__ or error) from error

    def size_of(self, count: int) -> int:
        """The bytes of this many images' features."""
        return count * int(np.prod(self.shape)) * 2

    # Errors ----------------------------------------------------------------------------------

    def _damaged(self, error: Exception) -> DataError:
        said = " ".join(str(error).split())
        return DataError(f"{self.place}: the feature cache is damaged ({said}); delete it")

    def no_room(self, size: int) -> DataError:
        """The error if the disk has no room for this many bytes."""
        return DataError(
            f"{self.place}: needs {gigabytes(size)}, the disk has "
            f"{gigabytes(shutil.disk_usage(self.place).free)}; "
            "set data.cache to a folder on another disk, or make room on this one"
        )

    def cannot_write(self, error: BaseException) -> DataError:
        """The error if the folder cannot be written."""
        reason = getattr(error, "strerror", None) or str(error)
        return DataError(
            f"{self.place}: cannot be written ({reason}); set data.cache to another folder"
        )

    # Locks -----------------------------------------------------------------------------------

    def writable(self) -> bool:
        """Whether all of its files may be written."""
        return all(os.access(path, os.W_OK) for path in (self.place, *self.place.glob("*.npy")))

    @contextlib.contextmanager
    def adding(self, message: Callable[[str], None] | None) -> Iterator[bool]:
        """Hold the lock for adding features.

        Args:
            message: Called with a line if another run holds it, before waiting; None does not wait.

        Yields:
            Whether it is held.

        Raises:
            DataError: The folder cannot be written.
        """
        held, unlocked = None, False
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.place / "lock", thread_local=False)
            try:
                lock.acquire(timeout=0)
                held = lock
            except Timeout:
                if message is not None:
                    message(f"Another run is writing features to {self.place}: waiting for it")
                    lock.acquire()
                    held = lock
        except NotImplementedError:  # a file system without locks
            unlocked = True
        except OSError as error:
            raise self.cannot_write(error) from error
        try:
            yield held is not None or unlocked
        finally:
            if held is not None:
                held.release()

    def use(self) -> FileLock | None:
        """Mark the shelf as read by this process, as long as the lock is referenced.

        Returns:
            None if the folder cannot be written, since it cannot be pruned then.
        """
        try:
            (self.place / USED).touch()
            self.in_use()  # removes the marks of ended runs
            for _ in range(3):
                path = self.place / f"use-{secrets.token_hex(6)}.lock"
                lock = FileLock(path, thread_local=False)
                lock.acquire(timeout=0)
                if path.exists():  # and nobody took it for the mark of an ended run
                    return lock
        except (OSError, NotImplementedError, Timeout):
            pass
        return None

    def in_use(self, *, adding: bool = True) -> bool:
        """Whether a run reads the shelf or adds to it; removes the marks of ended runs.

        Args:
            adding: Check the second too; the holder of that lock need not.
        """
        for path in [*self.place.glob("use-*.lock"), *[self.place / "lock"] * adding]:
            if not path.exists():
                continue
            lock = FileLock(path, thread_local=False)
            try:
                lock.acquire(timeout=0)
            except (Timeout, OSError, NotImplementedError):
                return True
            if path.name != "lock":
                with contextlib.suppress(OSError):
                    path.unlink()
            lock.release()
        return False

    def count(self) -> int:
        """The number of images with features."""
        total = 0
        for path in self.place.glob("*.status.npy"):
            with contextlib.suppress(OSError, ValueError):
                total += int((read_array(path) == DONE).sum())
        return total

    def last_used(self) -> float:
        """When a run last read it, in seconds since 1970."""
        for name in (USED, RECIPE):
            with contextlib.suppress(OSError):
                return (self.place / name).stat().st_mtime
        return time.time()


def _file(stem: Path, name: str) -> Path:
    return stem.with_name(f"{stem.name}.{name}.npy")


def find(parts: Sequence[Part], keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The places of images.

    Args:
        parts: The parts to search.
        keys: The images, [N].

    Returns:
        For each its part, row and status, [N] each; of several rows, one that is DONE; part -1 if
        it has none.
    """
    part_of = np.full(len(keys), -1, np.int32)
    row_of = np.zeros(len(keys), np.int64)
    status = np.full(len(keys), TODO, np.uint8)
    wanted = np.asarray(keys, DIGEST)
    for number, part in enumerate(parts):
        if not len(part.keys):
            continue
        order = np.argsort(part.keys, kind="stable")
        place = np.searchsorted(part.keys, wanted, sorter=order).clip(max=len(order) - 1)
        row = order[place]
        now = np.asarray(part.status)[row]
        here = (part.keys[row] == wanted) & (wanted != b"") & (status != DONE)
        part_of[here], row_of[here], status[here] = number, row[here], now[here]
    return part_of, row_of, status


def gigabytes(size: int) -> str:
    """A number of bytes as text."""
    return f"{size / 1e9:.2f} GB"
