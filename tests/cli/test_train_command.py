"""``showattend train``: passing the config on, and interruptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from showattend.model.checkpoint import save_tensors
from showattend.training.state import FILE_NAME as STATE
from tests.commandline import CommandLine


def test_train_passes_the_config_on(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    record: dict[str, Any] = {
        "best": {"epoch": 2, "CIDEr": 0.5},
        "validation": {"beam_size": 3, "block_ngrams": 0, "split": "val", "images": 10},
    }

    def train(config: Any, _: object, resume: bool) -> dict[str, Any]:
        given.append((config.train.epochs, config.train.lr, resume))
        return record

    monkeypatch.setattr("showattend.training.trainer.train", train)
    config = tmp_path / "config.yaml"
    config.write_text(f"train:\n  lr: 2e-3\n  out: {tmp_path}/run\n")
    result = run("train", config, "train.epochs=3", "--resume")
    assert result.code == 0
    assert given == [(3, 2e-3, True)]
    told = "epoch 2, CIDEr 0.500 (beam 3, n-grams may repeat, val split, 10 images)"
    assert told in result.err[0]


def test_interrupted_training_says_how_to_continue(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    done = 0

    def train(*_: Any) -> None:
        if done:
            save_tensors(
                out / STATE, {}, {"kind": "state", "config": {}, "progress": {"batch": done - 1}}
            )
        raise KeyboardInterrupt

    monkeypatch.setattr("showattend.training.trainer.train", train)
    config = tmp_path / "config.yaml"
    config.write_text(f"train: {{out: {out}}}\n")
    out.mkdir()
    assert run("train", config) == (130, [], ["showattend: interrupted"])
    done = 1  # no step was saved, so the same command starts again
    assert run("train", config) == (130, [], ["showattend: interrupted"])
    done = 2
    kept = f"the state of the run is kept in {out}; the same command"
    for more, how in (((), " with --resume"), (("--resume",), "")):
        result = run("train", config, *more)
        assert result == (130, [], [f"{kept}{how} continues it", "showattend: interrupted"])
    monkeypatch.setenv("RANK", "1")
    assert run("train", config).err == ["showattend: interrupted"]
