"""scripts/tune_search.py: what it tries is what its table says."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from showattend.captioner import Captioner
from showattend.data.toy import write_toy
from showattend.model.checkpoint import load_tensors
from showattend.training.trainer import train
from tests.scripts.loading import load_script
from tests.tinyrun import tiny_run


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("tune_search")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a data set, and a run on it: averaged, then adjusted."""
    data = write_toy(tmp_path_factory.mktemp("toy") / "data", images=24, size=64)
    out = tmp_path_factory.mktemp("runs") / "run"
    critical = {"epochs": 1, "runs": 2, "samples": 4, "start_share": 0.3}
    settings = {"epochs": 2, "patience": 0, "rare_words": 0.2}
    train(tiny_run(data, out, train=settings, self_critical=critical))
    lines = data.read_text("utf-8").splitlines()
    for split in ("train", "val"):
        mine = [line for line in lines if json.loads(line)["split"] == split]
        (data.parent / f"{split}.jsonl").write_text("\n".join(mine), "utf-8")
    return data.parent, out


@pytest.fixture
def tune(
    script: ModuleType, made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str], str]]:
    """Exit code, the table's rows, and what it complains of."""

    def call(model: object, *args: object) -> tuple[int, list[str], str]:
        given = (
            model,
            "--annotations",
            made[0] / "val.jsonl",
            "--beams",
            2,
            "--length-penalties",
            0.7,
        )
        code = script.main([str(each) for each in (*given, "--block-ngrams", 0, *args)])
        told = capsys.readouterr()
        lines = told.out.splitlines()
        assert code or lines[1].startswith("All: 1 to 12 words, 64 pixels, "), lines[1]
        return code, lines[3:], told.err

    return call


def test_unchanged_scores_are_labelled_own(
    tune: Callable[..., tuple[int, list[str], str]], made: tuple[Path, Path]
) -> None:
    code, rows, _ = tune(made[1], "--beams", 1, 3, "--block-ngrams", 0, 2)
    assert code == 0
    assert len(rows) == 4
    assert all(row.split()[:2] == ["-", "own"] for row in rows)
    assert {tuple(row.split()[2:5:2]) for row in rows} == {
        (beam, block) for beam in ("1", "3") for block in ("0", "2")
    }
    scores = [float(row.split()[5]) for row in rows]
    assert scores == sorted(scores, reverse=True)


def test_shares_and_tau_start_from_unadjusted_weights(
    script: ModuleType, tune: Callable[..., tuple[int, list[str], str]], made: tuple[Path, Path]
) -> None:
    folder, run = made
    train_file = folder / "train.jsonl"
    shares, taus = ("--start-shares", 0, 0.5), ("--rare-words", 0, 0.4, "--train", train_file)
    code, rows, _ = tune(run, *shares, *taus)
    assert code == 0
    assert {tuple(row.split()[:2]) for row in rows} == {
        (share, tau) for share in ("0.00", "0.50") for tau in ("0.00", "0.40")
    }
    captioner = Captioner.from_pretrained(run, device="cpu", precision="fp32")
    args: Any = Namespace(model=run, train=train_file, start_shares=[0.5], rare_words=[0.0, 0.4])
    plain, adjusted = (decoder for _, decoder in script.variants(captioner, args))
    start, one, two = (
        load_tensors(run / f"{name}.safetensors", "weights")[0]["decoder.L_o.bias"]
        for name in ("start", "run_1", "run_2")
    )
    torch.testing.assert_close(plain.L_o.bias, 0.5 * start + 0.25 * (one + two))
    lifted = (adjusted.L_o.bias - plain.L_o.bias)[4:]
    assert (lifted > 0).all()  # tau of the log of a share
    assert lifted.max() - lifted.min() > 0.4  # more for rare words


def test_options_that_do_not_suit_the_model_are_one_line(
    tune: Callable[..., tuple[int, list[str], str]], made: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, run = made
    code, rows, told = tune(run, "--rare-words", 0.2, "--train", folder / "train.jsonl")
    assert (code, rows) == (2, [])
    assert "already adjusted for rare words; give --start-shares too" in told
    assert told.count("\n") == 1
    code, _, told = tune("flickr8k", "--start-shares", 0.2)
    assert code == 2
    assert "--start-shares need the folder of a run" in told
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "run_2.safetensors").unlink()
    code, _, told = tune(tmp_path / "run", "--start-shares", 0.2)
    assert code == 2
    assert "there is nothing to average (run_2.safetensors missing)" in told
    record = json.loads((run / "training.json").read_text())
    record["config"]["self_critical"]["epochs"] = 0
    (tmp_path / "run" / "training.json").write_text(json.dumps(record))
    code, _, told = tune(tmp_path / "run", "--start-shares", 0.2)
    assert code == 2
    assert "no self-critical training" in told
    assert tune(tmp_path / "nowhere")[0] == 2
