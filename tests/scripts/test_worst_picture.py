"""scripts/docs/worst_picture.py, and the captions that people gave the photographs."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from showattend.data.readers import read_dataset
from tests.visualize.pages import Parsed

from .loading import load_from

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_from("docs", "worst_picture")


@pytest.mark.parametrize("folder", ["photos", "notebook_photos"])
def test_every_photograph_has_captions_and_a_source(folder: str) -> None:
    place = ROOT / "assets" / folder
    files = sorted(place.glob("*.jpg"))
    records = read_dataset(place / "captions.jsonl")
    assert sorted(record.path for record in records) == files
    assert {len(record.captions) for record in records} == {3}
    sources = (place / "SOURCES.md").read_text(encoding="utf-8")
    rows = [line for line in sources.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [file.name for file in files]
    assert all("public domain" in row or "CC0" in row for row in rows)


def test_the_readme_shows_the_picture() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "](assets/worst.jpg)" in readme
    assert "python scripts/docs/worst_picture.py" in readme
    with Image.open(ROOT / "assets" / "worst.jpg") as picture:
        assert picture.width > 1000


@pytest.mark.slow
def test_it_can_be_made_again(script: ModuleType, chromium: Any, tmp_path: Path) -> None:
    page = script.worst_page(tmp_path)
    text = page.read_text(encoding="utf-8")
    (data,) = [each for attributes, each in Parsed(text).raw if attributes.get("id") == "photos"]
    assert "A white rocket stands on its launch pad." in data
    content = script.shot(chromium, page, script.CARD, script.WORD)
    with Image.open(io.BytesIO(content)) as made, Image.open(ROOT / "assets/worst.jpg") as kept:
        assert made.width == kept.width
        assert abs(made.height - kept.height) < 0.1 * kept.height, "fonts differ a little"
