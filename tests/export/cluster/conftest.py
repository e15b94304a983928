"""Photographs in a folder, good and bad, and a folder for the parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from showattend.export.cluster.stores import Store
from tests.cli.conftest import picture


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Seven photographs, a file that is none, and one that is cut off."""
    folder = tmp_path / "photos"
    for number in range(7):
        picture(folder / f"photo {number}.png", number)
    (folder / "none.jpg").write_bytes(b"not an image")
    (folder / "cut.png").write_bytes((folder / "photo 0.png").read_bytes()[:60])
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty folder for results."""
    found = Store(str(tmp_path / "captions"))
    found.prepare()
    return found
