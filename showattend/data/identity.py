"""The identity of an image file, whatever its name and place: the digest of its bytes.

A digest needs the whole file, but reading is much faster than decoding and encoding. Digests are
kept in a small database next to the features, by path, size, times and inode, so that files are
read for them only once. A moved or renamed file is read again, and is still the same image.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from showattend.exceptions import one_line

DIGEST = "S32"
"""128 bits in hexadecimal, as NumPy holds them."""
FILE = "files.sqlite"
_AT_ONCE = 10_000
_TABLE = (
    "create table if not exists files "
    "(path text primary key, state text not null, digest text not null) without rowid"
)


class Identities(NamedTuple):
    """The identities of files.

    Attributes:
        digests: One per file, [N] `DIGEST`; empty for a file that cannot be read.
        unread: The reason why a file cannot be read, by its number.
    """

    digests: np.ndarray
    unread: dict[int, str]


def identify_files(paths: Sequence[Path], folder: Path) -> Identities:
    """The digests of files, from the database of a folder if it has them.

    Args:
        paths: N files.
        folder: The folder of the features. If its database cannot be used, every file is read.
    """
    digests = np.zeros(len(paths), DIGEST)
    unread: dict[int, str] = {}
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(4) as pool:
        memory = _open(folder)
        if memory is not None:
            stack.callback(memory.close)
        for begin in range(0, len(paths), _AT_ONCE):
            chunk = paths[begin : begin + _AT_ONCE]
            names = [os.path.abspath(path) for path in chunk]  # noqa: PTH100 (ten times as fast)
            states = list(map(_state, chunk))
            known = _recall(memory, names)
            same = [
                known.get(name, ("", ""))[0] == state
                for name, state in zip(names, states, strict=True)
            ]
            new = [i for i, state in enumerate(states) if not (state and same[i])]
            found = dict(zip(new, pool.map(_digest, [chunk[i] for i in new]), strict=True))
            for i, name in enumerate(names):
                digest = found[i] if i in found else known[name][1]
                if isinstance(digest, OSError):
                    unread[begin + i] = _why(chunk[i], digest)
                else:
                    digests[begin + i] = digest.encode()
            learnt = [
                (names[i], states[i], digest)
                for i, digest in found.items()
                if isinstance(digest, str) and states[i]
            ]
            _remember(memory, learnt)
    return Identities(digests, unread)


def _state(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


def _digest(path: Path) -> str | OSError:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        return error
    except ValueError as error:  # a null byte in the name
        return OSError(str(error))
    return digest.hexdigest()


def _why(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path}: no such file"
    return f"{path}: cannot be read ({one_line(error)})"


def _open(folder: Path) -> sqlite3.Connection | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        memory = sqlite3.connect(folder / FILE, timeout=60)
        with contextlib.suppress(sqlite3.OperationalError):  # a read-only folder
            memory.execute(_TABLE)
        memory.execute("select count(*) from (select 1 from files limit 1)")
    except (OSError, sqlite3.Error):
        return None
    return memory


def _recall(memory: sqlite3.Connection | None, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    if memory is None:
        return {}
    known: dict[str, tuple[str, str]] = {}
    ask = "select path, state, digest from files where path in ({})"
    with contextlib.suppress(sqlite3.Error, UnicodeError):
        for begin in range(0, len(names), 500):
            part = names[begin : begin + 500]
            for name, state, digest in memory.execute(ask.format(",".join("?" * len(part))), part):
                known[name] = (state, digest)
    return known


def _remember(memory: sqlite3.Connection | None, learnt: Sequence[tuple[str, str, str]]) -> None:
    if memory is None or not learnt:
        return
    with contextlib.suppress(sqlite3.Error, UnicodeError), memory:
        memory.executemany("insert or replace into files values (?, ?, ?)", learnt)
