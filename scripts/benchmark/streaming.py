"""Compare training from shards with training from a folder, and measure the memory of a stream.

python scripts/benchmark/streaming.py [--images N] [--repeats N] [--memory N,N] [--output FILE]

Rates are of whole epochs after the first, folder and shards in turn. Photographs and captions are
those of scripts/benchmark/scaling.py. For --memory, one shard of 1,000 images is linked under as
many names as needed: only a process's own memory is measured, which does not hold the images.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from scaling import Bench, make

from showattend.config import load_config
from showattend.data.coco.prepare_coco import prepare_coco
from showattend.data.prepare import Sharding
from showattend.system.device import choose_device, choose_dtype
from showattend.system.files import write_json
from showattend.system.provenance import portable, remember_command, stamp
from showattend.training.reporter import Silent
from showattend.training.shard_inputs import EncodedPhotos
from showattend.training.trainer import train

PLAIN = (
    "data.mirror=false", "data.crops=0", "train.validate_from=99", "train.validate_beam=1",
    "train.patience=0", "train.save_every=60", "encoder.name=efficientnet_lite0",
    "encoder.size=224",
)  # fmt: skip
CONFIG = Path("configs/coco_subset.yaml")
KINDS = {"features": (), "images": ("data.cache=null",)}
SHARD = 1000


class Clock(Silent):
    """Records the time and the process's own processor time at the end of each epoch."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def epoch(self, entry: dict[str, Any], best: bool) -> None:  # noqa: ARG002
        """Note them."""
        self.ends.append((time.perf_counter(), time.process_time()))

    def rates(self, images: int, which: int) -> list[float]:
        """Images per second of each epoch but the first (warm-up) and the last (validated)."""
        ends = [each[which] for each in self.ends[:-1]]
        return [images / (b - a) for a, b in itertools.pairwise(ends)]


def rates(folder: Path, images: int, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Rates from the folder and from its shards, with features and with images.

    They are images per second, and per second of processor time (``... cpu``), which other programs
    on the machine affect less.
    """
    bench = Bench(folder, images, [])
    make(folder, images)
    config = load_config(CONFIG, list(PLAIN))
    device = choose_device("auto")
    features = EncodedPhotos(config, device, choose_dtype(config.train.precision, device))
    prepare_coco(
        folder / "data",
        annotations=[folder / f"captions_{split}2014.json" for split in ("train", "val")],
        image_root=folder / "server/train2014",
        shards=Sharding(folder / "shards", 100, features),
    )
    places = {"folder": folder / "data/dataset.jsonl", "shards": folder / "shards/*.tar"}
    found: dict[str, dict[str, list[float]]] = {
        kind: {f"{place}{unit}": [] for place in places for unit in ("", " cpu")} for kind in KINDS
    }
    for number in range(repeats):
        for kind, changes in KINDS.items():
            for place, path in places.items():
                overrides = [
                    f"data.path={path}", f"train.out={folder}/{kind}-{place}-{number}",
                    f"data.cache={folder}/cache", "train.epochs=4", *PLAIN, *changes,
                ]  # fmt: skip
                clock = Clock()
                train(load_config(CONFIG, overrides), clock)
                found[kind][place] += clock.rates(bench.images, 0)
                found[kind][f"{place} cpu"] += clock.rates(bench.images, 1)
    return found


RUN = """
import json, sys
from pathlib import Path
from showattend.config import from_dict, Config
from showattend.training import trainer

folder, out, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])

def private():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))

config = from_dict(Config, {
    "data": {"path": f"{folder}/*.tar", "cache": f"{out}/cache", "min_count": 1},
    "encoder": {"size": 64},
    "decoder": {"embedding_dim": 64, "hidden_dim": 64, "attention_dim": 64},
    "train": {"out": out, "device": "cpu", "epochs": 1, "batch_size": 16, "precision": "fp32",
              "save_every": 1000.0, "patience": 0},
}, "memory")
run = trainer.Trainer(config)
found = []
class Enough(Exception): pass
def task(name, done, total, note=""):
    if name == "Training":
        found.append(private())
        if done == steps: raise Enough
run.reporter.task = task
try:
    run.run()
except Enough:
    print(json.dumps(max(found)))
"""
"""A run of some steps, which prints its largest private memory in megabytes."""


def linked(shard: dict[str, Any], source: Path, folder: Path, images: int) -> None:
    """Shards for this many images: one shard of ``SHARD`` images under many names, and their index.

    Args:
        shard: The shard's entry in its index.
        source: Its folder, with a validation shard too.
        folder: The folder to write.
        images: A multiple of ``SHARD``.
    """
    folder.mkdir()
    index = json.loads((source / "index.json").read_bytes())
    entries = [each for each in index["shards"] if each["split"] == "val"]
    for each in entries:
        os.link(source / each["name"], folder / each["name"])
    for number in range(images // SHARD):
        name = f"train-{number:06}.tar"
        os.link(source / shard["name"], folder / name)
        entries.append(shard | {"name": name})
    words = {word: count * (images // SHARD) for word, count in index["training words"].items()}
    content = index | {"shards": entries, "training words": words}
    (folder / "index.json").write_text(json.dumps(content))


def memory(base: Path, images: int, steps: int = 60) -> float:
    """Megabytes of private memory in the first steps of a run on this many images.

    Args:
        base: A folder in which the first call makes the shard.
        images: The number of images.
        steps: The number of steps, of 16 images each.
    """
    source = base / "one"
    if not source.exists():
        from showattend.config import Config, from_dict
        from showattend.data.records import Record
        from showattend.data.shard_writer import write_shards

        make(base, 1)
        photo = next((base / "server/train2014").glob("*.jpg"))
        words = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(600)]
        records = [
            Record(
                i,
                photo,
                tuple(
                    " ".join(words[(37 * i + 101 * k + 7 * t) % 600] for t in range(11))
                    for k in range(5)
                ),
                "train" if i < SHARD else "val",
            )
            for i in range(SHARD + 4)
        ]
        import torch

        config = from_dict(Config, {"encoder": {"size": 64}}, "memory")
        features = EncodedPhotos(config, torch.device("cpu"), torch.float32)
        write_shards(records, source, size=SHARD, features=features)
    index = json.loads((source / "index.json").read_bytes())
    shard = next(each for each in index["shards"] if each["split"] == "train")
    folder = base / f"shards-{images}"
    linked(shard, source, folder, images)
    command = [sys.executable, "-c", RUN, str(folder), str(base / f"run-{images}"), str(steps)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(json.loads(done.stdout))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=384, help="images of the rates; 0: no rates")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each kind")
    parser.add_argument("--memory", default="10000,1000000", help="numbers of images; 0: none")
    parser.add_argument("--output", "--out", type=Path, help="file for the record")
    given = parser.parse_args(arguments)
    remember_command(sys.argv[1:] if arguments is None else arguments, "benchmark/streaming.py")
    found: dict[str, Any] = {"images": given.images, "repeats": given.repeats}
    with tempfile.TemporaryDirectory() as folder:
        if given.images:
            found["images a second"] = rates(Path(folder), given.images, given.repeats)
            for kind, places in found["images a second"].items():
                middle = {place: statistics.median(each) for place, each in places.items()}
                for unit, name in (("", "second"), (" cpu", "second of processor time")):
                    folder_rate, rate = middle[f"folder{unit}"], middle[f"shards{unit}"]
                    print(
                        f"{kind}: folder {folder_rate:.1f}, shards {rate:.1f} images per {name}; "
                        f"{rate / folder_rate:.2f} times"
                    )
    with tempfile.TemporaryDirectory() as folder:
        for count in [int(each) for each in given.memory.split(",") if int(each)]:
            megabytes = memory(Path(folder), count)
            found.setdefault("private megabytes", {})[count] = megabytes
            print(f"{count:,} images: {megabytes:.0f} MB of private memory")
    if given.output:
        found["provenance"] = stamp(choose_device("auto"))
        write_json(given.output, portable(found))


if __name__ == "__main__":
    main()
