"""A record is shown, or refused in one line, whatever it holds; a model captions all the same."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from showattend.captioner import Captioner
from showattend.evaluation.reproduce import read_record
from showattend.exceptions import CheckpointError, UserError
from showattend.export.hub_folder import model_card, write_hub_folder
from showattend.model.checkpoint import Checkpoint, load, save, shipped_models
from showattend.model.description import describe
from showattend.model.record_schema import DEEPEST, check_record, shallow
from tests.commandline import CommandLine
from tests.fuzz.seeds import MADE, RECORD, SETTINGS

RECORDS = sorted((Path(__file__).parents[2] / "docs" / "records").glob("*.json"))


def with_value(value: Any, *path: str | int) -> Callable[[], dict[str, Any]]:
    """The full record with another value in one place."""

    def make() -> dict[str, Any]:
        record = copy.deepcopy(RECORD)
        inner: Any = record
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        return record

    return make


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


HOSTILE = {
    "best.CIDEr": with_value("high", "best", "CIDEr"),
    "best.epoch": with_value([2], "best", "epoch"),
    "best": with_value([1], "best"),
    "data.train_images": with_value("many", "data", "train_images"),
    "data": with_value("toy", "data"),
    "figures": with_value("good", "figures"),
    "figures[0].data": with_value(3, "figures", 0, "data"),
    "figures[0].settings": with_value([], "figures", 0, "settings"),
    "figures[0].settings.length_penalty": with_value(
        "long", "figures", 0, "settings", "length_penalty"
    ),
    "figures[0].settings.images": with_value(10**400, "figures", 0, "settings", "images"),
    "figures[0].metrics": with_value([0.5], "figures", 0, "metrics"),
    "figures[0].metrics.CIDEr": with_value("x", "figures", 0, "metrics", "CIDEr"),
    "history": with_value({}, "history"),
    "history[0]": with_value(None, "history", 0),
    "history[1].CIDEr": with_value([], "history", 1, "CIDEr"),
    "config": with_value(None, "config"),
    "config.search.length_penalty": with_value({}, "config", "search", "length_penalty"),
    "config.data.path": with_value(7, "config", "data", "path"),
    "validation": with_value("val", "validation"),
    "provenance": with_value(["code"], "provenance"),
    "provenance.command": with_value(3, "provenance", "command"),
    "provenance.packages": with_value(["torch"], "provenance", "packages"),
    "provenance.machine.gpu": with_value(["a card"], "provenance", "machine", "gpu"),
    "provenance.machine.environment": with_value(
        None, "provenance", "machine", "environment"
    ),
    "resumed": with_value(1, "resumed"),
    "resumed[0]": with_value("later", "resumed", 0),
    "resumed[0].code": with_value("later", "resumed", 0, "code"),
    "settings": with_value([1], "settings"),
    "record is nested": with_value(nested(DEEPEST + 1), "seconds"),
}  # fmt: skip


@pytest.fixture
def checkpoint(untrained: Captioner) -> Checkpoint:
    return untrained.to_checkpoint()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_record_is_one_line(
    name: str, checkpoint: Checkpoint, tmp_path: Path, run: CommandLine
) -> None:
    record, missing = HOSTILE[name](), name.removeprefix("record ")
    weights = {key: value for key, value in checkpoint.weights.items() if "decoder" in key}
    model = save(tmp_path / "model", replace(checkpoint, record=record, weights=weights))
    said = run.refused("info", "--model", model)
    assert missing in said
    assert str(model) in said
    said = run.refused("export", "--model", model, "--hub", tmp_path / "hub")
    assert missing in said
    assert not (tmp_path / "hub").exists()
    with pytest.raises(CheckpointError):
        model_card(load(model), "a", "", license="mit", language="en")
    file = tmp_path / "training.json"
    file.write_text(json.dumps(record))
    for command in (("info", "--record", file), ("compare", "--records", file, file)):
        assert missing.removeprefix("is ") in run.refused(*command)


def test_a_model_with_a_hostile_record_captions(
    checkpoint: Checkpoint, tmp_path: Path, photo: Path
) -> None:
    record = HOSTILE["best.CIDEr"]()
    model = save(tmp_path / "model", replace(checkpoint, record=record))
    assert Captioner.from_pretrained(model, "cpu").caption(photo).words
    with pytest.raises(UserError):
        describe(model)


def test_all_of_a_full_record_is_shown(
    checkpoint: Checkpoint, tmp_path: Path, run: CommandLine
) -> None:
    model = save(tmp_path / "model", replace(checkpoint, record=RECORD))
    told = describe(model)
    for part in (
        "6,000 images of a.jsonl", "CIDEr 0.500 in training, epoch 2", "Flickr8k validation split",
        "BLEU-4 0.25", "torch 2.8.0", "a processor (AVX2), 2 threads, a card", "OMP_NUM_THREADS=2",
        "at epoch 2, batch 1",
    ):  # fmt: skip
        assert part in told
    sizes = write_hub_folder(str(model), tmp_path / "hub")
    assert "| others |" in (tmp_path / "hub" / "README.md").read_text()
    assert sizes
    file = tmp_path / "training.json"
    file.write_text(json.dumps(RECORD))
    result = run("info", "--record", file)
    assert (result.code, result.err) == (0, [])
    assert "resumed      at epoch 2, batch 1:" in result.out


@pytest.mark.parametrize(
    "change",
    [
        {"figures": {"Flickr8k test": {"CIDEr": 0.5}, "others": "not measured"}},  # of old models
        {"best": None, "figures": None, "history": None, "resumed": None, "validation": None},
        {"data": None},
        {"resumed": [{"epoch": 1}]},
        {"best": {"epoch": 1, "CIDEr": float("nan")}},
        {"provenance": dict.fromkeys(MADE)},
        {"provenance": {"before": MADE, "after": MADE}, "settings": {"before": SETTINGS}},
        {"machine": "a processor"},
        {"of a later version": [1, {"a": 2}]},
    ],
)
def test_what_a_record_may_lack(
    change: dict[str, Any], checkpoint: Checkpoint, tmp_path: Path, run: CommandLine
) -> None:
    record = RECORD | change
    model = save(tmp_path / "model", replace(checkpoint, record=record))
    assert describe(model)
    assert write_hub_folder(str(model), tmp_path / "hub")
    file = tmp_path / "training.json"
    file.write_text(json.dumps(record))
    assert run("info", "--record", file).code == 0


def test_records_that_are_there_pass() -> None:
    assert RECORDS
    for path in RECORDS:
        read_record(path)
    for folder in shipped_models().values():
        check_record(load(folder).record)


def test_levels_are_counted() -> None:
    shallow(nested(DEEPEST - 1), "it")
    with pytest.raises(ValueError, match="nested more than"):
        shallow({"a": nested(DEEPEST)}, "it")
