"""The resume state: everything comes back, and what does not fit is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from showattend.config import Config, defaults, from_dict, load_config, to_dict
from showattend.exceptions import CheckpointError, DataError
from showattend.model.checkpoint import load_tensors, save_tensors
from showattend.system.processes import Processes
from showattend.training.state import (
    FILE_NAME,
    Progress,
    begins_or_resumes,
    check_folder,
    differences,
    has_begun,
    load_state,
    save_state,
)
from showattend.training.trainer import train

CONFIG: dict[str, Any] = {
    "data": {"path": "toy", "cache": "here"},
    "train": {"lr": 0.1, "out": "runs/a", "patience": 5, "device": "cpu", "save_every": 5.0},
    "data set": "abcd",
}


def build(seed: int) -> tuple[nn.Module, torch.optim.AdamW]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.randn(5, 3)).square().mean().backward()
    optimizer.step()


def test_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """Weights, buffers, both moments, the step count and the random numbers."""
    model, optimizer = build(0)
    for _ in range(3):
        step(model, optimizer)
    progress = Progress(
        epoch=2,
        batch=7,
        sums={"loss": 0.1 + 0.2, "penalty": 3.0},
        best=0.25,
        best_epoch=1,
        history=[{"epoch": 1, "loss": 1 / 3}],
        seconds=9.5,
    )
    save_state(tmp_path, {"decoder": model}, optimizer, progress, CONFIG)
    for _ in range(2):
        step(model, optimizer)

    other, its_optimizer = build(1)
    found = load_state(tmp_path, {"decoder": other}, its_optimizer, CONFIG)
    assert found == progress
    for _ in range(2):
        step(other, its_optimizer)
    for key, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


def test_a_run_without_a_best_epoch_comes_back(tmp_path: Path) -> None:
    model, optimizer = build(0)
    save_state(tmp_path, {"decoder": model}, optimizer, Progress(), CONFIG)
    assert load_state(tmp_path, {"decoder": model}, optimizer, CONFIG) == Progress()


def change(section: str, **values: Any) -> dict[str, Any]:
    return CONFIG | {section: CONFIG[section] | values}


@pytest.mark.parametrize("kind", ["lstm", "luong", "transformer"])
def test_a_state_with_the_options_of_all_kinds_goes_on(kind: str, tmp_path: Path) -> None:
    """Sections had the options of all kinds once, those of others with their defaults."""
    model, optimizer = build(0)
    step(model, optimizer)
    now = to_dict(from_dict(Config, {"decoder": {"kind": kind, "hidden_dim": 8}}, "test"))
    before = {section: dict(values) for section, values in now.items()}
    for key, default in defaults().items():
        section, _, name = key.partition(".")
        before[section].setdefault(name, default)
    assert {"layers", "gate", "attention_dim"} <= before["decoder"].keys()
    save_state(tmp_path, {"model": model}, optimizer, Progress(), before)
    check_folder(tmp_path, now, resume=True)
    load_state(tmp_path, {"model": model}, optimizer, now)
    before["decoder"]["layers"] = 4
    assert differences(before, now, except_for=()) == ["decoder.layers was 4, is 3"]


@pytest.mark.parametrize(
    "config",
    [
        change("train", out="elsewhere", patience=0, device="cuda", save_every=1.0),
        change("data", cache="elsewhere"),
        change("data", path="elsewhere/dataset.jsonl", images="photos"),
    ],
)
def test_what_does_not_change_the_training_may_change(
    config: dict[str, Any], tmp_path: Path
) -> None:
    model, optimizer = build(0)
    save_state(tmp_path, {"decoder": model}, optimizer, Progress(), CONFIG)
    load_state(tmp_path, {"decoder": model}, optimizer, config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (change("train", lr=0.2), r"another config \(train.lr was 0.1, is 0.2\)"),
        (CONFIG | {"data set": "1234"}, "data set was abcd, is 1234"),
        (change("data", path=["a.jsonl", "b.jsonl"]), "data.sets was None, is"),
        (change("train", new=1), "train.new was None, is 1"),
        (change("data", cache=None), "data.cache was here, is None"),  # half precision, or not
    ],
)
def test_another_config_is_refused_with_the_key(
    config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    model, optimizer = build(0)
    save_state(tmp_path, {"decoder": model}, optimizer, Progress(), CONFIG)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_state(tmp_path, {"decoder": model}, optimizer, config)
    for key, value in before.items():
        assert torch.equal(model.state_dict()[key], value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no state to resume; start without --resume"),
        (b"", "damaged, or not a training state"),
        (b"no tensors here", "damaged, or not a training state"),
        ({"kind": "model"}, "not a training state"),
    ],
)
def test_another_file_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    if isinstance(content, bytes):
        (tmp_path / FILE_NAME).write_bytes(content)
    elif content:
        save_tensors(tmp_path / FILE_NAME, {"x": torch.zeros(1)}, content)
    model, optimizer = build(0)
    with pytest.raises(CheckpointError, match=message):
        load_state(tmp_path, {"decoder": model}, optimizer, CONFIG)


def test_a_state_of_another_shape_is_refused_in_one_line(tmp_path: Path) -> None:
    model, optimizer = build(0)
    save_state(tmp_path, {"decoder": model}, optimizer, Progress(), CONFIG)
    wider = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    optimizer = torch.optim.AdamW(wider.parameters())
    with pytest.raises(CheckpointError, match="does not fit this config") as caught:
        load_state(tmp_path, {"decoder": wider}, optimizer, CONFIG)
    assert "\n" not in str(caught.value)


def test_a_new_sitting_removes_the_state_that_a_killed_one_was_writing(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    for name in (FILE_NAME, "model.safetensors"):
        (tmp_path / f".{name}.{gone.pid}").touch()
    (tmp_path / f".{FILE_NAME}.{os.getppid()}").touch()
    with pytest.raises(DataError, match="holds a run already"):
        check_folder(tmp_path, CONFIG, resume=False)
    (tmp_path / FILE_NAME).unlink()
    check_folder(tmp_path, CONFIG, resume=False)
    assert [path.name for path in tmp_path.iterdir()] == [f".{FILE_NAME}.{os.getppid()}"]


@pytest.mark.parametrize(
    ("tensors", "progress", "rest", "message"),
    [
        ({"optimizer.0.exp_avg": torch.zeros(2)}, {}, {}, "exp_avg"),
        ({"optimizer.0.exp_avg_sq": None}, {}, {}, "exp_avg_sq is missing"),
        ({"random.cpu.0": None}, {}, {}, "does not fit"),
        ({"random.cpu.0": torch.zeros(3)}, {}, {}, "does not fit"),
        ({}, {"epoch": "1"}, {}, "progress.epoch is .1."),
        ({}, {"sums": {"loss": None}}, {}, "sums.loss is None"),
        ({}, {"best": float("nan")}, {}, "best is nan"),
        ({}, {}, {"config": {"data": None}}, "config.data is None"),
        ({}, {}, {"progress": []}, r"progress is \[\]"),
    ],
)
def test_a_state_that_was_tampered_with_is_refused_in_one_line(
    tensors: dict[str, torch.Tensor | None],
    progress: dict[str, Any],
    rest: dict[str, Any],
    message: str,
    tmp_path: Path,
) -> None:
    model, optimizer = build(0)
    step(model, optimizer)
    save_state(tmp_path, {"decoder": model}, optimizer, Progress(), CONFIG)
    stored, meta = load_tensors(tmp_path / FILE_NAME, "a state")
    meta["progress"] |= progress
    changed = {key: value for key, value in (stored | tensors).items() if value is not None}
    save_tensors(tmp_path / FILE_NAME, changed, meta | rest)
    has_begun(tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_state(tmp_path, {"decoder": model}, optimizer, CONFIG)
    assert len(str(caught.value).splitlines()) == 1


def saved(folder: Path, epoch: int, batch: int) -> None:
    model, optimizer = build(0)
    progress = Progress(epoch=epoch, batch=batch)
    save_state(folder, {"decoder": model}, optimizer, progress, to_dict(Config()))


def test_under_a_launcher_resuming_also_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = from_dict(Config, {"train": {"out": str(tmp_path / "run")}}, "test")
    with pytest.raises(CheckpointError, match="no state to resume"):
        begins_or_resumes(config, True)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert not begins_or_resumes(config, True)
    assert "nothing to resume yet" in caplog.text
    saved(tmp_path / "run", 1, 2)
    assert begins_or_resumes(config, True)
    with pytest.raises(DataError, match="holds a run already"):
        begins_or_resumes(config, False)


def test_a_state_on_another_machine_is_not_overwritten(tmp_path: Path) -> None:
    """The launcher may give the first process to another machine than before."""

    class Two(Processes):
        def gather(self, mine: Any) -> Any:
            return [mine, (3, 1)]

    processes = Two()
    out = tmp_path / "run"
    config = from_dict(Config, {"train": {"out": str(out)}}, "test")
    for epoch in (None, 2):
        if epoch:
            saved(out, epoch, 5)
        with pytest.raises(CheckpointError, match="on the machine of process 2, and process 1 is"):
            begins_or_resumes(config, True, processes)
    saved(out, 3, 1)
    assert begins_or_resumes(config, True, processes)


# Earlier versions ------------------------------------------------------------------------------

OLD = Path(__file__).parent / "old_formats"
CHANGES = {
    "first": [  # it had neither a projection nor averages, and each of 1,280 features costs bytes
        "decoder.projection_dim=0",
        "train.ema=0",
        *(f"decoder.{name}_dim=1" for name in ("embedding", "hidden", "attention")),
    ],
    "phases": ["self_critical.temperature=1"],  # the default then
}
OLD_STATES = sorted(path.parent for path in OLD.glob("*/state.safetensors"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures of these runs, and their features."""
    return tmp_path_factory.mktemp("cache")


def old_run(folder: Path, tmp_path: Path, cache: Path, *changes: str) -> Config:
    """The config of a copy of an old run."""
    shutil.copytree(folder, tmp_path / "run")
    places = [f"train.out={tmp_path / 'run'}", f"data.cache={cache}"]
    return load_config(OLD / "config.yaml", [*places, *changes])


@pytest.mark.parametrize(
    "folder",
    [
        pytest.param(each, marks=() if each.name == "contracts" else pytest.mark.slow, id=each.name)
        for each in OLD_STATES
    ],
)
def test_runs_of_earlier_versions_are_resumed(folder: Path, tmp_path: Path, cache: Path) -> None:
    """In the second of three epochs; ``history.json`` is how the earlier version ended the run.

    The last one has the same numbers today. The others drew other random numbers for dropout.
    """
    most = 1e-4 if folder.name == "contracts" else 0.05
    config = old_run(folder, tmp_path, cache, *CHANGES.get(folder.name, ()))
    wanted = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    found = train(config, resume=True)["history"]
    assert [each["epoch"] for each in found] == [each["epoch"] for each in wanted] == [1, 2, 3]
    for one, other in zip(found, wanted, strict=True):
        for key in ("loss", "val_loss"):
            assert one[key] == pytest.approx(other[key], rel=most), (one["epoch"], key)
    assert found[2]["val_loss"] < found[0]["val_loss"]


def test_there_are_states_of_earlier_versions() -> None:
    names = ["contracts", "first", "phases", "processes"]
    assert [path.name for path in OLD_STATES] == names
