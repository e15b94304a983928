"""What a model knows of its limits: it travels with the model, and nonsense is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from showattend.captioner import Captioner
from showattend.exceptions import CheckpointError
from showattend.model import checkpoint as checkpoints
from showattend.model.calibration import Calibration
from showattend.model.checkpoint import Checkpoint, save
from showattend.model.description import describe
from showattend.model.encoder import encode
from showattend.model.familiarity import Familiarity


@pytest.fixture
def checkpoint(untrained: Captioner) -> Checkpoint:
    return untrained.to_checkpoint()


def test_a_model_without_one_calls_nothing_unsure(
    tmp_path: Path, checkpoint: Checkpoint, photo: Path
) -> None:
    assert checkpoint.calibration == {}
    file = save(tmp_path, checkpoint)
    assert "calibration" not in checkpoints.load_meta(file, "a model")  # older versions read it
    captioner = Captioner.from_pretrained(file, device="cpu")
    assert captioner.calibration == Calibration()
    caption = captioner.caption(photo)
    assert (caption.unsure_below, caption.familiarity, caption.note) == (0.0, None, None)
    assert not any(caption.unsure)


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
    assert "below 0.25" in describe(file)

    later = replace(checkpoint, calibration={"unsure_below": 0.5, "of a later version": 1})
    checkpoints.save_calibration(file, later)
    again = Captioner.from_pretrained(tmp_path, device="cpu")
    assert again.calibration == Calibration(0.5)
    assert again.to_checkpoint().calibration == {"unsure_below": 0.5, "measured": {}}


def strange_to(D: int, size: int, residuals: tuple[float, float] = (0.0, 1e-6)) -> Familiarity:
    """To whom nearly everything is strange, or by other residuals nothing."""
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((D, 4)))[0]
    return Familiarity(basis.astype(np.float16).astype(np.float32), np.array(residuals), size)


@pytest.mark.parametrize("inside", [True, False])
def test_familiarity_travels_too(
    inside: bool, tmp_path: Path, untrained: Captioner, photos: list[Path]
) -> None:
    known = strange_to(1280, 64, (0.5, 1.0))
    checkpoint = untrained.to_checkpoint()
    file = save(tmp_path, checkpoint)
    owner = Captioner.from_checkpoint(checkpoint, precision="fp32")
    owner.calibration = Calibration(0.4, known, {"how": "by hand"})
    mine = owner.to_checkpoint(half=inside)
    if inside:
        file = save(tmp_path, replace(mine, weights=checkpoint.weights | mine.weights))
    else:
        checkpoints.save_calibration(file, mine)
    captioner = Captioner.from_pretrained(tmp_path, device="cpu", precision="fp32")
    found = captioner.calibration.familiarity
    assert found is not None
    assert (found.basis == known.basis).all()
    assert found.residuals.tolist() == known.residuals.tolist()
    assert captioner.calibration.measured == {"how": "by hand"}
    with torch.inference_mode():
        pixels = [captioner.preprocessing.load_pixels(photo)[0] for photo in photos]
        batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
        features = encode(captioner.encoder, batch, captioner.preprocessing, torch.float32)
    wanted = known(features.mean((1, 2)).numpy())
    for result, each in zip(captioner.caption(photos, n_best=2), wanted, strict=True):
        assert 0 < each < 1, "the comparison says something"
        assert result.familiarity == pytest.approx(each, abs=1e-3)
        assert result.alternatives[0].familiarity == result.familiarity
    given, drawn = captioner.attend(photos[0], "a dog"), captioner.sample(photos[0], seed=1)
    assert given.familiarity == drawn.familiarity == pytest.approx(wanted[0], abs=1e-3)
    assert "on photos unlike the training ones, at 64 pixels" in describe(file)
    stored = sum(value.numel() for value in checkpoint.weights.values())
    assert f"{stored:,} stored" in describe(file)
    captioner.resize(96)
    assert captioner.caption(photos[0]).familiarity is None, "at this size nobody measured"


def test_a_calibration_of_another_model_is_refused(
    tmp_path: Path, checkpoint: Checkpoint, untrained: Captioner
) -> None:
    file = save(tmp_path, checkpoint)
    good = Calibration(0.4, strange_to(1280, 64)).to_dict()
    other = {"familiarity.basis": torch.zeros(7, 4)}
    checkpoints.save_calibration(file, replace(checkpoint, weights=other, calibration=good))
    refused(tmp_path, "its calibration belongs to another model")
    basis = {"familiarity.basis": torch.zeros(1280, 4)}
    for wrong, message in (
        ({"size": 64}, "familiarity has no residuals"),
        ({"size": 64, "residuals": [1, 0]}, "its calibration's familiarity is damaged"),
        ({"size": "x", "residuals": [0, 1]}, "familiarity.size is"),
    ):
        values = good | {"familiarity": wrong}
        checkpoints.save_calibration(file, replace(checkpoint, weights=basis, calibration=values))
        refused(tmp_path, message)


def refused(folder: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        Captioner.from_pretrained(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"unsure_below": 30}, "unsure_below is 30; it must be a number from 0 to 1"),
        ({"unsure_below": "low"}, 'unsure_below is "low"'),
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


def test_it_is_for_the_weights_that_it_was_measured_with(
    tmp_path: Path, checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    file, beside = save(tmp_path, checkpoint), tmp_path / "calibration.safetensors"
    mine = replace(checkpoint, calibration={"unsure_below": 0.25})
    checkpoints.save_calibration(file, mine)
    assert checkpoints.load(tmp_path).calibration == mine.calibration
    assert not caplog.records
    # A new model is put in the place of the old one, by hand.
    key, weight = next(iter(checkpoint.weights.items()))
    newer = replace(checkpoint, weights=checkpoint.weights | {key: weight + 1})
    save(tmp_path / "newer.safetensors", newer).replace(file)
    assert checkpoints.load(tmp_path).calibration == {}
    (warning,) = caplog.records
    assert f"{beside}: is for other weights" in warning.getMessage()
    # One that is saved there takes it away.
    save(tmp_path, newer)
    assert not beside.exists()


def test_a_damaged_file_beside_is_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    file, beside = save(tmp_path, checkpoint), tmp_path / "calibration.safetensors"
    beside.write_bytes(b"no tensors")
    refused(tmp_path, r"calibration\.safetensors: damaged, or not a calibration")
    beside.write_bytes(file.read_bytes())
    refused(tmp_path, r"calibration\.safetensors: not a calibration")
    with pytest.raises(CheckpointError, match=r"not a model\.safetensors, so"):
        checkpoints.save_calibration(tmp_path / "mine.safetensors", checkpoint)
