"""A part's files: rows as they were, bad images apart, and the captions last."""

from __future__ import annotations

import json
from typing import Any

import pytest

from showattend.captioner import Captioner
from showattend.exceptions import DataError, UserError
from showattend.export.cluster.part_files import (
    KINDS,
    bad_file_of,
    count_part,
    count_rows,
    file_of,
    write_part,
)
from showattend.export.cluster.partition import Part
from showattend.export.cluster.stores import Store

PART = Part(17, ("a.jpg", "b.jpg"))
BAD = [{"image": "b.jpg", "error": "not an image"}]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    return str(request.param)


@pytest.fixture
def rows(captioner: Captioner, pictures: list[Any]) -> list[dict[str, Any]]:
    return [each.to_dict() for each in captioner.caption(pictures, n_best=2)]


def read(store: Store, name: str) -> list[dict[str, Any]]:
    with store.open(name) as file:
        if name.endswith(".jsonl"):
            return [json.loads(line) for line in file]
        from pyarrow import parquet

        return list(parquet.read_table(file).to_pylist())


def test_rows_are_read_as_they_were_written(
    store: Store, kind: str, rows: list[dict[str, Any]]
) -> None:
    write_part(store, PART, kind, rows, BAD)
    assert store.names() == {file_of(PART, kind), bad_file_of(PART)}
    found = read(store, file_of(PART, kind))
    assert len(found) == len(rows)
    for row, each in zip(rows, found, strict=True):
        for key, value in row.items():
            if key != "alternatives":
                assert each[key] == value, key
        others = [(other["caption"], other["score"]) for other in row["alternatives"]]
        assert [(other["caption"], other["score"]) for other in each["alternatives"]] == others
    assert read(store, bad_file_of(PART)) == BAD
    assert count_part(store, PART, kind) == (len(rows), 1)


def test_a_part_without_captions_has_the_same_columns(
    store: Store, kind: str, rows: list[dict[str, Any]]
) -> None:
    write_part(store, PART, kind, [], BAD)
    assert count_part(store, PART, kind) == (0, 1)
    if kind == "parquet":
        from pyarrow import parquet

        empty = parquet.read_schema(store.folder / file_of(PART, kind))
        write_part(store, PART, kind, rows, [])
        assert parquet.read_schema(store.folder / file_of(PART, kind)) == empty


def test_what_was_bad_in_an_earlier_attempt_is_gone(
    store: Store, kind: str, rows: list[dict[str, Any]]
) -> None:
    write_part(store, PART, kind, rows[:1], BAD)
    write_part(store, PART, kind, rows[:2], [])
    assert store.names() == {file_of(PART, kind)}
    assert count_part(store, PART, kind) == (2, 0)


def test_the_captions_come_last(
    store: Store, kind: str, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    write = Store.write

    def full(self: Store, name: str, content: bytes) -> None:
        written.append(name)
        if name.startswith("part-"):
            raise UserError("the disk is full")
        write(self, name, content)

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(UserError, match="full"):
        write_part(store, PART, kind, rows, BAD)
    assert written == [bad_file_of(PART), file_of(PART, kind)]
    assert store.names() == {bad_file_of(PART)}


def test_names_that_are_not_text(store: Store, kind: str, rows: list[dict[str, Any]]) -> None:
    write_part(store, PART, kind, [rows[0] | {"image": "a\udcff.jpg"}], [])
    expected = "a\udcff.jpg" if kind == "jsonl" else "a\\udcff.jpg"  # Parquet has text only
    assert read(store, file_of(PART, kind))[0]["image"] == expected


def test_a_damaged_file_is_named(store: Store) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    store.write("part-1.parquet", b"PAR1 half")
    with pytest.raises(DataError, match=r"part-1\.parquet: cannot be read .* remove it"):
        count_rows(store, "part-1.parquet")
