"""From a config's data section to records and what the model is given for each of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch

from showattend.config import Config, DataConfig
from showattend.data.cache import FeatureCache, cache_features
from showattend.data.loader import CachedFeatures, Inputs, Pixels
from showattend.data.readers import read_dataset
from showattend.data.records import PackedRecords
from showattend.data.toy import write_toy
from showattend.data.views import View
from showattend.encoders import Encoder
from showattend.errors import DataError
from showattend.images import Preprocessing
from showattend.processes import Processes
from showattend.training.reporter import Reporter


def dataset_file(data: DataConfig) -> tuple[Path, Path | None]:
    """The data set that a config names, or draws; and the image folder, where it names one.

    Raises:
        DataError: It names none.
    """
    if not data.path:
        raise DataError("data.path is not set: give a dataset.jsonl of `showattend prepare` or toy")
    if data.path == "toy":
        folder = Path(data.cache or "data/cache") / f"toy-{data.toy_images}"
        return write_toy(folder, images=data.toy_images), None
    return Path(data.path), Path(data.images) if data.images else None


def read_records(config: Config) -> PackedRecords:
    """The training and validation images that the config names, or draws.

    Raises:
        DataError: There is no such data set, or one of its two splits is empty.
    """
    data = config.data
    records = PackedRecords(read_dataset(*dataset_file(data)))
    splits = [record.split for record in records]
    keep: set[int] = set()
    for split, count in (("train", data.train_images), ("val", data.val_images)):
        mine = [i for i, each in enumerate(splits) if each == split]
        if count is not None and count < len(mine):
            mine = random.Random(config.train.seed).sample(mine, count)
        keep.update(mine)
    records = records.take(sorted(keep))
    split_rows(records, data.path)  # before an hour of feature extraction
    return records


def split_rows(records: PackedRecords, path: str) -> tuple[list[int], list[int]]:
    """Which records are for training, which for validation.

    Raises:
        DataError: There are none for one of them.
    """
    splits = [record.split for record in records]
    train, val = ([i for i, each in enumerate(splits) if each == s] for s in ("train", "val"))
    if not train or not val:
        raise DataError(
            f"{path}: {len(train)} training and {len(val)} validation images; training needs both"
        )
    return train, val


def cached_inputs(
    config: Config,
    records: PackedRecords,
    encoder: Encoder,
    preprocessing: Preprocessing,
    *,
    dtype: torch.dtype,
    device: torch.device,
    processes: Processes,
    reporter: Reporter,
) -> tuple[PackedRecords, Inputs]:
    """The features of a frozen encoder, computed where they are not in the cache yet.

    Returns:
        The records whose images could be read, and their inputs in the same order.
    """
    everything = range(len(records))
    training, _ = split_rows(records, config.data.path)
    caches: dict[View, FeatureCache] = {}
    failed: dict[int, str] = {}
    for view in _views(config.data):
        rows = everything if view == View() else training  # validation sees images as they are
        caches[view] = cache_features(
            Path(config.data.cache or ""),
            encoder=encoder,
            preprocessing=preprocessing,
            paths=[records[i].path for i in rows],
            dtype=dtype,
            device=device,
            view=view,
            crop_area=config.data.crop_area,
            processes=processes,
            message=reporter.message,
            advance=lambda done, total: reporter.task("Features", done, total),
        )
        failed |= {rows[row]: reason for row, reason in caches[view].failed.items()}
    for reason in failed.values():
        reporter.message(f"skipped: {reason}")
    kept = [i for i in everything if i not in failed]
    place = {i: row for row, i in enumerate(training)}  # in the caches of the training images
    lines = {view: [place.get(i, -1) for i in kept] for view in caches}
    return records.take(kept), CachedFeatures(caches, lines | {View(): kept})


def _views(data: DataConfig) -> list[View]:
    turns = (False, True) if data.mirror else (False,)
    return [View(crop, turned) for crop in range(data.crops + 1) for turned in turns]


def pixel_inputs(
    config: Config, records: PackedRecords, preprocessing: Preprocessing, reporter: Reporter
) -> tuple[PackedRecords, Inputs]:
    """The images themselves, for an encoder that learns.

    Returns:
        The records whose files are there, and their inputs in the same order.
    """
    present = []
    for i, record in enumerate(records):
        if record.path.is_file():
            present.append(i)
        else:
            reporter.message(f"skipped: {record.path}: no such file")
    records = records.take(present)
    return records, Pixels(records, preprocessing, config.train.workers, config.data.crop_area)


class Rows:
    """A subset of the inputs."""

    def __init__(self, inputs: Inputs, rows: Sequence[int]) -> None:
        self.inputs, self.rows = inputs, rows

    def read(self, rows: Sequence[int], views: Sequence[View]) -> torch.Tensor:
        """The inputs of these rows of the subset."""
        return self.inputs.read([self.rows[row] for row in rows], views)
