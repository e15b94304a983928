"""Batches of images from shards: a process holds only what it is about to use.

The interface is that of `showattend.data.loader`. The order is that of
`showattend.data.shard_order`; captions are tokenized as they are read.

Shape suffixes: B images, K captions of an image, S shards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, NoReturn, Protocol

import numpy as np
import torch

from showattend.data.loader import Batch, count_captions, count_targets, pad, says_side
from showattend.data.shard_files import OpenShard, ShardFiles
from showattend.data.shard_order import Drawn, EpochOrder
from showattend.data.spoken import Spoken
from showattend.data.views import View, show
from showattend.exceptions import ConfigError, DataError, ImageError
from showattend.images.photo_file import PhotoFile
from showattend.images.preprocessing import Preprocessing
from showattend.system.processes import ALONE, Processes
from showattend.text.tokenizer import tokenize
from showattend.text.vocabulary import Vocabulary


class Place(NamedTuple):
    """A sample of an open shard, the name of its image file, and how to show it."""

    shard: OpenShard
    row: int
    name: str
    view: View = View()


class Inputs(Protocol):
    """The model's inputs of samples."""

    def read(self, places: Sequence[Place]) -> torch.Tensor:
        """The inputs [B, ...] of these samples."""


class ShardPixels:
    """Images decoded for every batch.

    Args:
        preprocessing: Converts a file to the encoder's input.
        workers: The number of decoding threads.
        crop_area: The minimum fraction of an image that a crop keeps.
    """

    def __init__(self, preprocessing: Preprocessing, workers: int, crop_area: float = 1.0) -> None:
        self.preprocessing, self.crop_area = preprocessing, crop_area
        self._pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="decode")

    def read(self, places: Sequence[Place]) -> torch.Tensor:
        """Pixels [B, 3, size, size] uint8.

        Raises:
            DataError: An image cannot be read.
        """
        shown = list(self._pool.map(self._pixels, places))
        return torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).contiguous()

    def _pixels(self, place: Place) -> np.ndarray:
        photo = photograph(place)
        try:
            pixels, _ = self.preprocessing.load_pixels(photo)
        except ImageError as error:
            raise DataError(
                f"{error}; the shard is damaged: copy it again, or prepare it again"
            ) from error
        return show(pixels, place.view, name=place.name, area=self.crop_area)


def photograph(place: Place) -> PhotoFile:
    """The image file of a sample; messages name the shard."""
    return PhotoFile.of(place.shard.image(place.row), f"{place.shard.shard.place}/{place.name}")


class ShardFeatures:
    """Features stored with the images.

    Args:
        shape: The shape of the encoder's output: rows, columns, dim.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape

    def read(self, places: Sequence[Place]) -> torch.Tensor:
        """Annotations [B, H, W, D], float16, or float32 if one of them needs it.

        Raises:
            DataError: Some are missing or damaged.
        """
        found = [place.shard.features(place.row) for place in places]
        for place, each in zip(places, found, strict=True):
            if each.shape != self.shape:
                raise DataError(
                    f"{place.shard.shard.place}/{place.name}: its features have the shape "
                    f"{list(each.shape)}, the encoder yields {list(self.shape)}; prepare the "
                    "shards again with --features"
                )
        dtype = np.float16 if all(each.dtype == np.float16 for each in found) else np.float32
        return torch.from_numpy(np.stack([each.astype(dtype, copy=False) for each in found]))


class _Said(NamedTuple):
    words: list[np.ndarray]  # numbers [T] of each caption
    sideless: list[bool]  # which of them stay true when the image is mirrored


class StreamLoader:
    """Iterates over the training images of shards.

    Args:
        files: The shards.
        draws: The numbers of the shards drawn in an epoch, and the number of images of each.
        words: How often each word occurs in the training captions.
        captions: The number of training captions.
        inputs: The model's inputs.
        vocabulary: Words outside it become ``<unk>``.
        batch_size: The number of images per batch, in each process on average.
        max_length: Longer captions are cut to this many words.
        seed: The seed of the order.
        mirror: See `showattend.data.loader.CaptionLoader`.
        crops: See there.
        lanes: See `EpochOrder`; a multiple of the number of processes.
        mixed: See `EpochOrder`.
        accumulate: The number of batches per step, in each process.
        processes: The processes that share the lanes.

    Raises:
        ConfigError: The number of processes does not divide the lanes.
    """

    def __init__(
        self,
        files: ShardFiles,
        draws: Sequence[tuple[int, int]],
        words: Counter[str],
        captions: int,
        inputs: Inputs,
        vocabulary: Vocabulary,
        *,
        batch_size: int,
        max_length: int = 30,
        seed: int = 0,
        mirror: bool = False,
        crops: int = 0,
        lanes: int = 8,
        mixed: int = 2,
        accumulate: int = 1,
        processes: Processes = ALONE,
    ) -> None:
        if lanes % processes.count:
            raise ConfigError(
                f"data.lanes is {lanes}; with shards it must be a multiple of the number of "
                f"processes, {processes.count}"
            )
        self.files, self.inputs, self.vocabulary = files, inputs, vocabulary
        self.batch_size, self.max_length, self.seed = batch_size, max_length, seed
        self.mirror, self.crops, self.lanes, self.mixed = mirror, crops, lanes, mixed
        self.accumulate, self.processes = accumulate, processes
        self._numbers = [number for number, _ in draws]
        self._counts = np.array([count for _, count in draws], np.int64)
        self._words, self._captions = words, captions

    @property
    def images(self) -> int:
        """The number of images."""
        return sum(dict(zip(self._numbers, self._counts.tolist(), strict=True)).values())

    @property
    def step_size(self) -> int:
        """The number of images per step, over all processes."""
        return self.batch_size * self.accumulate * self.processes.count

    def __len__(self) -> int:
        """The number of steps per epoch."""
        return -(-int(self._counts.sum()) // self.step_size)

    def target_counts(self, size: int) -> np.ndarray:
        """How often each of ``size`` words is a target, in all captions of the index: [V].

        Words beyond ``max_length``, which training leaves out, are counted too.
        """
        counts = np.zeros(size, np.int64)
        words = list(self._words)
        np.add.at(counts, self.vocabulary.encode(words), [self._words[each] for each in words])
        counts[Vocabulary.END] = self._captions
        return counts

    @property
    def spoken(self) -> Spoken:
        """Not supported: the captions of all images are not in memory."""
        self._refuse()

    def with_references(self, least: int) -> StreamLoader:  # noqa: ARG002
        """Not supported: see `spoken`."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ConfigError(NO_REWARD)

    def order(self, epoch: int) -> EpochOrder:
        """The order of an epoch."""
        return EpochOrder(
            self._counts,
            seed=self.seed,
            epoch=epoch,
            lanes=self.lanes,
            mixed=self.mixed,
            crops=self.crops,
        )

    @property
    def my_lanes(self) -> range:
        """The lanes that this process reads."""
        each = self.lanes // self.processes.count
        return range(self.processes.rank * each, (self.processes.rank + 1) * each)

    def step(self, order: EpochOrder, number: int) -> list[Drawn]:
        """The images that this process draws in a step of an epoch, in the order of the epoch."""
        begin = number * self.step_size
        found = [
            order.drawn(lane, place)
            for lane in self.my_lanes
            for place in range(order.cut(lane, begin), order.cut(lane, begin + self.step_size))
        ]
        return sorted(found)

    def batches(
        self, epoch: int | None = None, start: int = 0, *, keep_captions: bool = False
    ) -> Iterator[Batch]:
        """Iterate over this process's batches of an epoch, each read while the last is used.

        All processes must iterate together: they exchange their numbers of captions.

        Args:
            epoch: The epoch, from 0.
            start: The first step.
            keep_captions: Mirror only images whose captions all stay true.

        Raises:
            DataError: A shard is missing or damaged, or a caption has no words.
        """
        order = self.order(epoch or 0)

        def read(number: int) -> list[_ReadPart]:
            return self._read(self._plan(order, number), keep_captions)

        with ThreadPoolExecutor(1) as ahead:
            upcoming = ahead.submit(read, start) if start < len(self) else None
            for number in range(start, len(self)):
                assert upcoming is not None
                parts = upcoming.result()
                upcoming = ahead.submit(read, number + 1) if number + 1 < len(self) else None
                yield from self._share(parts)

    def _plan(self, order: EpochOrder, number: int) -> list[_Part]:
        """The batches of a step; if this process has nothing to do, another image stands in."""
        drawn = self.step(order, number)
        counts = bool(drawn)
        if not drawn:
            lane = next((each for each in self.my_lanes if order.length(each)), 0)
            drawn = [order.drawn(lane, order.length(lane) - 1)]
        now = [each.shard for each in drawn]
        self.files.want(self._numbers[each] for each in (*now, *self._next(order, number)))
        opened = [self.files.get(self._numbers[each]) for each in now]
        parts = []
        pairs = list(zip(drawn, opened, strict=True))
        for turn in range(self.accumulate):
            cut = [round(len(pairs) * i / self.accumulate) for i in (turn, turn + 1)]
            part = pairs[cut[0] : cut[1]]
            last = turn + 1 == self.accumulate
            parts.append(_Part(part or pairs[:1], counts and bool(part), last))
        return parts

    def _next(self, order: EpochOrder, number: int) -> list[int]:
        """The shards that this process reads around a step, and those that come after them."""
        begin = number * self.step_size
        now: list[int] = []
        after: list[int] = []
        for lane in self.my_lanes:
            first, end = order.cut(lane, begin), order.cut(lane, begin + self.step_size)
            if first >= order.length(lane):
                continue
            last = order.block_of(lane, max(first, end - 1))
            for block in range(order.block_of(lane, first), last + 1):
                now += order.shards_of(lane, block)
            after += order.shards_of(lane, last + 1)
        return [*now, *after]

    def _read(self, parts: list[_Part], keep_captions: bool) -> list[_ReadPart]:
        found = []
        for part in parts:
            places, captions = [], []
            for drawn, shard in part.drawn:
                values = shard.values(drawn.row)
                said = self._said(values["captions"], shard, drawn.row)
                fits = all(said.sideless) if keep_captions else any(said.sideless)
                mirrored = self.mirror and drawn.turn and fits
                pairs = zip(said.words, said.sideless, strict=True)
                captions.append([each for each, side in pairs if side or not mirrored])
                view = View(drawn.crop, mirrored)
                places.append(Place(shard, drawn.row, str(values.get("image", "")), view))
            rows = [drawn.position for drawn, _ in part.drawn]
            found.append(_ReadPart(part, self.inputs.read(places), captions, rows))
        return found

    def _said(self, texts: Sequence[str], shard: OpenShard, row: int) -> _Said:
        said = [words for text in texts if (words := tokenize(text))]
        if not said:
            raise DataError(
                f"{shard.shard.place}: the captions of sample {row} have no words; "
                "`showattend prepare` leaves such images out of the data set"
            )
        numbers = [np.array(self.vocabulary.encode(words), np.int32) for words in said]
        return _Said(
            [each[: self.max_length] for each in numbers],
            [not any(map(says_side, words)) for words in said],
        )

    def _share(self, parts: list[_ReadPart]) -> Iterator[Batch]:
        """The batches of a step, each with its share of all processes' captions."""
        sizes = [
            [len(part.rows), count_captions(part.captions), count_targets(part.captions)]
            if part.part.counts
            else [0, 0, 0]
            for part in parts
        ]
        images, captions, tokens = self.processes.add(
            [sum(each) for each in zip(*sizes, strict=True)]
        )
        for part, (mine, said, targets) in zip(parts, sizes, strict=True):
            padded, lengths = pad(part.captions)
            yield Batch(
                part.inputs,
                padded,
                lengths,
                part.rows,
                of_captions=said / captions,
                of_images=mine / images,
                of_tokens=targets / tokens,
                last=part.part.last,
            )


NO_REWARD = (
    "self_critical.epochs with shards: the reward compares a caption with the references of all "
    "images, which are not in memory; train from dataset.jsonl for it (train.init_from starts from "
    "the model that shards made), or set 0 epochs"
)


class _Part(NamedTuple):
    drawn: list[tuple[Drawn, OpenShard]]
    counts: bool  # not if another image stands in
    last: bool


class _ReadPart(NamedTuple):
    part: _Part
    inputs: torch.Tensor
    captions: list[list[np.ndarray]]
    rows: list[int]
