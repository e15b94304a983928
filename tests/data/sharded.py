"""A small data set and its shards, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from showattend.data.records import Record

WORDS = ("dog", "ball", "red", "blue", "runs", "left", "grass", "man")


def photographs(folder: Path, counts: Mapping[str, int]) -> list[Record]:
    """So many small JPEG files of each split, all different, with two captions each."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for split, count in counts.items():
        for i in range(count):
            path = folder / f"{split}{i:03}.jpg"
            random = np.random.default_rng([i, len(split)])
            Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(path, "JPEG")
            said = [f"a {WORDS[(i + k) % len(WORDS)]} and {split}{i}" for k in (0, 3)]
            records.append(Record(path.stem, path, tuple(said), split))
    return records
