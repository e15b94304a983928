"""Measure the cost of each stage from photographs to a model, and project it to COCO.

python scripts/benchmark/scaling.py [--images N] [--stages fetch,decode,...] [--output FILE]

Photographs and captions are synthetic (640 x 480 pixels, ten words), so nothing is downloaded. The
package's own functions are timed. Prints a table of rates, and the hours for COCO's training images
and for ten million; --output writes the record, and --out FOLDER rates.json and rates.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from socket import socket
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from showattend import Captioner
from showattend.config import load_config
from showattend.data.cache import cache_features
from showattend.data.coco.prepare_coco import prepare_coco
from showattend.evaluation.scores.metrics import score_captions
from showattend.images.preprocessing import Preprocessing
from showattend.model.backbones import RECIPES
from showattend.model.build import build_encoder
from showattend.system.device import choose_device, choose_dtype
from showattend.system.files import write_json
from showattend.system.provenance import portable, remember_command, stamp
from showattend.training.trainer import train

COCO = 113_287  # Karpathy's training images including restval
LARGE = 10_000_000
EPOCHS = 20
VALIDATION = 32
MODELS = ("everyday", "flickr8k")
ENCODERS = (("efficientnet_lite0", 224), ("efficientnet_lite2", 288), ("resnet101", 320))


@dataclass
class Rate:
    """A measured rate in images per second (median and range), and the storage per image."""

    stage: str
    what: str
    images_per_second: float
    lowest: float
    highest: float
    kilobytes: float | None = None


@dataclass
class Bench:
    """The folder of the synthetic data, and the rates measured so far."""

    folder: Path
    images: int
    rates: list[Rate]

    def photos(self) -> list[Path]:
        """The image files on the server."""
        return sorted((self.folder / "server" / "train2014").glob("*.jpg"))

    def note(
        self, stage: str, what: str, per_second: Sequence[float], kilobytes: float | None = None
    ) -> None:
        """Record and print a rate."""
        middle = statistics.median(per_second)
        rate = Rate(stage, what, middle, min(per_second), max(per_second), kilobytes)
        self.rates.append(rate)
        print(line(rate), flush=True)


HEAD = (
    "| stage | what | images per second | from, to | kB per image |",
    "|---|---|---:|---:|---:|",
)


def line(rate: Rate) -> str:
    """Format a rate as a row of the table."""
    kilobytes = "" if rate.kilobytes is None else f"{rate.kilobytes:,.0f}"
    spread = f"{rate.lowest:,.1f} to {rate.highest:,.1f}"
    return (
        f"| {rate.stage} | {rate.what} | {rate.images_per_second:,.1f} | {spread} | {kilobytes} |"
    )


def make(folder: Path, images: int) -> None:
    """Write photographs as smooth as real ones, and COCO caption files."""
    rng = np.random.default_rng(0)
    served = folder / "server" / "train2014"
    served.mkdir(parents=True)
    blobs = []
    for _ in range(12):
        rough = Image.fromarray(rng.integers(0, 256, (480, 640, 3), np.uint8))
        smooth = np.asarray(rough.filter(ImageFilter.GaussianBlur(1.1))).astype(np.float32)
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((640, 480))
        mixed = 0.6 * np.asarray(coarse) + 1.2 * (smooth - 127) + 50
        path = folder / "photo.jpg"
        Image.fromarray(mixed.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        blobs.append(path.read_bytes())
    words = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(600)]
    entries: list[dict[str, object]] = []
    captions: list[dict[str, object]] = []
    for number in range(images + VALIDATION):
        name = f"COCO_train2014_{number:012}.jpg"
        (served / name).write_bytes(blobs[number % len(blobs)])
        entries.append({"id": number, "file_name": name, "width": 640, "height": 480})
        for _ in range(5):
            length = int(np.clip(rng.normal(10.5, 2.4), 5, 25))
            text = " ".join(rng.choice(words, length))
            captions.append({"id": len(captions), "image_id": number, "caption": text})
    for split, chosen in (("train", range(images)), ("val", range(images, images + VALIDATION))):
        content = {
            "images": [entries[number] for number in chosen],
            "annotations": [each for each in captions if each["image_id"] in chosen],
        }
        (folder / f"captions_{split}2014.json").write_text(json.dumps(content))


# The stages ----------------------------------------------------------------------------------


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, "--directory", str(folder)], **quiet)  # type: ignore[call-overload]
    try:
        for _ in range(100):
            with closing(socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def fetch(bench: Bench) -> None:
    """Time `prepare coco` with a server on this machine: requests, checks, writing, the index."""
    captions = [bench.folder / f"captions_{split}2014.json" for split in ("train", "val")]
    size = bench.photos()[0].stat().st_size / 1000
    with _server(bench.folder / "server") as address:
        start = time.perf_counter()
        prepare_coco(bench.folder / "data", annotations=captions, base_url=address)
        took = time.perf_counter() - start
    bench.note("fetch", "from this machine", [(bench.images + VALIDATION) / took], size)


def _repeat(images: int, work: Callable[[], None], times: int = 3) -> list[float]:
    rates = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        rates.append(images / (time.perf_counter() - start))
    return rates


def decode(bench: Bench) -> None:
    """Time decoding a JPEG to the network's input on one thread."""
    preprocessing, photos = Preprocessing(288), bench.photos()[:100]

    def work() -> None:
        for path in photos:
            preprocessing.load_pixels(path)

    bench.note("decode", "one thread, to 288 pixels", _repeat(len(photos), work))


def extract(bench: Bench) -> None:
    """Time extracting features to the cache with several encoders."""
    device = choose_device("auto")
    dtype = choose_dtype("auto", device)
    for name, size in ENCODERS:
        encoder = build_encoder(name=name, pretrained=False)
        recipe = RECIPES[name]
        preprocessing = Preprocessing(size, mean=recipe.mean, std=recipe.std)
        count = 64 if name == "resnet101" else 192
        kilobytes = float(np.prod(encoder.measure(size))) * 2 / 1000
        rates = []
        for part in range(3):
            paths = (5 * bench.photos())[part * count : (part + 1) * count]
            start = time.perf_counter()
            cache_features(
                bench.folder / f"cache{part}",
                encoder=encoder,
                preprocessing=preprocessing,
                paths=paths,
                dtype=dtype,
                device=device,
            )
            rates.append(len(paths) / (time.perf_counter() - start))
        bench.note("extract", f"{name}, {size} pixels", rates, kilobytes)


def _config(bench: Bench, name: str, *changes: str) -> list[str]:
    data = bench.folder / "data" / "dataset.jsonl"
    if not data.exists():
        captions = [bench.folder / f"captions_{split}2014.json" for split in ("train", "val")]
        prepare_coco(
            data.parent, annotations=captions, image_root=bench.folder / "server/train2014"
        )
    out = bench.folder / "runs" / str(len(list((bench.folder / "runs").glob("*"))))
    out.parent.mkdir(exist_ok=True)
    cache = (
        []
        if any(change.startswith("data.cache") for change in changes)
        else [f"data.cache={bench.folder / 'cache'}"]
    )
    return [
        name, f"data.path={data}", f"train.out={out}", "encoder.pretrained=false",
        "train.validate_from=99", "train.patience=0", f"data.val_images={VALIDATION}",
        "train.validate_beam=1", "train.save_every=60", *cache, *changes,
    ]  # fmt: skip


def _epochs(record: dict[str, Any], images: int) -> list[float]:
    """Images per second in each epoch except the first (warm-up) and the last (validated)."""
    ends = [entry["seconds"] for entry in record["history"]]
    return [images / (b - a) for a, b in itertools.pairwise(ends[:-1])]


def _trained(bench: Bench, images: int, name: str, *changes: str) -> list[float]:
    config, *overrides = _config(bench, name, f"data.train_images={images}", *changes)
    return _epochs(train(load_config(config, overrides)), images)


def learn(bench: Bench) -> None:
    """Time epochs: from the cache, with trained encoder stages, from pixels, self-critical."""
    subset, whole = "configs/coco_subset.yaml", "configs/coco.yaml"
    plain = ("train.epochs=5", "data.crops=0", "data.mirror=false")
    bench.note("train", f"cached, {subset}", _trained(bench, bench.images, subset, *plain))
    opened = ("encoder.finetune_from=blocks.5", "train.finetune_after=0", *plain)
    bench.note("train", "the same, last two stages opened", _trained(bench, 96, subset, *opened))
    pixels = (
        "data.cache=null",
        "train.epochs=4",
        "train.finetune_after=0",
        "train.batch_size=16",
        "data.mirror=false",
    )
    bench.note("train", f"from pixels, {whole}", _trained(bench, 64, whole, *pixels))
    reward = ("train.epochs=0", "self_critical.epochs=4", "data.crops=0", "data.mirror=false")
    start = bench.folder / "runs" / "0"
    rates = _trained(bench, 96, subset, *reward, f"train.init_from={start}")
    bench.note("train", "self-critical, cached", rates)


def processes(bench: Bench) -> None:
    """Time one process of one thread against two, with the same batch size in each process."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    several = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    several += ["--rdzv-endpoint", "localhost:0", "-m", "showattend", "train"]
    found: dict[str, list[float]] = {"one": [], "two": []}
    for _ in range(2):
        for which, start in (("one", ["-m", "showattend", "train"]), ("two", several)):
            arguments = _config(
                bench, "configs/coco_subset.yaml", "train.epochs=5", "data.crops=0",
                "data.mirror=false", f"data.train_images={bench.images}",
            )  # fmt: skip
            command = [sys.executable, *start, *arguments]
            subprocess.run(command, env=environment, check=True, capture_output=True)
            out = next(a.partition("=")[2] for a in arguments if a.startswith("train.out="))
            record = json.loads((Path(out) / "training.json").read_text())
            found[which] += _epochs(record, bench.images)
    bench.note("processes", "one of one thread, cached", found["one"])
    bench.note("processes", "two of one thread, cached", found["two"])
    ratio = statistics.median(found["two"]) / statistics.median(found["one"])
    print(f"two processes reach {ratio:.2f} times the images per second of one")


def caption(bench: Bench) -> None:
    """Time captioning image files with each shipped model, and scoring captions."""
    photos = bench.photos()[:128]
    for model in MODELS:
        captioner = Captioner.from_pretrained(model)

        def work(captioner: Captioner = captioner) -> None:
            for _ in captioner.stream(photos):
                pass

        work()
        size = captioner.preprocessing.size
        bench.note("caption", f"{model}, {size} pixels, beam 5", _repeat(len(photos), work))
    rng, words = np.random.default_rng(0), [f"word{i}" for i in range(500)]
    said = {i: " ".join(rng.choice(words, 10)) for i in range(1000)}
    references = {i: [" ".join(rng.choice(words, 10)) for _ in range(5)] for i in range(1000)}

    def score() -> None:
        score_captions(references, said)

    bench.note("score", "1,000 captions, all metrics", _repeat(1000, score))


STAGES: dict[str, Callable[[Bench], None]] = {
    "fetch": fetch,
    "decode": decode,
    "extract": extract,
    "learn": learn,
    "processes": processes,
    "caption": caption,
}


# Projection to a large data set -----------------------------------------------------------


def projection(rates: Sequence[Rate]) -> list[str]:
    """Compute hours and gigabytes from the rates, as rows of a table."""
    rows = [
        f"| stage | what | COCO, {COCO:,} images | {LARGE:,} images |",
        "|---|---|---:|---:|",
    ]
    for rate in rates:
        epochs = EPOCHS if rate.stage in ("train", "processes") else 1
        cells = []
        for images in (COCO, LARGE):
            hours = f"{images * epochs / rate.images_per_second / 3600:,.1f} h"
            stored = "" if rate.kilobytes is None else f", {images * rate.kilobytes / 1e6:,.0f} GB"
            cells.append(hours + stored)
        what = rate.what + (f", {EPOCHS} epochs" if epochs > 1 else "")
        rows.append(f"| {rate.stage} | {what} | {cells[0]} | {cells[1]} |")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the selected stages."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=512, help="number of synthetic photographs")
    parser.add_argument("--stages", default=",".join(STAGES), help="which, comma-separated")
    parser.add_argument("--out", type=Path, help="folder for rates.json and rates.md")
    parser.add_argument("--output", type=Path, help="file for the record")
    given = parser.parse_args(arguments)
    remember_command(sys.argv[1:] if arguments is None else arguments, "benchmark/scaling.py")
    chosen = given.stages.split(",")
    if unknown := set(chosen) - STAGES.keys():
        parser.error(f"unknown stage {', '.join(unknown)}; known: {', '.join(STAGES)}")
    device = choose_device("auto")
    machine = (
        f"{torch.cuda.get_device_name() if device.type == 'cuda' else device.type}, "
        f"{os.cpu_count()} processors, {torch.get_num_threads()} threads, "
        f"{str(choose_dtype('auto', device)).removeprefix('torch.')}, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )
    print(machine, *HEAD, sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), given.images, [])
        make(bench.folder, given.images)
        for name in chosen:
            STAGES[name](bench)
    rows = projection(bench.rates)
    print("", *rows, sep="\n")
    found = {
        "machine": machine,
        "images": given.images,
        "rates": [asdict(rate) for rate in bench.rates],
        "provenance": stamp(device),
    }
    if given.output:
        write_json(given.output, portable(found))
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        write_json(given.out / "rates.json", portable(found))
        page = [machine, "", *HEAD, *map(line, bench.rates), "", *rows, ""]
        (given.out / "rates.md").write_text("\n".join(page))


if __name__ == "__main__":
    main()
