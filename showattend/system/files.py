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
from collections.abc import Iterable, Iterator
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
        with writing_file(path) as aside:
            aside.write_bytes(content)
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
    try:
        with writing_file(path, sync=True) as aside:
            aside.write_bytes(content)
            there = path.stat()
            if hasattr(os, "chown"):
                with contextlib.suppress(PermissionError):
                    os.chown(aside, there.st_uid, there.st_gid)
            shutil.copystat(path, aside)
            os.utime(aside)
    except OSError as error:
        raise unwritable(path, error) from error


@contextlib.contextmanager
def writing_file(path: Path, *, sync: bool = False, apart: bool = False) -> Iterator[Path]:
    """Yield a temporary path next to a file; what the block writes there replaces the file.

    If the block raises or the process is killed, the file stays as it was. Missing folders are
    created. For a link, its target is replaced; a device or a pipe is written in place.

    Example::

        with writing_file(path) as aside, aside.open("wb") as file:
            np.save(file, array)

    Args:
        path: The file.
        sync: Whether the content must be on the disk before the file is renamed, so that not even
            a power cut leaves half of it.
        apart: Whether the temporary path is in a folder of its own, for a library that writes
            temporary files itself: `remove_stale` then finds those of a killed process, too.

    Raises:
        OSError: The file cannot be written.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    target = real(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = name_aside(target)
    file = aside / target.name if apart else aside
    try:
        if apart:
            aside.mkdir()
        yield file
        if sync:
            with file.open("rb+") as written:
                os.fsync(written.fileno())
        file.replace(target)
    finally:
        if apart:
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_folder(path: Path, replaces: Iterable[str] = ()) -> Iterator[Path]:
    """Yield an empty temporary folder next to a folder; what the block writes there moves into it.

    If the block raises or the process is killed, the folder stays as it was. A process that is
    killed while files are moved leaves the folder without some of them; `remove_stale`, with which
    this begins, then restores the old content or completes the new. Missing folders are created;
    for a link, its target is written.

    Args:
        path: The folder.
        replaces: Names of files and folders of an earlier version, which are removed even if the
            new version does not have them. Anything else in the folder is kept.

    Raises:
        OSError: The folder cannot be written.
    """
    target = real(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(target)
    aside = name_aside(target)
    try:
        aside.mkdir()
        yield aside
        _move_in(aside, target, {*replaces, *_names(aside)})
    finally:
        shutil.rmtree(aside, ignore_errors=True)


_OLD, _NEW = ".old", ".new"  # in place of ``.part``
"""What the entries of the old version are moved to, and the new version once they all have been."""


def _move_in(aside: Path, target: Path, names: set[str]) -> None:
    """Move the content of a temporary folder into its place, where it replaces ``names``."""
    if not target.is_dir():
        try:
            aside.replace(target)
            return
        except OSError:
            if not target.is_dir():  # another process may have been faster
                raise
    old, new = aside.with_suffix(_OLD), aside.with_suffix(_NEW)
    old.mkdir()
    try:
        _move(names, target, old)
        aside.replace(new)
        _move(_names(new), new, target)
    except BaseException:
        if new.exists():
            _move(names, target, new)
            new.replace(aside)
        _move(_names(old), old, target)
        old.rmdir()
        raise
    _discard(old, new)


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def _move(names: Iterable[str], source: Path, target: Path) -> None:
    for name in names:
        if os.path.lexists(source / name):
            (source / name).replace(target / name)


def _discard(old: Path, new: Path) -> None:
    """Remove the old version, then the empty folder: without it, the old would be restored."""
    shutil.rmtree(old, ignore_errors=True)
    if not old.exists():
        new.rmdir()


def _settle(left: Path, path: Path) -> None:
    """Complete or undo what a killed process was doing (`_move_in`), or remove what it left."""
    if left.suffix == _OLD and left.with_suffix(_NEW).exists():
        return  # `_discard` removes both
    if left.suffix in (_OLD, _NEW):
        path.mkdir(exist_ok=True)
        _move(_names(left), left, path)
    if left.suffix == _NEW:
        _discard(left.with_suffix(_OLD), left)
    elif left.is_dir() and not left.is_symlink():
        shutil.rmtree(left)
    else:
        left.unlink()


_DAY = 24 * 60 * 60  # seconds
_HOST = f"{zlib.crc32(platform.node().encode()):08x}"
_ASIDE = r"(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.(?:part|old|new)"
_UNOWNED = r"[0-9a-f]{8}\.part"  # of earlier versions
_WEIGHTS = r"(?P<pid>\d+)"  # `showattend.model.checkpoint.save_tensors`


def name_aside(path: Path) -> Path:
    """A temporary name next to a file or folder, from which it is renamed when complete.

    The name contains the host and the process, so that `remove_stale` can tell whether its owner
    still exists. A long name is shortened, since it may already have the maximum length.
    """
    owner = f"{_HOST}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{_short(path.name)}.{owner}.part")


def _short(name: str) -> str:
    whole = name.encode("utf-8", "surrogateescape")
    return name if len(name) <= 40 else f"{name[:31]}-{zlib.crc32(whole):08x}"


def remove_stale(path: Path) -> list[Path]:
    """Remove what processes killed while writing a file or folder left behind.

    A folder into which `writing_folder` was moving files gets its old content or all of the new.
    Only names of `name_aside` for this path, and those of its weights, are considered. They are
    removed if their process no longer exists on this host, or if they are a day old.

    Args:
        path: The file or folder that will be written.

    Returns:
        The paths that no longer exist; what cannot be removed is left.
    """
    name = re.escape(_short(path.name))
    forms = [rf"\.{name}\.(?:{_ASIDE})", rf"\.{name}\.{_UNOWNED}"]
    forms.append(rf"\.{re.escape(path.name)}\.{_WEIGHTS}")
    removed = []
    with contextlib.suppress(OSError):
        for entry in sorted(path.absolute().parent.iterdir()):  # .new before .old
            matches = (re.fullmatch(form, entry.name) for form in forms)
            match = next((each for each in matches if each), None)
            if match is None or not _is_stale(entry, match.groupdict()):
                continue
            with contextlib.suppress(OSError):
                _settle(entry, path)
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


def sweep(folders: Iterable[Path]) -> list[Path]:
    """Remove the temporary files that killed processes left in folders of the user's.

    Unlike `remove_stale` it finds them whatever file was being written. Only files with names of
    `name_aside` are considered, under the same conditions, and no folders.

    Returns:
        What was removed; what cannot be removed is left.
    """
    form = re.compile(rf"\..+\.{_ASIDE}", re.DOTALL)
    removed = []
    for folder in dict.fromkeys(folders):
        with contextlib.suppress(OSError):
            for entry in list(os.scandir(folder)):
                match = form.fullmatch(entry.name)
                if match is None or not entry.is_file(follow_symlinks=False):
                    continue
                path = Path(entry.path)
                if _is_stale(path, match.groupdict()):
                    with contextlib.suppress(OSError):
                        path.unlink()
                        removed.append(path)
    return removed


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
