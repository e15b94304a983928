"""A disk that is full and a process that is killed: nothing is lost, and the run goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml

from showattend.config import load_config
from showattend.data.toy import write_toy
from showattend.exceptions import DataError, UserError
from showattend.model.checkpoint import FILE_NAME, load_tensors
from showattend.system.signals import Terminated
from showattend.training.state import FILE_NAME as STATE_NAME
from showattend.training.trainer import Silent, Trainer, train

resource = pytest.importorskip("resource", reason="limits of a process are a thing of Unix")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config of three epochs of ten steps, its state saved after every one."""
    folder = tmp_path_factory.mktemp("interrupted")
    values = {
        "data": {
            "path": str(write_toy(folder / "toy", images=48, size=64)),
            "cache": str(folder / "cache"), "min_count": 1,
        },
        "encoder": {"size": 64},
        "decoder": {"embedding_dim": 32, "hidden_dim": 32, "attention_dim": 32, "dropout": 0.2},
        "train": {
            "epochs": 3, "batch_size": 4, "lr": 1e-2, "precision": "fp32", "device": "cpu",
            "save_every": 0.0, "ema": 0.9,
        },
        "search": {"max_length": 12},
    }  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def whole(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing disturbed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(load_config(file, [f"train.out={out}"]))
    return out


def same(one: Path, other: Path) -> None:
    for name in (FILE_NAME, STATE_NAME):
        (tensors, _), (others, _) = (load_tensors(out / name, "one") for out in (one, other))
        assert tensors.keys() == others.keys()
        for key, value in tensors.items():
            assert torch.equal(value, others[key]), f"{name}: {key}"


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Writing fails half-way through a larger file, as it does on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Stop(Silent):
    """Dies like a killed process at a step of training."""

    def __init__(self, at: int) -> None:
        self.at, self.messages = at, list[str]()

    def message(self, text: str) -> None:
        self.messages.append(text)

    def task(self, name: str, done: int, total: int, note: str = "") -> None:
        if (name, done) == ("Training", self.at):
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("full", "after"), [pytest.param(FILE_NAME, 5, marks=pytest.mark.slow), (STATE_NAME, 15)]
)
def test_the_last_good_state_survives_a_full_disk(
    full: str, after: int, file: Path, whole: Path, tmp_path: Path
) -> None:
    """A state that does not fit, in mid-epoch; a model that does not, at the end of an epoch."""
    assert (whole / FILE_NAME).stat().st_size < (whole / STATE_NAME).stat().st_size
    with pytest.raises(KeyboardInterrupt):
        train(load_config(file, [f"train.out={tmp_path}"]), Stop(after))
    good = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert STATE_NAME in good
    often = 0.0 if full == STATE_NAME else 1e9
    later, stop = load_config(file, [f"train.out={tmp_path}", f"train.save_every={often}"]), Stop(0)
    limit = (len(good[full]) if full in good else (whole / full).stat().st_size) - 1000
    with no_file_above(limit), pytest.raises(UserError) as caught:
        train(later, stop, resume=True)
    assert str(caught.value).startswith(f"{tmp_path / full}: cannot be written (")
    assert "\n" not in str(caught.value)
    changed = f"Changed since the run was started: train.save_every was 0.0, is {often}"
    assert (changed in stop.messages) == (often > 0)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == good
    train(later, resume=True)
    same(tmp_path, whole)


def test_what_is_cut_off_before_anything_was_saved_goes_on_or_begins_anew(
    file: Path, whole: Path, tmp_path: Path
) -> None:
    """The model of the first epoch is written, and the larger state does not fit."""
    config = load_config(file, [f"train.out={tmp_path}", "train.save_every=1e9"])
    limit = (whole / FILE_NAME).stat().st_size + 1000
    first = (whole / STATE_NAME).stat().st_size
    assert limit < first
    with pytest.raises(KeyboardInterrupt):
        train(config, Stop(3))
    assert {path.name for path in tmp_path.iterdir()} == {STATE_NAME}
    train(load_config(file, [f"train.out={tmp_path}", "train.epochs=1"]))  # nothing is lost by it
    with pytest.raises(DataError, match="holds a run already; add --resume"):
        train(config)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(KeyboardInterrupt):
        train(config, Stop(3))
    with no_file_above(limit), pytest.raises(UserError, match="cannot be written"):
        train(config, resume=True)
    assert (tmp_path / FILE_NAME).exists()
    train(config, resume=True)
    same(tmp_path, whole)


class Signal(Silent):
    """Sends itself a signal in the middle of a step."""

    def __init__(self, number: int, at: int) -> None:
        self.number, self.at = number, at

    def task(self, name: str, done: int, total: int, note: str = "") -> None:
        if (name, done) == ("Training", self.at):
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_signal_ends_in_a_saved_state(
    number: int, kind: type[BaseException], file: Path, whole: Path, tmp_path: Path
) -> None:
    config = load_config(file, [f"train.out={tmp_path}", "train.save_every=1e9"])
    # A shell starts what runs in the background without SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(kind):
            train(config, Signal(number, 17))
    finally:
        signal.signal(signal.SIGINT, before)
    progress = load_tensors(tmp_path / STATE_NAME, "a state")[1]["progress"]
    assert (progress["epoch"], progress["batch"]) in ((1, 7), (1, 8))
    train(config, resume=True)
    same(tmp_path, whole)


def test_a_gradient_that_is_no_number_leaves_the_weights_and_the_last_state(
    file: Path, tmp_path: Path
) -> None:
    trainer = Trainer(load_config(file, [f"train.out={tmp_path}"]))

    def poisoned(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * float("nan") if trainer.progress.batch == 5 else gradient

    trainer.decoder.output.weight.register_hook(poisoned)
    with pytest.raises(UserError, match=r"\(the gradient is nan in epoch 1, batch 6\); what was"):
        trainer.run()
    tensors, meta = load_tensors(tmp_path / STATE_NAME, "a state")
    assert meta["progress"]["batch"] == 5
    assert all(each.isfinite().all() for each in tensors.values())


def test_a_disk_full_from_the_start_leaves_no_half_of_a_file(file: Path, tmp_path: Path) -> None:
    with no_file_above(20_000), pytest.raises(UserError, match=r"cannot be written \("):
        train(load_config(file, [f"train.out={tmp_path}"]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_kill_9_at_any_moment_changes_nothing(file: Path, whole: Path, tmp_path: Path) -> None:
    """Killed again and again, at moments drawn by lot, until it gets through."""
    moments, kills = random.Random(0), 0
    for _ in range(60):
        resume = ["--resume"] if (tmp_path / STATE_NAME).exists() else []
        command = [sys.executable, "-m", "showattend", "train", str(file), f"train.out={tmp_path}"]
        running = subprocess.Popen(
            [*command, *resume], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        before = _written(tmp_path)
        while running.poll() is None and _written(tmp_path) == before:
            time.sleep(0.002)  # start-up takes most of the time, and there it is dull to be killed
        time.sleep(moments.uniform(0, 0.15))
        running.send_signal(signal.SIGKILL)
        _, said = running.communicate()
        if running.returncode == 0:
            break
        assert running.returncode == -signal.SIGKILL, said
        kills += 1
    assert running.returncode == 0
    assert kills >= 3
    same(tmp_path, whole)


def _written(folder: Path) -> int | None:
    try:
        return (folder / STATE_NAME).stat().st_mtime_ns
    except FileNotFoundError:
        return None
