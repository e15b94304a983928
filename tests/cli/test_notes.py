"""The note on an unfamiliar photograph: once, on stderr, and not with --no-notes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from showattend.caption_forms import NOTE
from showattend.captioner import Captioner
from showattend.model import checkpoint as checkpoints
from showattend.model.calibration import Calibration
from showattend.model.familiarity import Familiarity
from tests.commandline import CommandLine, save_model


def calibrated(untrained: Captioner, folder: Path, highest: float) -> Path:
    """A model to which photos of a larger residual are strange: all of 0, none of 1 and more."""
    file = save_model(untrained, folder) / checkpoints.FILE_NAME
    owner = Captioner.from_checkpoint(untrained.to_checkpoint(), precision="fp32")
    residuals = np.array([highest, highest + 1e-6])
    owner.calibration = Calibration(0.3, Familiarity(np.eye(1280, 1), residuals, 64))
    checkpoints.save_calibration(file, owner.to_checkpoint())
    return folder


@pytest.fixture
def strange(untrained: Captioner, tmp_path: Path) -> Path:
    return calibrated(untrained, tmp_path / "strange", 0.0)


@pytest.fixture
def usual(untrained: Captioner, tmp_path: Path) -> Path:
    return calibrated(untrained, tmp_path / "usual", 1.5)


def test_a_strange_photo_is_noted_once(run: CommandLine, strange: Path, photo: Path) -> None:
    result = run("caption", photo, "--n-best", 3, "--model", strange)
    assert result.code == 0
    assert result.err == [f"note: {photo}: {NOTE}"]
    assert len(result.out) == 3
    assert all(line.startswith(f"{photo}\t") for line in result.out)
    quiet = run("caption", photo, "--n-best", 3, "--model", strange, "--no-notes")
    assert (quiet.code, quiet.out, quiet.err) == (0, result.out, [])


def test_an_ordinary_photo_is_not_noted(run: CommandLine, usual: Path, photo: Path) -> None:
    assert run("caption", photo, "--model", usual).err == []
    assert run.caption(photo).err == [], "a model that was not calibrated says nothing"


@pytest.mark.parametrize("options", [(), ("--no-notes",)])
def test_the_files_have_the_note_anyway(
    options: tuple[str, ...], run: CommandLine, strange: Path, photo: Path, tmp_path: Path
) -> None:
    for name in ("a.jsonl", "a.csv"):
        run("caption", photo, "--model", strange, "--output", tmp_path / name, *options)
    values = json.loads((tmp_path / "a.jsonl").read_text())
    assert (values["familiarity"], values["note"]) == (0.0, NOTE)
    (row,) = csv.DictReader((tmp_path / "a.csv").read_text().splitlines())
    assert (row["familiarity"], row["note"]) == ("0.000", NOTE)


def test_attend_prints_the_note_too(
    run: CommandLine, strange: Path, photo: Path, tmp_path: Path
) -> None:
    note = f"note: {photo}: {NOTE}"
    page, maps = tmp_path / "page.html", tmp_path / "maps.json"
    for path, output in ((photo, maps), (photo.parent / "photo*.png", page)):
        args = ("attend", path, "--output", output, "--model", strange)
        assert run(*args).err.count(note) == 1
        assert note not in run(*args, "--no-notes").err
    assert note not in run(*args[:1], photo, *args[2:], "--caption", "a dog").err, "it is yours"
