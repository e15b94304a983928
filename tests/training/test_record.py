"""The record on disk, and its picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showattend.training import record as records
from showattend.training.record import write_record
from tests.training.conftest import plot_curves

HISTORY = [
    {"epoch": 1, "loss": 5.0},  # before validation starts
    {"epoch": 2, "loss": 4.0, "val_loss": 4.2, "CIDEr": 0.2, "BLEU-4": 0.1},
    {"epoch": 3, "loss": 3.5, "val_loss": 4.1, "CIDEr": 0.1, "BLEU-4": 0.1},
]


@pytest.fixture(autouse=True)
def every_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the curves are drawn, which other tests of runs do without."""
    monkeypatch.setattr(records, "plot_curves", plot_curves)


@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_the_record_and_its_curves_are_written(epochs: int, tmp_path: Path) -> None:
    best = {"epoch": 2, "CIDEr": 0.2} if epochs > 1 else None
    validation = {"beam_size": 3, "split": "val", "images": 1000}
    record = {"history": HISTORY[:epochs], "best": best, "validation": validation}
    folder = tmp_path / "runs" / "new"
    write_record(folder, record)
    assert json.loads((folder / "training.json").read_text()) == record
    with Image.open(folder / "curves.png") as picture:
        assert picture.width > 2 * picture.height
    assert {path.name for path in folder.iterdir()} == {"training.json", "curves.png"}


def test_the_curves_show_the_figures(tmp_path: Path) -> None:
    """More epochs, more ink of the curves' colours."""

    def coloured(epochs: int) -> int:
        write_record(tmp_path, {"history": HISTORY[:epochs], "best": None})
        with Image.open(tmp_path / "curves.png") as picture:
            return int((np.asarray(picture.convert("HSV"))[..., 1] > 90).sum())

    assert coloured(0) == 0 < coloured(1) < coloured(3)
