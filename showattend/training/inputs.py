"""Makes records, and the model's inputs for them, from a config's data section."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from showattend.config import Config, DataConfig
from showattend.data.cache import FeatureCache, cache_features
from showattend.data.loader import CachedFeatures, Inputs, Pixels
from showattend.data.mixture import Mixture, check_apart, name_sets
from showattend.data.readers import read_dataset
from showattend.data.records import PackedRecords, Record
from showattend.data.toy import write_toy
from showattend.data.views import View
from showattend.exceptions import DataError
from showattend.images.preprocessing import Preprocessing
from showattend.model.encoder import Encoder
from showattend.system.processes import ALONE, Processes
from showattend.training.reporter import Reporter

_LISTED = 10  # omitted images to name; the others are only counted


def dataset_file(
    data: DataConfig, processes: Processes = ALONE, which: int = 0
) -> tuple[Path, Path | None]:
    """The data set that a config names or draws, and its image folder if it names one.

    All processes call this; the first on each machine draws.

    Args:
        data: The section of the config.
        processes: The processes of the run.
        which: The index among several data sets.

    Raises:
        DataError: It names none, or a missing one; or the pictures cannot be drawn.
    """
    chosen = data.sets[which]
    if not chosen.path:
        raise DataError(
            "data.path is not set: give a dataset.jsonl from `showattend prepare`, or toy"
        )
    if chosen.path == "toy":
        folder = Path(data.cache or "data/cache") / f"toy-{data.toy_images}"
        sharing = processes.sharing(folder.parent)
        sharing.from_first(lambda: write_toy(folder, images=data.toy_images))  # all wait for it
        return folder / "dataset.jsonl", None
    path = Path(chosen.path)
    if path.suffix.lower() == ".jsonl" and _is_absent(path):
        raise DataError(f"{path}: no such file; make it with `showattend prepare`")
    return path, Path(chosen.images) if chosen.images else None


def read_mixture(config: Config, processes: Processes) -> Mixture:
    """The training and validation images that the config names or draws.

    Args:
        config: The config of the run.
        processes: All of them call this.

    Raises:
        DataError: There is no such data set, one of the two splits is empty, or an image is in
            both.
    """
    data = config.data
    set_of = array("H")

    def read() -> Iterator[Record]:
        for which in range(len(data.sets)):
            for record in read_dataset(*dataset_file(data, processes, which)):
                set_of.append(which)
                yield record

    records = PackedRecords(read())
    sets = data.sets
    mixture = Mixture(
        records,
        np.asarray(set_of, np.uint16),
        name_sets([each.path for each in sets], [each.name for each in sets]),
        tuple(each.weight for each in sets),
    )
    keep: set[int] = set()
    for split, count in (("train", data.train_images), ("val", data.val_images)):
        mine = mixture.rows(split)
        if count is not None and count < len(mine):
            mine = random.Random(config.train.seed).sample(mine, count)
        keep.update(mine)
    mixture = mixture.take(sorted(keep))
    split_rows(mixture, data)  # before an hour of feature extraction
    check_apart(mixture)
    return mixture


def split_rows(mixture: Mixture, data: DataConfig) -> tuple[list[int], list[int]]:
    """Divide records between training and validation.

    Raises:
        DataError: One of them has none, or a data set has none for either.
    """
    train, val = mixture.rows("train"), mixture.rows("val")
    if not train or not val:
        raise DataError(
            f"{data.said}: {len(train)} training and {len(val)} validation images; "
            "training needs both: prepare it again with --val-fraction 0.1, or write "
            '"split": "val" (or "train") into some lines of dataset.jsonl'
        )
    for which, each in enumerate(data.sets):
        if not (mixture.set_of == which).any() and data.train_images is data.val_images is None:
            raise DataError(f"{each.path}: no training and no validation images")
    return train, val


def cached_inputs(
    config: Config,
    mixture: Mixture,
    encoder: Encoder,
    preprocessing: Preprocessing,
    *,
    dtype: torch.dtype,
    device: torch.device,
    processes: Processes,
    reporter: Reporter,
) -> tuple[Mixture, Inputs]:
    """The features of a frozen encoder, computed unless they are in the cache.

    An image is computed once, even if several data sets have it.

    Returns:
        The images that could be read, and their inputs in the same order.

    Raises:
        DataError: No image exists, or the cache cannot be used.
    """
    _not_moved(mixture, config.data)  # before reserving room for their features
    # Machines with separate caches each fill their own.
    processes = processes.sharing(Path(config.data.cache or ""))
    training, _ = split_rows(mixture, config.data)
    records = mixture.records
    caches: dict[View, FeatureCache] = {}
    places: dict[View, np.ndarray] = {}
    failed: dict[int, str] = {}
    for view in _views(config.data):
        rows = range(len(records)) if view == View() else training  # validation: as they are
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
        places[view] = np.zeros(len(records), np.intp)
        places[view][np.asarray(rows, np.intp)] = np.arange(len(rows))
        failed |= {rows[image]: reason for image, reason in caches[view].failed.items()}
    _tell(failed.values(), reporter)
    kept = [i for i in range(len(records)) if i not in failed]
    found = CachedFeatures(caches, {view: each[kept].tolist() for view, each in places.items()})
    return mixture.take(kept), found


def _views(data: DataConfig) -> list[View]:
    turns = (False, True) if data.mirror else (False,)
    return [View(crop, turned) for crop in range(data.crops + 1) for turned in turns]


def pixel_inputs(
    config: Config, mixture: Mixture, preprocessing: Preprocessing, reporter: Reporter
) -> tuple[Mixture, Inputs]:
    """The images themselves, for an encoder that learns.

    Returns:
        The images whose files exist, and their inputs in the same order.

    Raises:
        DataError: None of them exists.
    """
    _not_moved(mixture, config.data)
    records = mixture.records
    there = [_is_there(record.path) for record in records]
    absent = (i for i, found in enumerate(there) if not found)
    _tell((f"{records[i].path}: no such file" for i in absent), reporter)
    mixture = mixture.take(i for i, found in enumerate(there) if found)
    workers, area = config.train.workers, config.data.crop_area
    return mixture, Pixels(mixture.records, preprocessing, workers, area)


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that may not be searched
        return False


def _is_absent(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:  # the reader reports any other
        return isinstance(error, FileNotFoundError)
    return False


def _not_moved(mixture: Mixture, data: DataConfig) -> None:
    """Refuse a data set without any of its images.

    Raises:
        DataError: There are none; the message names the data set, and how to set their folder.
    """
    for which, each in enumerate(data.sets):
        mine = [i for i, found in enumerate(mixture.set_of) if found == which]
        if mine and not any(_is_there(mixture.records[i].path) for i in mine):
            first = mixture.records[mine[0]].path
            key = "data.images" if len(data.sets) == 1 else f"images of data.path[{which}]"
            raise DataError(
                f"{first.parent}: none of the {len(mine):,} images of {each.path} is there "
                f"(the first: {first.name}); give their folder as {key}=DIR, "
                "or prepare the data set again"
            )


def _tell(reasons: Iterable[str], reporter: Reporter) -> None:
    """Name the omitted images, if they are few."""
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
        """Return the inputs [B, ...] of these records, each in its view."""
        return self.inputs.read(self.rows[np.asarray(rows)].tolist(), views)
