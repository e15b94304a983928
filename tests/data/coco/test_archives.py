"""Archives: complete or refused, and never unpacked outside the given folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from showattend.data.coco import archives
from showattend.data.coco.archives import check_zip, extract
from showattend.exceptions import DataError
from tests.data.server import zipped

NAME = "captions.json"
CONTENT = b'{"images": []}' * 100


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"readme.txt": b"hello", f"annotations/{NAME}": CONTENT}))
    return path


def damaged(archive: Path) -> Path:
    """A byte of the compressed captions is another one."""
    content = bytearray(archive.read_bytes())
    start = content.index(NAME.encode()) + len(NAME)
    content[start + 5] ^= 0xFF
    archive.write_bytes(content)
    return archive


def test_extract(archive: Path, tmp_path: Path) -> None:
    check_zip(archive)
    extract(archive, NAME, tmp_path / "out.json")
    assert (tmp_path / "out.json").read_bytes() == CONTENT
    assert {each.name for each in tmp_path.iterdir()} == {"a.zip", "out.json"}


@pytest.mark.parametrize("name", [f"../../{NAME}", f"/etc/{NAME}", f"a/../../{NAME}"])
def test_a_name_that_leads_elsewhere_leads_nowhere(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "x" / "y"
    folder.mkdir(parents=True)
    (folder / "a.zip").write_bytes(zipped({name: CONTENT}))
    extract(folder / "a.zip", NAME, folder / NAME)
    files = {each for each in tmp_path.rglob("*") if each.is_file()}
    assert files == {folder / "a.zip", folder / NAME}


def test_what_is_not_whole_is_refused(archive: Path, tmp_path: Path) -> None:
    content = archive.read_bytes()
    for broken in (content[: len(content) // 2], b"<html></html>", b""):
        archive.write_bytes(broken)
        with pytest.raises(DataError, match=r"a\.zip: not a whole zip"):
            check_zip(archive)
        with pytest.raises(DataError, match=r"a\.zip: damaged .*; delete it"):
            extract(archive, NAME, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_damage_within_is_found(archive: Path, tmp_path: Path) -> None:
    damaged(archive)
    with pytest.raises(DataError, match=r"a\.zip: (not a whole|a damaged) zip archive"):
        check_zip(archive)
    with pytest.raises(DataError, match=r"a\.zip: damaged"):
        extract(archive, NAME, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_what_is_not_in_it(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.zip: holds no other\.json"):
        extract(archive, "other.json", tmp_path / "out.json")
    with pytest.raises(DataError, match=r"none\.zip: no such file"):
        extract(tmp_path / "none.zip", NAME, tmp_path / "out.json")


def test_absurd_sizes_are_refused(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_LARGEST_MEMBER", len(CONTENT) - 1)
    with pytest.raises(DataError, match="1,400 bytes: refused"):
        extract(archive, NAME, tmp_path / "out.json")
    assert [each.name for each in tmp_path.iterdir()] == ["a.zip"]


def test_an_unwritable_folder(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        extract(archive, NAME, tmp_path / "none" / "out.json")
