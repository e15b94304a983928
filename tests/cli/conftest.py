"""Photographs and human captions for the commands; the toys of the export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showattend.evaluation.scores import java
from tests.export.conftest import captioner as captioner
from tests.export.conftest import exported as exported
from tests.export.conftest import kept as kept
from tests.export.conftest import pictures as pictures


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (24, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photographs, one of them in a folder within."""
    for seed, name in enumerate(("b.png", "a.jpg", "within/c.webp")):
        picture(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


# evaluate, ground ------------------------------------------------------------------------------


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Human captions, in COCO's form, of two of the photographs and of one that is not there."""
    names = ["a.jpg", "b.png", "gone.jpg"]
    content = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names, 1)],
        "annotations": [
            {"id": i, "image_id": i, "caption": "A dog runs through the grass."} for i in (1, 2, 3)
        ],
    }
    path = tmp_path / "captions_val.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise java.JavaError("no Java was found")

    monkeypatch.setattr(java, "find_java", fail)
