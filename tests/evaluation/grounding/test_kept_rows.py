"""Measurements saved one by one: found again, and refused where they are of another run."""

from __future__ import annotations

from pathlib import Path

import pytest

from showattend.evaluation.grounding.kept_rows import KeptRows
from showattend.exceptions import DataError, UserError

ABOUT = {"model": "a", "sigma": 0.1}
ROWS = [(["1", None], {"drop": 0.1 + 0.2}), (["2", None], {"drop": -1e-17})]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Two rows, the second cut short after it was written whole once, as a kill leaves them."""
    path = tmp_path / "new" / "rows.part"
    rows = KeptRows(path, ABOUT)
    for key, row in ROWS:
        rows.add(key, row)
    rows.close()
    with path.open("ab") as file:
        file.write(b'[["3", null], {"dr')
    return path


def count(path: Path, about: dict[str, object]) -> int:
    rows = KeptRows(path, about, resume=True)
    rows.close()
    return len(rows)


def test_rows_are_found_again(kept: Path) -> None:
    rows = KeptRows(kept, ABOUT, resume=True)
    assert [rows.find(key) for key, _ in ROWS] == [row for _, row in ROWS]
    assert rows.find(["3", None]) is None
    rows.add(["3", None], {"drop": 3.0})
    rows.close()
    assert count(kept, ABOUT) == 3


def test_rows_of_another_run_are_refused_and_stay(kept: Path) -> None:
    before = kept.read_bytes()
    with pytest.raises(UserError, match=r"2 images here; add --resume to continue it, or remove"):
        KeptRows(kept, ABOUT)
    with pytest.raises(UserError, match="was begun with another sigma"):
        KeptRows(kept, {**ABOUT, "sigma": 0.2}, resume=True)
    with pytest.raises(UserError, match="was begun with another kinds"):
        KeptRows(kept, {**ABOUT, "kinds": []}, resume=True)
    first = KeptRows(kept, ABOUT, resume=True)
    with pytest.raises(UserError, match="another run is writing it"):
        KeptRows(kept, ABOUT, resume=True)
    first.close()
    assert before.startswith(kept.read_bytes())  # without the line that was cut
    assert count(kept, ABOUT) == 2


@pytest.mark.parametrize("content", [b"no json\n", b"[1]\n2\n", b"{}\n[1, 2, 3]\n", b"\xff\n"])
def test_other_files_are_refused_and_stay(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows.part"
    path.write_bytes(content)
    for resume in (False, True):
        with pytest.raises(DataError, match="holds no measurements; remove it"):
            KeptRows(path, ABOUT, resume)
    assert path.read_bytes() == content


def test_a_file_without_a_row_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.part"
    KeptRows(path, ABOUT).close()
    rows = KeptRows(path, {"model": "b"})
    rows.add(*ROWS[0])
    rows.close()
    assert count(path, {"model": "b"}) == 1


def test_without_a_file_rows_are_only_remembered() -> None:
    rows = KeptRows(None, ABOUT)
    rows.add(*ROWS[0])
    assert rows.find(ROWS[0][0]) == ROWS[0][1]
    rows.close()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "rows.part"):
        with pytest.raises(UserError, match="cannot be written"):
            KeptRows(path, ABOUT)
