"""Packed records are stored unchanged."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from showattend.data.records import PackedRecords, Record
from showattend.exceptions import DataError

RECORDS = [
    Record(7, Path("a/b.jpg"), ("A dog.", "Ein Hund läuft."), "train"),
    Record("x", Path("bad\udcff.jpg"), ("犬", "\ud800"), "val"),
    Record(9, Path("/c.png"), ('It\'s "so"\n',), "test"),
]


def test_records_are_stored_unchanged() -> None:
    packed = PackedRecords(iter(RECORDS))
    assert list(packed) == RECORDS
    assert len(packed) == 3
    assert packed[-1] == RECORDS[2]
    with pytest.raises(IndexError):
        packed[3]
    assert list(PackedRecords([])) == []


def test_selections_share_the_text() -> None:
    packed = PackedRecords(RECORDS)
    assert list(packed[1:]) == RECORDS[1:]
    turned = packed.take([2, 0])
    assert list(turned) == [RECORDS[2], RECORDS[0]]
    assert list(turned.take([1])) == [RECORDS[0]]


def test_a_data_set_that_cannot_be_read_is_not_the_temporary_folders_fault() -> None:
    def read() -> Iterator[Record]:
        yield RECORDS[0]
        raise OSError(36, "File name too long", "data.jsonl")

    with pytest.raises(DataError, match=r"^data\.jsonl: cannot be read \(File name too long\)$"):
        PackedRecords(read())


def test_a_full_temporary_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def write(self, _: bytes) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(DataError, match=r"No space left .* set TMPDIR") as caught:
        PackedRecords(RECORDS)
    assert str(caught.value).startswith(f"{tmp_path}: ")
