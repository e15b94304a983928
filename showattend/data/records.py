"""The one record that every reader yields and everything downstream takes."""

from __future__ import annotations

import json
import mmap
import os
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from showattend.exceptions import DataError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Record:
    """One image with its human captions.

    Attributes:
        image_id: The data set's own id (COCO: the integer as given; Flickr8k: the file's stem).
        path: The image file.
        captions: The captions as written by people (not tokenized), at least one.
        split: One of ``SPLITS``.
    """

    image_id: int | str
    path: Path
    captions: tuple[str, ...]
    split: str


class PackedRecords(Sequence[Record]):
    """Many records in little memory: their text in a file, each made anew when it is asked for.

    The file is a temporary one without a name, mapped into memory: its pages are the system's to
    take back, where an object a record would cost every process 1.2 kB of its own.

    Args:
        records: What to hold.

    Raises:
        DataError: The temporary folder has no room for them, or cannot be written.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._ends = array("Q", [0])
        try:
            with tempfile.TemporaryFile() as file:
                for r in records:
                    values = [r.image_id, str(r.path), r.captions, r.split]
                    line = json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")
                    self._ends.append(self._ends[-1] + file.write(line))
                file.write(b"\n")  # an empty file cannot be mapped
                file.flush()
                self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            folder = tempfile.tempdir or os.environ.get("TMPDIR", "the temporary folder")
            raise DataError(
                f"{folder}: cannot hold the text of the data set ({error.strerror}); make room "
                "there, or set TMPDIR to a folder on another disk"
            ) from error
        self._rows: Sequence[int] = range(len(self._ends) - 1)

    def take(self, rows: Iterable[int]) -> PackedRecords:
        """These of them, in this order; the text is shared."""
        taken = object.__new__(PackedRecords)
        taken._text, taken._ends = self._text, self._ends
        taken._rows = array("L", (self._rows[row] for row in rows))
        return taken

    def __len__(self) -> int:
        """How many."""
        return len(self._rows)

    @overload
    def __getitem__(self, row: int) -> Record: ...

    @overload
    def __getitem__(self, row: slice) -> PackedRecords: ...

    def __getitem__(self, row: int | slice) -> Record | PackedRecords:
        """One record; or, sharing the text, some of them."""
        if isinstance(row, slice):
            return self.take(range(*row.indices(len(self))))
        place = self._rows[row]
        line = self._text[self._ends[place] : self._ends[place + 1]]
        image_id, path, captions, split = json.loads(line.decode("utf-8", "surrogatepass"))
        return Record(image_id, Path(path), tuple(captions), split)
