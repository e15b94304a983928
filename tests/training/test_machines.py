"""Training on two machines: two launchers that share nothing but a connection.

Each has a folder of its own with the data and the cache, as two machines have.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from showattend.config import load_config
from showattend.data.readers import read_dataset
from showattend.data.shard_writer import write_shards
from showattend.data.toy import write_toy
from showattend.model.checkpoint import load
from showattend.training.state import _steps_done
from showattend.training.trainer import train

from .test_processes import kill, same

pytestmark = pytest.mark.slow
BATCH = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both machines hold: a config, a data set, and the same one as shards."""
    folder = tmp_path_factory.mktemp("machines")
    toy = write_toy(folder / "toy", images=60, size=64)
    write_shards(list(read_dataset(toy)), folder / "shards", size=9)
    values = {
        "data": {"path": "toy/dataset.jsonl", "cache": "cache", "min_count": 1, "mirror": True},
        "encoder": {"size": 64},
        "decoder": {
            "embedding_dim": 32, "hidden_dim": 32, "attention_dim": 32,
            "dropout": 0.0, "embedding_dropout": 0.0, "feature_dropout": 0.0,
        },
        "train": {
            "out": "run", "epochs": 1, "batch_size": BATCH, "lr": 1e-4, "precision": "fp32",
            "ema": 0.9, "device": "cpu",
        },
        "search": {"max_length": 12},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return folder


def machine(folder: Path, data: Path) -> Path:
    shutil.copytree(data, folder)
    return folder


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def launch(folder: Path, port: int, *arguments: str, restarts: int = 3) -> subprocess.Popen[str]:
    """The command of docs/training.md, as one machine starts it."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
        "--max-restarts", str(restarts), "--rdzv-backend", "c10d", "--rdzv-id", "test",
        "--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1",
        "--rdzv-conf", "keep_alive_interval=1,keep_alive_max_attempt=3",
        "-m", "showattend", "train", "config.yaml", *arguments,
    ]  # fmt: skip
    with (folder / "log").open("a") as log:
        return subprocess.Popen(
            command, text=True, cwd=folder, stdout=log, stderr=log, start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        )  # fmt: skip


def finish(*runs: tuple[subprocess.Popen[str], Path]) -> None:
    try:
        for run, folder in runs:
            assert run.wait(1800) == 0, (folder / "log").read_text()[-4000:]
    finally:
        for run, _ in runs:
            kill(run)


@pytest.mark.parametrize("path", ["toy/dataset.jsonl", "shards/*.tar"])
def test_two_machines_are_one_process_with_twice_the_batch(
    path: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (machine(tmp_path / name, data) for name in ("first", "second"))
    port = free_port()
    runs = [(launch(folder, port, f"data.path={path}"), folder) for folder in (first, second)]
    finish(*runs)
    alone = machine(tmp_path / "alone", data)
    monkeypatch.chdir(alone)
    train(load_config(Path("config.yaml"), [f"data.path={path}", f"train.batch_size={2 * BATCH}"]))
    written = [folder for folder in (first, second) if (folder / "run").exists()]
    assert len(written) == 1  # the machine of the first process
    told = [(folder / "log").read_text() for folder in (first, second)]
    assert sum(text.count("training and") for text in told) == 1
    assert not any("Warning" in text for text in told)
    same(written[0] / "run", alone / "run")
    if path.endswith("jsonl"):  # each computed the features that it needs
        assert all(list((folder / "cache").glob("*/*.npy")) for folder in (first, second))


def test_a_machine_is_lost_and_comes_back(data: Path, tmp_path: Path) -> None:
    changes = ("train.epochs=2", "decoder.dropout=0.3", "train.save_every=0", "--resume")
    whole = [machine(tmp_path / name, data) for name in ("whole-1", "whole-2")]
    port = free_port()
    finish(*[(launch(folder, port, *changes), folder) for folder in whole])
    first, second = (machine(tmp_path / name, data) for name in ("first", "second"))
    port = free_port()
    one = launch(first, port, *changes)
    time.sleep(3)  # the first machine holds the meeting point, and the run's folder
    other = launch(second, port, *changes)
    try:
        while _steps_done(first / "run") < (0, 3):
            assert one.poll() is other.poll() is None, (first / "log").read_text()[-4000:]
            time.sleep(0.05)
        kill(other)
        assert one.poll() is None
    except BaseException:
        kill(one)
        kill(other)
        raise
    again = launch(second, port, *changes)
    finish((one, first), (again, second))
    assert "Resuming at epoch" in (first / "log").read_text()
    wanted = next(load(folder / "run") for folder in whole if (folder / "run").exists())
    found = load(first / "run")
    for key, value in wanted.weights.items():
        assert torch.equal(found.weights[key], value), key


def test_machines_with_different_data_are_refused(data: Path, tmp_path: Path) -> None:
    first, second = (machine(tmp_path / name, data) for name in ("first", "second"))
    file = second / "toy/dataset.jsonl"
    file.write_text(file.read_text().replace("circle", "round"))
    port = free_port()
    runs = [launch(folder, port, restarts=0) for folder in (first, second)]
    try:
        codes = [run.wait(1800) for run in runs]
    finally:
        for run in runs:
            kill(run)
    assert all(codes)
    told = "".join((folder / "log").read_text() for folder in (first, second))
    assert "process 2 has other images or captions than process 1" in told
