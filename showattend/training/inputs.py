"""From a config's data section to records and what the model is given for each of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
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
from showattend.processes import ALONE, Processes
from showattend.training.reporter import Reporter

_LISTED = 10  # images left out that are named; the others are only counted


def dataset_file(data: DataConfig, processes: Processes = ALONE) -> tuple[Path, Path | None]:
    """The data set that a config names, or draws; and the image folder, where it names one.

    Of several processes, all of which call this, the first draws.

    Raises:
        DataError: It names none, or one that is not there; or the pictures cannot be drawn.
    """
    if not data.path:
        raise DataError("data.path is not set: give a dataset.jsonl of `showattend prepare` or toy")
    if data.path == "toy":
        folder = Path(data.cache or "data/cache") / f"toy-{data.toy_images}"
        failed = None
        if processes.first:
            try:
                write_toy(folder, images=data.toy_images)
            except DataError as error:
                failed = str(error)
        if (failed := processes.gather(failed)[0]) is not None:  # all wait for it
            raise DataError(failed)
        return folder / "dataset.jsonl", None
    path = Path(data.path)
    if path.suffix.lower() == ".jsonl" and _is_absent(path):
        raise DataError(f"{path}: no such file; make it with `showattend prepare`")
    return path, Path(data.images) if data.images else None


def read_records(config: Config, processes: Processes) -> PackedRecords:
    """The training and validation images that the config names, or draws.

    Args:
        config: The config of the run.
        processes: All of them call this.

    Raises:
        DataError: There is no such data set, or one of its two splits is empty.
    """
    data = config.data
    records = PackedRecords(read_dataset(*dataset_file(data, processes)))
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

    Raises:
        DataError: None of the images is there, or the cache cannot be used.
    """
    _not_moved(records, config.data)  # before room is taken for their features
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
    _tell(failed.values(), reporter)
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

    Raises:
        DataError: None of them is there.
    """
    _not_moved(records, config.data)
    there = [_is_there(record.path) for record in records]
    absent = (i for i, found in enumerate(there) if not found)
    _tell((f"{records[i].path}: no such file" for i in absent), reporter)
    records = records.take(i for i, found in enumerate(there) if found)
    return records, Pixels(records, preprocessing, config.train.workers, config.data.crop_area)


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that may not be searched
        return False


def _is_absent(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:  # any other is told of by the reader
        return isinstance(error, FileNotFoundError)
    return False


def _not_moved(records: PackedRecords, data: DataConfig) -> None:
    """Refuse a data set without any of its images."""
    if not any(_is_there(record.path) for record in records):
        raise DataError(
            f"{records[0].path.parent}: none of the {len(records):,} images of {data.path} is "
            f"there (the first: {records[0].path.name}); give their folder as data.images=DIR, "
            "or prepare the data set again"
        )


def _tell(reasons: Iterable[str], reporter: Reporter) -> None:
    """Name the images that are left out, if they are few."""
    count = 0
    for count, reason in enumerate(reasons, start=1):
        if count <= _LISTED:
            reporter.message(f"skipped: {reason}")
    if count > _LISTED:
        reporter.message(f"skipped: and {count - _LISTED:,} more")


class Rows:
    """A subset of the inputs."""

    def __init__(self, inputs: Inputs, rows: Sequence[int]) -> None:
        self.inputs, self.rows = inputs, np.asarray(rows)

    def read(self, rows: Sequence[int], views: Sequence[View]) -> torch.Tensor:
        """The inputs of these rows of the subset."""
        return self.inputs.read(self.rows[np.asarray(rows)].tolist(), views)
