"""Files that are whole or as they were, and checks before one is written."""

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
    """Make the folder of a file to be written; asked early, a mistake costs no waiting.

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
    """Refuse to write over what is read, by whatever name or link.

    Args:
        inputs: The files that are read; None stands for one that is not given.
        output: The file to write.
        what: What it would be, for the message.

    Raises:
        UserError: The output is one of the inputs.
    """
    try:
        there = output.stat()
    except (OSError, ValueError):  # nothing that could be lost
        return
    if not stat.S_ISREG(there.st_mode):  # a terminal may be read and written
        return
    for each in inputs:
        if each is None:
            continue
        try:
            same = os.path.samestat(Path(each).stat(), there)
        except (OSError, ValueError):  # it is not there, or cannot be
            continue
        if same:
            raise UserError(f"{output}: is {what}; choose another name to write to")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write plain values for people and programs, as ``write_bytes`` does.

    Raises:
        UserError: The file cannot be written.
    """
    write_bytes(path, f"{json.dumps(value, indent=1)}\n".encode())


def write_text(path: Path, text: str) -> None:
    """Write a page as UTF-8, as ``write_bytes`` does; half a character becomes its escape.

    Raises:
        UserError: The file cannot be written.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that is whole or, when something stops it, as it was before.

    Missing folders are made. A link stays one: the file it leads to is replaced.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # /dev/null, a pipe: no file to take the place of
            path.write_bytes(content)
            return
        target = Path(os.path.realpath(path))
        # Not the whole name, which may be as long as a name can be.
        aside = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.part")
        try:
            aside.write_bytes(content)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> UserError:
    """The error of a file that cannot be written, with the reason of the system."""
    return UserError(f"{path}: cannot be written ({error.strerror or error})")
