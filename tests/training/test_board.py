"""TensorBoard: what a run writes, and that it changes nothing else."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from showattend.config import Config, from_dict
from showattend.data.toy import write_toy
from showattend.exceptions import ConfigError
from showattend.model.checkpoint import load
from showattend.training import board
from showattend.training.board import PHOTOGRAPHS, folder_of, scalars
from showattend.training.trainer import train
from tests.tinyrun import tiny_run

installed = pytest.mark.skipif(
    find_spec("tensorboard") is None, reason="the extra tensorboard is absent"
)


def config_with(value: object) -> Config:
    return from_dict(Config, {"train": {"out": "runs/a", "tensorboard": value}}, "test")


def test_where_it_goes() -> None:
    assert folder_of(Config()) is None
    assert folder_of(config_with(False)) is None
    assert folder_of(config_with(True)) == Path("runs/a/tensorboard")
    assert folder_of(config_with("boards/a")) == Path("boards/a")
    with pytest.raises(ConfigError, match=r"train.tensorboard is 3; it must be a folder, on or"):
        config_with(3)


def test_it_is_refused_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(board, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r'pip install "showattend\[tensorboard\]"'):
        train(tiny_run(tmp_path / "none.jsonl", tmp_path / "run", train={"tensorboard": "on"}))
    assert not (tmp_path / "run").exists()


def test_figures_have_names() -> None:
    entry: dict[str, Any] = {
        "epoch": 2, "phase": "cross-entropy", "loss": 2.5, "lr": 1e-3, "val_loss": 2.75,
        "CIDEr": 0.5, "distinct": 0.75, "sets": {"a": {"CIDEr": 0.25}}, "seconds": 3.0,
    }  # fmt: skip
    assert scalars(entry) == {
        "loss/loss": 2.5, "rate/lr": 1e-3, "loss/val_loss": 2.75, "validation/CIDEr": 0.5,
        "validation/distinct": 0.75, "validation/seconds": 3.0, "a/CIDEr": 0.25,
    }  # fmt: skip


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return found


@installed
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_writes_figures_and_photographs(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", images=18)
    changes: dict[str, Any] = {"epochs": 2, "batch_size": 8}
    plain = train(tiny_run(toy, tmp_path / "plain", train=changes))
    record = train(tiny_run(toy, tmp_path / "run", train=changes | {"tensorboard": "on"}))

    def figures(made: dict[str, Any]) -> list[dict[str, Any]]:
        return [{k: v for k, v in each.items() if k != "seconds"} for each in made["history"]]

    assert figures(record) == figures(plain)
    weights, others = (load(tmp_path / name).weights for name in ("run", "plain"))
    assert all((weights[key] == others[key]).all() for key in others)

    found = read(tmp_path / "run" / "tensorboard")
    ciders = [(each.step, each.value) for each in found.Scalars("validation/CIDEr")]
    assert ciders == [
        (entry["epoch"], pytest.approx(entry["CIDEr"], abs=1e-5)) for entry in record["history"]
    ]
    assert {"loss/loss", "loss/val_loss", "rate/lr"} <= set(found.Tags()["scalars"])
    pictures = found.Tags()["images"]
    assert len(pictures) == min(PHOTOGRAPHS, record["data"]["val_images"])
    last = found.Images(pictures[0])[-1]
    assert (last.step, last.encoded_image_string[:4]) == (2, b"\x89PNG")
    assert last.width > 300
