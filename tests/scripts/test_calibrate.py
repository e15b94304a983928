"""scripts/calibrate.py: it counts the model's own words, and what it writes is read."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from showattend.captioner import Captioner
from showattend.evaluation.mistakes.confidence import absent_words, choose_threshold
from showattend.model import checkpoint as checkpoints
from showattend.model import familiarity
from showattend.system.provenance import file_digest
from tests.commandline import save_model
from tests.scripts.loading import load_script


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("calibrate")


@pytest.fixture
def mine(untrained: Captioner, tmp_path: Path) -> Path:
    """The folder of a model."""
    return save_model(untrained, tmp_path / "mine")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four photos with captions."""
    random = np.random.default_rng(3)
    lines = []
    for number, said in enumerate(("A dog runs.", "A man on a beach.", "Red grass.", "A dog.")):
        name = f"{number}.png"
        Image.fromarray(random.integers(0, 256, (40, 60, 3), np.uint8)).save(tmp_path / name)
        lines.append(json.dumps({"image": name, "captions": [said, said], "split": "val"}))
    path = tmp_path / "val.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_it_measures_and_writes(
    script: ModuleType,
    mine: Path,
    data: Path,
    untrained: Captioner,
    capsys: pytest.CaptureFixture[str],
) -> None:
    args = [str(mine), "--validation", "here", str(data), str(data.parent)]
    assert script.main(args) == 0
    printed = capsys.readouterr().out
    assert not (mine / "calibration.safetensors").exists()

    records = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    judged = [
        (p, absent)
        for record in records
        for caption in [untrained.caption(data.parent / record["image"])]
        for p, absent in zip(
            caption.confidences, absent_words(caption.words, record["captions"]), strict=True
        )
        if absent is not None
    ]
    wanted = choose_threshold([([p for p, _ in judged], [absent for _, absent in judged])])
    assert f"unsure below {wanted:.2f}" in printed
    (total,) = (line for line in printed.splitlines() if line.startswith("| all"))
    share = np.mean([absent for _, absent in judged])
    assert total == f"| all | {len(judged)} | {share:.2f} |"

    model = mine / "model.safetensors"
    before = model.read_bytes()
    assert script.main([*args, "--beside"]) == 0
    assert model.read_bytes() == before
    read_back(mine, wanted, len(judged), untrained.search.beam_size)
    output = data.parent / "record.json"
    assert script.main([*args, "--write", "--output", str(output)]) == 0
    record = json.loads(output.read_text("utf-8"))
    assert record["unsure_below"] == wanted
    assert record["provenance"]["data"]["here"] == file_digest(data)
    assert record["provenance"]["command"][0] == "calibrate.py"
    assert not (mine / "calibration.safetensors").exists(), "it would take the file's place"
    read_back(mine, wanted, len(judged), untrained.search.beam_size)
    weights = untrained.to_checkpoint().weights
    for key, value in checkpoints.load(mine).weights.items():
        assert value.equal(weights[key]), key


def test_it_learns_what_is_familiar(
    script: ModuleType,
    mine: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (script, familiarity):
        monkeypatch.setattr(module, "LEAST_PHOTOS", 4)
    monkeypatch.setattr(familiarity, "COMPONENTS", 3)
    images = data.parent
    lines = [json.loads(line) | {"split": "train"} for line in data.read_text("utf-8").splitlines()]
    training = images / "train.jsonl"
    training.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    grey = images / "drawings"
    grey.mkdir()
    Image.new("RGB", (50, 50), "teal").save(grey / "teal.png")
    args = [str(mine), "--validation", "here", str(data), str(images)]
    args += ["--training", str(training), str(images), "--strange", "drawings", str(grey)]
    assert script.main([*args, "--write"]) == 0
    printed = capsys.readouterr().out
    captioner = Captioner.from_pretrained(mine, device="cpu", precision="fp32")
    known = captioner.calibration.familiarity
    assert known is not None
    assert (known.basis.shape, known.size) == ((1280, 3), 64)
    assert captioner.calibration.measured["notes"]["drawings"]["noted"]["photos"] == 1
    assert "| drawings | 1 of 1 (100.0 %) | - / - | - / - | - / - | - |" in printed
    (row,) = (line for line in printed.splitlines() if line.startswith("| here | "))
    assert re.match(r"\| here \| [0-4] of 4 \(", row)
    assert captioner.caption(grey / "teal.png").note

    again = [*args[:5], "--write"]  # without training photographs, what is known stays
    assert script.main(again) == 0
    kept = Captioner.from_pretrained(mine, device="cpu").calibration.familiarity
    assert kept is not None
    assert (kept.basis == known.basis).all()


def read_back(model: Path, unsure_below: float, words: int, beam_size: int) -> None:
    """What a model says of itself once it is calibrated."""
    found = Captioner.from_pretrained(model, device="cpu", precision="fp32").calibration
    assert found.unsure_below == unsure_below
    assert found.measured["words"]["here"]["all"]["words"] == words
    assert found.measured["settings"]["beam_size"] == beam_size
    assert found.measured["provenance"]["code"]["sources"]


def test_mistakes_are_one_line(
    script: ModuleType, mine: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = data.parent / "alone.safetensors"
    shutil.copy(mine / "model.safetensors", alone)
    images = str(data.parent)
    few = data.parent / "train.jsonl"
    few.write_text(data.read_text("utf-8").replace('"val"', '"train"'), "utf-8")
    for args, message in (
        ([str(alone), "--validation", "a", str(data), images, "--beside"], "not a model"),
        ([str(mine), "--validation", "a", "none.jsonl", images], "none.jsonl"),
        (
            [str(mine), "--validation", "a", str(data), images, "--training", str(few), images],
            "4 training photographs are too few",
        ),
        (["nobody", "--validation", "a", str(data), images], "no such model"),
    ):
        assert script.main(args) == 2
        told = capsys.readouterr()
        assert told.err.startswith("calibrate: ")
        assert message in told.err
        assert told.err.count("\n") == 1
