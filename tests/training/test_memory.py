"""The memory of a training run must not grow with the data set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.loading import load_script

# Features and images are not there: a sparse file stands for the cache, and captions are as long
# as people's (11 words). What is measured is the process's own memory, not the file's pages.
RUN = """
import json, sys
from pathlib import Path
import numpy as np, torch
from showattend.config import from_dict, Config
from showattend.data.loader import CachedFeatures
from showattend.data.views import View
from tests.data.features import cache_of
from showattend.training import setup, trainer

folder, images = Path(sys.argv[1]), int(sys.argv[2])

def synthetic(config, mixture, encoder, preprocessing, **_):
    shape = len(mixture), *encoder.grid(preprocessing.size), encoder.dim
    file = folder / "features.npy"
    np.lib.format.open_memmap(file, "w+", np.float16, shape).flush()
    cache = cache_of(folder, np.load(file, mmap_mode="r"))
    return mixture, CachedFeatures({View(): cache}, {View(): range(len(mixture))})

def private():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))

setup.cached_inputs = synthetic
config = from_dict(Config, {
    "data": {"path": str(folder / "dataset.jsonl"), "min_count": 5},
    "encoder": {"size": 64, "pretrained": False},
    "decoder": {"embedding_dim": 64, "hidden_dim": 64, "attention_dim": 64},
    "train": {"out": str(folder / "run"), "device": "cpu", "epochs": 1, "batch_size": 16,
              "save_every": 1000.0, "patience": 0},
}, "test")
run = trainer.Trainer(config)
found = []
class Enough(Exception): pass
def task(name, done, total, note=""):
    if name == "Training":
        found.append(private())
        if done == 40: raise Enough
run.reporter.task = task
try:
    run.run()
except Enough:
    print(json.dumps(max(found)))
"""


def used(folder: Path, images: int) -> float:
    """Megabytes of private memory in forty steps on so many images."""
    folder.mkdir()
    words = [f"word{i}" for i in range(3000)]
    with (folder / "dataset.jsonl").open("w", encoding="utf-8") as file:
        for i in range(images + 4):
            captions = [
                " ".join(words[(37 * i + 101 * k + 7 * t) % len(words)] for t in range(11))
                for k in range(5)
            ]
            split = "train" if i < images else "val"
            line = {"image_id": i, "image": f"{i:012}.jpg", "captions": captions, "split": split}
            file.write(json.dumps(line) + "\n")
    command = [sys.executable, "-c", RUN, str(folder), str(images)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return float(json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_hundred_times_the_images_take_no_more_memory(tmp_path: Path) -> None:
    few, many = used(tmp_path / "few", 1_000), used(tmp_path / "many", 100_000)
    assert few > 100  # a run's own: else nothing was measured
    assert many - few < 100, (few, many)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_hundred_times_the_shards_take_no_more_memory(tmp_path: Path) -> None:
    memory = load_script("benchmark/streaming").memory
    few, many = memory(tmp_path, 10_000), memory(tmp_path, 1_000_000)
    assert few > 100  # a run's own: else nothing was measured
    assert many - few < 50, (few, many)
