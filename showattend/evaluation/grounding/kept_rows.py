"""Measurements of images, saved one by one, so that an interrupted run can be continued."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from showattend.exceptions import DataError, UserError
from showattend.system.files import hold, unwritable


class KeptRows:
    """Rows of plain values by key, in a file of JSON Lines that begins with what they depend on.

    Args:
        path: The file; None saves nothing.
        about: What the rows depend on, apart from their keys, as plain values.
        resume: Read the rows of an interrupted run.

    Raises:
        UserError: The file cannot be written, another run is writing it, it holds rows and
            ``resume`` is false, or its rows depend on something else.
        DataError: The file has other content.
    """

    def __init__(self, path: Path | None, about: Mapping[str, Any], resume: bool = False) -> None:
        self.path = path
        self._rows: dict[str, dict[str, Any]] = {}
        self._file: IO[bytes] | None = None
        if path is None:
            return
        about = json.loads(json.dumps(about))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            if not hold(self._file):
                raise UserError(
                    f"{path}: another run is writing it; wait for it to end, or give another name"
                )
            length = self._read(path, about, resume)
            self._file.truncate(length)
            if not length:
                self._write(about)
        except (UserError, DataError):
            self.close()
            raise
        except OSError as error:
            self.close()
            raise unwritable(path, error) from error

    def _read(self, path: Path, about: Mapping[str, Any], resume: bool) -> int:
        """Read the rows; return the length of the complete lines in bytes."""
        assert self._file is not None
        self._file.seek(0)
        lines = [line for line in self._file.readlines() if line.endswith(b"\n")]
        try:
            values = [json.loads(line) for line in lines]
            self._rows = {json.dumps(key): dict(row) for key, row in values[1:]}
            before = dict(values[0]) if values else about
        except (ValueError, TypeError, RecursionError):
            raise DataError(f"{path}: holds no measurements; remove it") from None
        if self._rows and not resume:
            raise UserError(
                f"{path}: an interrupted run left measurements of {len(self._rows):,} images here; "
                "add --resume to continue it, or remove the file"
            )
        other = [name for name in (*about, *before) if before.get(name) != about.get(name)]
        if self._rows and other:
            raise UserError(
                f"{path}: was begun with another {other[0]}; give the same, or remove the file"
            )
        return sum(map(len, lines)) if self._rows else 0

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, key: Any) -> dict[str, Any] | None:
        """The row of a key, plain values, if there is one."""
        return self._rows.get(json.dumps(key))

    def add(self, key: Any, row: dict[str, Any]) -> None:
        """Save a row.

        Raises:
            UserError: The file cannot be written.
        """
        self._rows[json.dumps(key)] = row
        if self._file is not None and self.path is not None:
            try:
                self._write([key, row])
            except OSError as error:
                raise unwritable(self.path, error) from error

    def close(self) -> None:
        """Close the file, and keep it: the caller removes it after writing the results."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, value: Any) -> None:
        assert self._file is not None
        self._file.write(json.dumps(value).encode() + b"\n")
        self._file.flush()
