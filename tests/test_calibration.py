"""What a model knows of its limits: it travels with the model, and nonsense is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from showattend import checkpoint as checkpoints
from showattend.calibration import UNSURE_BELOW, Calibration
from showattend.captioner import Captioner
from showattend.checkpoint import Checkpoint, save
from showattend.errors import CheckpointError


@pytest.fixture
def checkpoint(untrained: Captioner) -> Checkpoint:
    return untrained.to_checkpoint()


def test_a_model_without_one_has_the_usual_threshold(
    tmp_path: Path, checkpoint: Checkpoint, photo: Path
) -> None:
    assert checkpoint.calibration == {}
    file = save(tmp_path, checkpoint)
    assert "calibration" not in checkpoints.load_meta(file, "a model")  # older versions read it
    captioner = Captioner.from_pretrained(file, device="cpu")
    assert captioner.calibration == Calibration()
    assert captioner.caption(photo).unsure_below == UNSURE_BELOW


def test_it_travels_in_the_file_or_beside_it(
    tmp_path: Path, checkpoint: Checkpoint, photo: Path
) -> None:
    inside = {"unsure_below": 0.25, "measured": {"words": 12}}
    file = save(tmp_path, replace(checkpoint, calibration=inside))
    captioner = Captioner.from_pretrained(file, device="cpu")
    assert captioner.calibration == Calibration(0.25)
    assert captioner.to_checkpoint().calibration == inside
    best = captioner.caption(photo, n_best=2)
    given = captioner.attend(photo, "a dog")
    drawn = captioner.sample(photo, seed=1)
    for caption in (best, *best.alternatives, given, drawn):
        assert caption.unsure_below == 0.25
    assert "under 0.25" in checkpoints.describe(file)

    later = replace(checkpoint, calibration={"unsure_below": 0.5, "of a later version": 1})
    checkpoints.save_calibration(file, later)
    again = Captioner.from_pretrained(tmp_path, device="cpu")
    assert again.calibration == Calibration(0.5)
    assert again.to_checkpoint().calibration == {"unsure_below": 0.5, "measured": {}}


def refused(folder: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        Captioner.from_pretrained(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"unsure_below": 30}, "unsure_below is 30; it must be a probability"),
        ({"unsure_below": "low"}, "unsure_below is 'low'"),
        ({"unsure_below": float("nan")}, "unsure_below is nan"),
        ({"unsure_below": True}, "unsure_below is True"),
        (["a list"], "not a calibration"),
        (None, "not a calibration"),
    ],
)
def test_nonsense_is_refused_in_one_line(
    value: Any, message: str, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    file = save(tmp_path, checkpoint)
    checkpoints.save_calibration(file, replace(checkpoint, calibration=value))
    refused(tmp_path, message)


def test_a_damaged_file_beside_is_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    file, beside = save(tmp_path, checkpoint), tmp_path / "calibration.safetensors"
    beside.write_bytes(b"no tensors")
    refused(tmp_path, r"calibration\.safetensors: damaged, or not a calibration")
    beside.write_bytes(file.read_bytes())
    refused(tmp_path, r"calibration\.safetensors: not a calibration")
    with pytest.raises(CheckpointError, match=r"beside a model\.safetensors only"):
        checkpoints.save_calibration(tmp_path / "mine.safetensors", checkpoint)
