"""The manifest: valid JSON, one line per image, never overwriting another program's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from showattend.data.coco.manifest import MANIFEST, check_manifest, describe, write_manifest
from showattend.exceptions import DataError

IMAGES: list[dict[str, Any]] = [
    {"id": 1, "file": "train2014/a.jpg", "split": "train", "bytes": 5},
    {"id": 2, "file": "train2014/b.jpg", "split": "train", "bytes": None},
    {"id": 3, "file": "val2014/c.jpg", "split": "val", "bytes": 7},
]


@pytest.mark.parametrize("images", [IMAGES, []])
def test_written_and_read(tmp_path: Path, images: list[dict[str, Any]]) -> None:
    (tmp_path / "a.json").write_bytes(b"{}")
    about = describe({"seed": 3}, [tmp_path / "a.json"])
    write_manifest(tmp_path, about, images, complete=False)
    check_manifest(tmp_path)
    text = (tmp_path / MANIFEST).read_text()
    found = json.loads(text)
    assert found["settings"] == {"seed": 3}
    digest = hashlib.sha256(b"{}").hexdigest()
    assert found["annotations"] == [{"file": "a.json", "bytes": 2, "sha256": digest}]
    assert found["images"] == images
    assert found["complete"] is False
    assert found["counts"] == {"train": 2 * bool(images), "val": 1 * bool(images), "test": 0}
    assert all(f"  {json.dumps(image)}" in text for image in images)
    assert str(tmp_path) not in text
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", MANIFEST}


@pytest.mark.parametrize("content", ["[]", "{}", '{"format": "another"}'])
def test_others(tmp_path: Path, content: str) -> None:
    check_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(DataError, match=r"manifest\.json: not written by prepare"):
        check_manifest(tmp_path)


def test_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write_manifest(tmp_path / "file", {"format": ""}, IMAGES, complete=True)
