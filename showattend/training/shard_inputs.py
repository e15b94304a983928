"""Makes a run's loaders from a config whose ``data.path`` names shards.

Training images stream from the shards. Validation needs all references at once to score captions,
so those of the validation shards are held in memory, like those of a dataset.jsonl; their images
are not.
"""

from __future__ import annotations

import hashlib
import json
import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from showattend.config import Config, DataConfig
from showattend.data.cache import WHOLE, recipe_of
from showattend.data.loader import CaptionLoader
from showattend.data.mixture import Mixture, name_sets
from showattend.data.records import PackedRecords, Record
from showattend.data.shard_files import ShardFiles
from showattend.data.shard_index import Shard, read_index
from showattend.data.shards import is_shards
from showattend.data.spoken import Spoken
from showattend.data.stream import (
    NO_REWARD,
    Inputs,
    Place,
    ShardFeatures,
    ShardPixels,
    StreamLoader,
    photograph,
)
from showattend.data.views import View
from showattend.exceptions import ConfigError, DataError, shown
from showattend.images.photo_file import PhotoFile
from showattend.images.preprocessing import Preprocessing
from showattend.model.build import build_preprocessing, encoder_of
from showattend.model.encoder import Encoder, encode
from showattend.system.processes import Processes
from showattend.text.vocabulary import Vocabulary
from showattend.training.reporter import Reporter


def uses_shards(data: DataConfig) -> bool:
    """Whether ``data.path`` names shards.

    Raises:
        ConfigError: It names shards and something else, or needs what shards cannot do.
    """
    kinds = [is_shards(each.path) for each in data.sets]
    if not any(kinds):
        return False
    if not all(kinds):
        other = next(each.path for each in data.sets if not is_shards(each.path))
        raise ConfigError(
            f"data.path names shards and {other}: shards are read in the order in which they are "
            "stored, and the images of a dataset.jsonl in any; write shards of it with `showattend "
            "prepare ... --shards`"
        )
    for i, each in enumerate(data.sets):
        if each.images:
            raise ConfigError(
                f"data.images is {each.images}, but the images of {each.path} are in the shards; "
                "leave it out"
            )
        if each.weight != int(each.weight):
            raise ConfigError(
                f"data.path[{i}].weight is {each.weight:g}; with shards it must be a whole number, "
                "since whole shards are drawn"
            )
    return True


@dataclass
class Sharded:
    """The shards of a config.

    Attributes:
        validation: The validation images.
        words: How often each word occurs in the training captions.
        digest: Identifies the data: it changes with any image or caption.
    """

    config: Config
    files: ShardFiles
    draws: list[tuple[int, int]]  # training shards, and the number of images of each
    words: Counter[str]
    captions: int
    features: list[Any]  # the recipe of each data set
    validation: Mixture
    val_files: ShardFiles
    places: np.ndarray  # [N, 2]: the shard and the row of each validation image
    digest: str

    def train_loader(
        self, inputs: Inputs, vocabulary: Vocabulary, processes: Processes
    ) -> StreamLoader:
        """The training images."""
        data, train = self.config.data, self.config.train
        return StreamLoader(
            self.files,
            self.draws,
            self.words,
            self.captions,
            inputs,
            vocabulary,
            batch_size=train.batch_size,
            max_length=data.max_length,
            seed=train.seed,
            mirror=data.mirror,
            crops=data.crops,
            lanes=data.lanes,
            mixed=data.mixed_shards,
            accumulate=train.accumulate,
            processes=processes,
        )

    def val_loader(
        self, inputs: Inputs, vocabulary: Vocabulary, processes: Processes
    ) -> CaptionLoader:
        """The validation images."""
        return CaptionLoader(
            self.validation.records,
            _Rows(self.val_files, self.places, inputs),
            vocabulary,
            batch_size=self.config.train.batch_size,
            max_length=self.config.data.max_length,
            processes=processes,
            spoken=self.validation.spoken,
        )

    def inputs(
        self,
        frozen: Encoder | None,
        preprocessing: Preprocessing,
        dtype: torch.dtype,
        reporter: Reporter,
    ) -> Inputs:
        """The model's inputs: the features in the shards, if they are from its encoder.

        Args:
            frozen: The part of the encoder that does not learn; None to use images.
            preprocessing: Converts a file to the encoder's input.
            dtype: The precision of the run.
            reporter: Receives a line if the features are not used.
        """
        data = self.config.data
        if frozen is not None and all(self.features):
            why = _unfit(self.features, frozen, preprocessing, dtype, data)
            if why is None:
                rows, columns = frozen.grid(preprocessing.size)
                return ShardFeatures((rows, columns, frozen.dim))
            reporter.message(f"the features in the shards are not used: {why}; images are decoded")
        return ShardPixels(preprocessing, self.config.train.workers, data.crop_area)

    def photos(self, count: int) -> list[PhotoFile]:
        """The first validation photographs."""
        places, records = self.places[:count].tolist(), self.validation.records
        self.val_files.also(shard for shard, _ in places)
        return [
            photograph(Place(self.val_files.get(shard), row, records[i].path.name))
            for i, (shard, row) in enumerate(places)
        ]


class _Rows:
    """The inputs of validation images for `CaptionLoader`."""

    def __init__(self, files: ShardFiles, places: np.ndarray, inputs: Inputs) -> None:
        self.files, self.places, self.inputs = files, places, inputs

    def read(self, rows: Sequence[int], views: Sequence[View]) -> torch.Tensor:
        """The inputs [B, ...] of these images, each in its view."""
        places = [self.places[row].tolist() for row in rows]
        self.files.also(shard for shard, _ in places)
        return self.inputs.read(
            [
                Place(self.files.get(shard), row, f"sample {row}", view)
                for (shard, row), view in zip(places, views, strict=True)
            ]
        )


def _unfit(
    features: Sequence[Any],
    frozen: Encoder,
    preprocessing: Preprocessing,
    dtype: torch.dtype,
    data: DataConfig,
) -> str | None:
    """Why features cannot be used; None if they can."""
    if data.mirror or data.crops:
        return "they are of whole images, and data.mirror or data.crops needs other views"
    wanted = recipe_of(frozen, preprocessing, dtype, WHOLE, 1.0)
    for recipe in features:
        for key, mine in wanted.items():
            if key != "dtype" and recipe.get(key) != mine:
                return _difference(key, recipe.get(key), mine)
    return None


def _difference(key: str, theirs: Any, mine: Any) -> str:
    """The first difference between two recipes' values, or within them."""
    if isinstance(theirs, dict) and isinstance(mine, dict):
        for each in (*mine, *theirs):
            if each not in theirs or each not in mine or theirs[each] != mine[each]:
                return _difference(each, theirs.get(each), mine.get(each))
    return f"their {shown(key).strip(chr(39))} is {shown(theirs)}, that of this run {shown(mine)}"


def read_shards(config: Config) -> Sharded:
    """Read the indices of a config's shards, and the validation captions.

    Raises:
        DataError: An index or a validation shard cannot be read, or a split is empty.
        ConfigError: The config needs what shards cannot do.
    """
    data, seed = config.data, config.train.seed
    if config.self_critical.epochs:
        raise ConfigError(NO_REWARD)
    for key, value in (("data.lanes", data.lanes), ("data.mixed_shards", data.mixed_shards)):
        if value < 1:
            raise ConfigError(f"{key} is {value}; it must be 1 or more")
    shards: list[Shard] = []
    set_of: list[int] = []
    words: Counter[str] = Counter()
    features = []
    digest = hashlib.sha256()
    for which, each in enumerate(data.sets):
        index = read_index(each.path)
        words += index.words
        features.append(index.features)
        shards += index.shards
        set_of += [which] * len(index.shards)
        digest.update(json.dumps([(s.split, s.images, s.digest) for s in index.shards]).encode())
    draws = _draws(shards, set_of, data, seed)
    folder = None if data.cache is None else Path(data.cache) / "shards"
    val_files = ShardFiles(shards, folder)
    validation, places = _validation(val_files, set_of, data, seed)
    return Sharded(
        config,
        ShardFiles(shards, folder),
        draws,
        words,
        sum(shard.captions for shard in shards if shard.split == "train"),
        features,
        validation,
        val_files,
        places,
        digest.hexdigest(),
    )


def _draws(
    shards: Sequence[Shard], set_of: Sequence[int], data: DataConfig, seed: int
) -> list[tuple[int, int]]:
    """The training shards to draw, and the number of images of each.

    Training images are stored in random order: the first of a few random shards are random images.

    Raises:
        DataError: There are none, or no validation shards.
    """
    training = [i for i, shard in enumerate(shards) if shard.split == "train"]
    held = sum(shard.images for shard in shards if shard.split == "val")
    if not training or not held:
        images = sum(shards[i].images for i in training)
        raise DataError(
            f"{data.said}: {images:,} training and {held:,} validation images; training needs "
            "both: a pattern such as DIR/*.tar names the shards of all splits"
        )
    if data.train_images is not None:
        random.Random(seed).shuffle(training)
    left = data.train_images or sum(shard.images for shard in shards)
    draws = []
    for i in training:
        count = min(left, shards[i].images)
        left -= count
        if count:
            draws += [(i, count)] * int(data.sets[set_of[i]].weight)
    return draws


def _validation(
    files: ShardFiles, set_of: Sequence[int], data: DataConfig, seed: int
) -> tuple[Mixture, np.ndarray]:
    """The validation images, with the shard and the row of each."""
    chosen = [
        (i, row)
        for i, shard in enumerate(files.shards)
        if shard.split == "val"
        for row in range(shard.images)
    ]
    if data.val_images is not None and data.val_images < len(chosen):
        chosen = sorted(random.Random(seed).sample(chosen, data.val_images))
    numbers = array("H")

    def read() -> Iterator[Record]:
        for i, row in chosen:
            files.also([i])
            shard = files.get(i)
            values = shard.values(row)
            path = Path(f"{shard.shard.place}/{values.get('image', row)}")
            numbers.append(set_of[i])
            yield Record(values.get("image_id", row), path, tuple(values["captions"]), "val")

    records = PackedRecords(read())
    mixture = Mixture(
        records,
        np.asarray(numbers, np.uint16),
        name_sets([each.path for each in data.sets], [each.name for each in data.sets]),
        tuple(each.weight for each in data.sets),
        Spoken(records),
    )
    return mixture, np.array(chosen, np.int64).reshape(-1, 2)


class EncodedPhotos:
    """The features of photographs from the frozen part of a config's encoder, to be stored in
    shards.

    Args:
        config: The config of the run that the shards are for.
        device: The device to run on.
        dtype: The precision of the encoder's products.

    Raises:
        ConfigError: The encoder is unknown, or its frozen part cannot be separated.
    """

    def __init__(self, config: Config, device: torch.device, dtype: torch.dtype) -> None:
        encoder = encoder_of(config.encoder, pretrained=config.encoder.pretrained)
        self.preprocessing = build_preprocessing(config.encoder)
        encoder.measure(self.preprocessing.size)
        if not config.encoder.pretrained:
            raise ConfigError(
                "--features with encoder.pretrained false: random weights are not the same in the "
                "run that reads them"
            )
        frozen = frozen_part(encoder, config, self.preprocessing.size)
        if frozen is None:
            raise ConfigError(
                f"--features: {config.encoder.name} has no part before "
                f"{config.encoder.finetune_from} that can be kept; leave --features out"
            )
        self.encoder, self.dtype, self.device = frozen.to(device), dtype, device
        self.recipe = recipe_of(frozen, self.preprocessing, dtype, WHOLE, 1.0)

    @torch.inference_mode()
    def encode(self, photos: Sequence[PhotoFile]) -> list[np.ndarray]:
        """The features [H, W, D] of each photograph, float16, or float32 if they need it.

        Raises:
            DataError: A photograph gives numbers that are not finite.
        """
        pixels = np.stack([self.preprocessing.load_pixels(photo).pixels for photo in photos])
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(self.device)
        found = encode(self.encoder, batch, self.preprocessing, self.dtype).float().cpu()
        features = []
        for photo, each in zip(photos, found, strict=True):
            if not each.isfinite().all():
                raise DataError(
                    f"{photo}: encoder {self.encoder.name} gives numbers that are not finite"
                )
            small = each.abs().max() <= torch.finfo(torch.float16).max
            features.append((each.half() if small else each).numpy())
        return features


def frozen_part(
    encoder: Encoder,
    config: Config,
    size: int,
    message: Callable[[str], None] = lambda _: None,
) -> Encoder | None:
    """The part of an encoder whose output never changes: all of it, or the part before the stages
    that learn; None if these cannot be split off.

    Args:
        encoder: The encoder, already measured.
        config: The config of the run.
        size: The side of the images in pixels.
        message: Called with a line if there is no such part.
    """
    if not config.encoder.finetune_from:
        return encoder
    frozen = encoder.before(config.encoder.finetune_from, size)
    if frozen is None:
        message(
            f"{config.encoder.name} cannot be cut before {config.encoder.finetune_from}: there "
            "is no cache, images are decoded and encoded again for every batch, which is slow"
        )
    return frozen
