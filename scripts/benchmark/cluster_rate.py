"""Measure the images per second of workers of one core with ``--engine ray``.

python scripts/benchmark/cluster_rate.py [--images N] [--workers 1 2] [--model NAME] [--output FILE]

Photographs are synthetic (640 x 480 pixels) and on this disk; the cluster is this machine. Time
starts once all workers have loaded the model. On a busy machine, the workers' processor time says
more than elapsed time. Needs the extra ``cluster``.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from showattend.export.cluster import caption_many, ray_engine
from showattend.system.files import write_json
from showattend.system.provenance import portable, remember_command, stamp

PART = 8


class Watch(logging.Handler):
    """Tracks when the workers are ready, and which parts came after that."""

    def __init__(self, workers: int) -> None:
        super().__init__(logging.DEBUG)
        self.missing, self.since, self.parts, self.last = workers, 0.0, 0, 0.0
        self.before = self.processor = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Count workers that are ready."""
        if record.getMessage() == "a worker is ready":
            self.missing -= 1
            if not self.missing:
                self.since, self.before = time.monotonic(), worker_seconds()

    def progress(self, *_: int) -> None:
        """Count parts that are done while all workers work."""
        if self.since:
            self.parts, self.last = self.parts + 1, time.monotonic()
            self.processor = worker_seconds() - self.before


def worker_seconds() -> float:
    """Processor seconds of the workers so far (on Linux)."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().startswith(b"ray::_Actor"):
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        except OSError:  # it has ended
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def photographs(folder: Path, count: int) -> None:
    """Write photographs that take as long to decode as real ones."""
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        blurred = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1.2))
        blurred.save(folder / f"{number:06d}.jpg", quality=90)


def rate(folder: Path, workers: int, model: str | None) -> tuple[float, float]:
    """Images per second of this many workers, and their processor seconds per image."""
    watch = Watch(workers)
    log = logging.getLogger(ray_engine.__name__)
    log.setLevel(logging.DEBUG)
    log.addHandler(watch)
    with tempfile.TemporaryDirectory() as output:
        caption_many([str(folder)], output, model=model, part_size=PART, batch_size=PART,
                     workers=workers, device="cpu", progress=watch.progress)  # fmt: skip
    log.removeHandler(watch)
    images = watch.parts * PART
    return images / (watch.last - watch.since), watch.processor / images


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for each number of workers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--model")
    parser.add_argument("--output", type=Path, help="file for the record")
    options = parser.parse_args(arguments)
    remember_command(sys.argv[1:] if arguments is None else arguments, "benchmark/cluster_rate.py")
    rates: list[float] = []
    rows: list[dict[str, Any]] = []
    print("| workers | images per second | times the first | processor seconds per image |")
    print("|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        photographs(Path(name), options.images)
        for workers in options.workers:
            found, seconds = rate(Path(name), workers, options.model)
            rates.append(found)
            rows.append(
                {"workers": workers, "images_per_second": found, "processor_seconds": seconds}
            )
            print(
                f"| {workers} | {found:.2f} | {found / rates[0]:.2f} | {seconds:.3f} |", flush=True
            )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"\nload average at the end: {load:.1f}, of {os.cpu_count()} cores")
    if options.output:
        record = {
            "images": options.images,
            "rows": rows,
            "load": load,
            "provenance": stamp(torch.device("cpu")),
        }
        write_json(options.output, portable(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
