"""Atomic writing of files, and checks before writing."""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from showattend.exceptions import UserError


def make_room(path: Path) -> None:
    """Create the folder of a file that will be written, to find mistakes before long work.

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
    except (OSError, ValueError):  # nothing there to lose
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
        # The name is truncated, since it may already have the maximum length.
        aside = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.part")
        try:
            aside.write_bytes(content)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> UserError:
    """The error for a file that cannot be written, with the system's reason."""
    return UserError(f"{path}: cannot be written ({error.strerror or error})")
