"""The record of an image with its captions, used by all readers and everything downstream."""

from __future__ import annotations

import json
import mmap
import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from showattend.exceptions import DataError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Record:
    """One image with its human captions.

    Attributes:
        image_id: The data set's own id (COCO: the integer; Flickr8k: the stem of the file name).
        path: The image file.
        captions: At least one caption as written, not tokenized.
        split: One of ``SPLITS``.
    """

    image_id: int | str
    path: Path
    captions: tuple[str, ...]
    split: str


class PackedRecords(Sequence[Record]):
    """A sequence of many records in little memory; each is decoded from a file on access.

    The file is temporary, nameless and memory-mapped, so the system can reclaim its pages. One
    Python object per record would cost every process 1.2 kB each.

    Args:
        records: The records to store.

    Raises:
        DataError: The temporary folder is full or cannot be written.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self._ends = array("Q", [0])
        try:
            with tempfile.TemporaryFile() as file:
                for r in _read(records):
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
        """Select records by index; the text is shared."""
        taken = object.__new__(PackedRecords)
        taken._text, taken._ends = self._text, self._ends
        taken._rows = array("L", (self._rows[row] for row in rows))
        return taken

    def __len__(self) -> int:
        """The number of records."""
        return len(self._rows)

    @overload
    def __getitem__(self, row: int) -> Record: ...

    @overload
    def __getitem__(self, row: slice) -> PackedRecords: ...

    def __getitem__(self, row: int | slice) -> Record | PackedRecords:
        """One record, or a slice that shares the text."""
        if isinstance(row, slice):
            return self.take(range(*row.indices(len(self))))
        place = self._rows[row]
        line = self._text[self._ends[place] : self._ends[place + 1]]
        image_id, path, captions, split = json.loads(line.decode("utf-8", "surrogatepass"))
        return Record(image_id, Path(path), tuple(captions), split)


def _read(records: Iterable[Record]) -> Iterator[Record]:
    """Distinguish errors of a data set from those of the temporary folder.

    Raises:
        DataError: A file of the data set cannot be read.
    """
    try:
        yield from records
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
