"""Atomic writing of files, and checks before writing."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from showattend.exceptions import UserError


def make_room(path: Path) -> None:
    """Create the folder of a file that will be written, to find mistakes before long work.

    Temporary files that a killed process left for this file are removed.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UserError(f"{path}: cannot be written ({path.parent} is not a folder)") from None
    except OSError as error:
        raise unwritable(path.parent, error) from error
    if path.is_dir():
        raise UserError(f"{path}: cannot be written (it is a folder)")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise UserError(f"{path}: cannot be written (permission denied)")
    remove_stale(path)


def real(path: Path) -> Path:
    """The absolute path without links; circular ones stay, for which `Path.resolve` may raise."""
    return Path(os.path.realpath(path))


def spare(
    inputs: Iterable[str | Path | None], output: Path, what: str = "one of the photos"
) -> None:
    """Refuse to overwrite an input, including through another name or a link.

    Args:
        inputs: The files that are read; None for ones that are not given.
        output: The file to write.
        what: Description of the inputs for the message.

    Raises:
        UserError: The output is one of the inputs.
    """
    try:
        there = output.stat()
    except (OSError, ValueError):  # nothing to lose
        return
    if not stat.S_ISREG(there.st_mode):  # a terminal may be both read and written
        return
    for each in inputs:
        if each is None:
            continue
        try:
            same = os.path.samestat(Path(each).stat(), there)
        except (OSError, ValueError):  # missing or impossible
            continue
        if same:
            raise UserError(f"{output}: is {what}; choose another name to write to")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write plain values as indented JSON, atomically like ``write_bytes``.

    Raises:
        UserError: The file cannot be written.
    """
    write_bytes(path, f"{json.dumps(value, indent=1)}\n".encode())


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically like ``write_bytes``; lone surrogates are escaped.

    Raises:
        UserError: The file cannot be written.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: if interrupted, it stays as it was.

    Missing folders are created. For a link, its target is replaced.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # /dev/null or a pipe cannot be replaced
            path.write_bytes(content)
            return
        target = Path(os.path.realpath(path))
        aside = name_aside(target)
        try:
            aside.write_bytes(content)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def rewrite(path: Path, content: bytes) -> None:
    """Replace the content of a user's file, atomically like ``write_bytes``.

    The file keeps its permissions, its owner if allowed, and its extended attributes. Its
    modification time changes, so that programs notice. The content is on the disk before the file
    is renamed, so not even a power cut leaves half of it.

    Raises:
        UserError: The file cannot be written, or is write-protected.
    """
    if not path.exists():
        write_bytes(path, content)
        return
    if not os.access(path, os.W_OK):  # renaming would replace it all the same
        raise UserError(f"{path}: cannot be written (it is write-protected)")
    target = Path(os.path.realpath(path))
    aside = name_aside(target)
    try:
        try:
            with aside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            there = target.stat()
            if hasattr(os, "chown"):
                with contextlib.suppress(PermissionError):
                    os.chown(aside, there.st_uid, there.st_gid)
            shutil.copystat(target, aside)
            os.utime(aside)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


_DAY = 24 * 60 * 60  # seconds
_HOST = f"{zlib.crc32(platform.node().encode()):08x}"
_ASIDE = r"(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.part"
_UNOWNED = r"[0-9a-f]{8}\.part"  # of earlier versions
_WEIGHTS = r"(?P<pid>\d+)"  # `showattend.model.checkpoint.save_tensors`


def name_aside(path: Path) -> Path:
    """A temporary name next to a file or folder, from which it is renamed when complete.

    The name contains the host and the process, so that `remove_stale` can tell whether its owner
    still exists. The file's own name is truncated, since it may already have the maximum length.
    """
    owner = f"{_HOST}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.name[:40]}.{owner}.part")


def remove_stale(path: Path) -> list[Path]:
    """Remove what processes killed while writing a file or folder left behind.

    Only names of `name_aside` for this path, and those of its weights, are considered. They are
    removed if their process no longer exists on this host, or if they are a day old.

    Args:
        path: The file or folder that will be written.

    Returns:
        The paths removed; what cannot be removed is left.
    """
    name = re.escape(path.name[:40])
    forms = [rf"\.{name}\.(?:{_ASIDE})", rf"\.{name}\.{_UNOWNED}"]
    forms.append(rf"\.{re.escape(path.name)}\.{_WEIGHTS}")
    removed = []
    with contextlib.suppress(OSError):
        for entry in list(path.absolute().parent.iterdir()):
            matches = (re.fullmatch(form, entry.name) for form in forms)
            match = next((each for each in matches if each), None)
            if match is None or not _is_stale(entry, match.groupdict()):
                continue
            with contextlib.suppress(OSError):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
                removed.append(entry)
    return removed


def _is_stale(path: Path, owner: dict[str, str]) -> bool:
    try:
        if time.time() - path.lstat().st_mtime > _DAY:
            return True
    except OSError:  # gone by now
        return False
    # On Windows a process cannot be tested without ending it.
    if sys.platform == "win32" or "pid" not in owner or owner.get("host", _HOST) != _HOST:
        return False
    try:
        os.kill(int(owner["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's, or not a process id
        return False
    return False


def hold(file: IO[Any]) -> bool:
    """Lock an open file until it is closed, or its process ends.

    Returns:
        Whether no other process has locked it; True if files cannot be locked.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def check_room(path: Path, size: int) -> None:
    """Check that the disk has room for a file, before it is written.

    Args:
        path: The file, in a folder that exists.
        size: Its size in bytes.

    Raises:
        OSError: The system reports too little room.
    """
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError:
        return
    if free < size:
        reason = f"it needs {size / 1e6:,.0f} MB, and the disk has {free / 1e6:,.0f} MB left"
        raise OSError(errno.ENOSPC, reason)


def unwritable(path: Path, error: OSError) -> UserError:
    """The error for a file that cannot be written, with the system's reason."""
    return UserError(f"{path}: cannot be written ({error.strerror or error})")
