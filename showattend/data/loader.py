"""Batches of images with all their captions, in an order fixed by seed and epoch.

Shape suffixes: B images, K captions of an image, T time.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from typing import NamedTuple, Protocol

import numpy as np
import torch

from showattend.data.cache import FeatureCache, in_places
from showattend.data.records import Record
from showattend.data.spoken import Spoken
from showattend.data.views import View, Views, show
from showattend.exceptions import DataError, ImageError
from showattend.images.preprocessing import Preprocessing
from showattend.system.processes import ALONE, Processes
from showattend.text.vocabulary import Vocabulary

_SIDE = re.compile(r"(left|right)(-.*|hand|handed|most|ward|wards)?")


def says_side(word: str) -> bool:
    """Whether a word means left or right, which is wrong for the mirrored image."""
    return bool(_SIDE.fullmatch(word))


class Batch(NamedTuple):
    """One batch; inputs are annotations [B, H, W, D] or pixels [B, 3, S, S] uint8.

    A training step may consist of several, in sequence and in several processes; the shares weight
    this one's mean loss in the step's.
    """

    inputs: torch.Tensor
    captions: torch.Tensor  # [B, K, T + 2]: <start>, words, <end>, padded with <pad>
    lengths: torch.Tensor  # [B, K]: targets of each caption; 0 if there is none
    rows: list[int]  # the records' numbers
    of_captions: float = 1.0  # its share of the captions of the step
    of_images: float = 1.0  # of the images
    of_tokens: float = 1.0  # and of the targets
    last: bool = True  # whether it completes the step


class _Part(NamedTuple):
    drawn: list[int]  # as `CaptionLoader.order` numbers them
    counts: bool  # False if the step has too few images for every process: one then stands in
    step: list[int]  # images drawn by all its parts
    last: bool


class Inputs(Protocol):
    """The source of a batch's inputs."""

    def read(self, rows: Sequence[int], views: Sequence[View]) -> torch.Tensor:
        """Return the inputs [B, ...] of these records, each in its view."""


class Pixels:
    """Images decoded again for every batch, for an encoder that is being fine-tuned."""

    def __init__(
        self,
        records: Sequence[Record],
        preprocessing: Preprocessing,
        workers: int,
        crop_area: float = 1.0,
    ) -> None:
        self.records, self.preprocessing, self.crop_area = records, preprocessing, crop_area
        self.pool = ThreadPoolExecutor(max(1, workers))

    def read(self, rows: Sequence[int], views: Sequence[View]) -> torch.Tensor:
        """Pixels [B, 3, size, size] uint8.

        Raises:
            DataError: An image cannot be read.
        """
        paths = [self.records[row].path for row in rows]
        try:
            images = [pixels for pixels, _ in self.pool.map(self.preprocessing.load_pixels, paths)]
        except ImageError as error:
            raise DataError(
                f"{error}; `showattend prepare` leaves such images out of the data set"
            ) from error
        shown = [
            show(pixels, view, name=path.name, area=self.crop_area)
            for path, view, pixels in zip(paths, views, images, strict=True)
        ]
        return torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).contiguous()


class CachedFeatures:
    """Rows of feature caches.

    Args:
        caches: The caches, one per view.
        rows: For each view, the rows of its cache that hold the inputs, in order.
    """

    def __init__(
        self, caches: Mapping[View, FeatureCache], rows: Mapping[View, Sequence[int]]
    ) -> None:
        self.caches = caches
        self.rows = {view: np.asarray(each) for view, each in rows.items()}

    def read(self, rows: Sequence[int], views: Sequence[View]) -> torch.Tensor:
        """Annotations [B, H, W, D], float16, or bfloat16 if one of them is too large for that."""
        wanted = np.asarray(rows)
        places = [np.flatnonzero([each == view for each in views]) for view in set(views)]
        parts = [
            self.caches[view].read(self.rows[view][wanted[here]])
            for view, here in zip(set(views), places, strict=True)
        ]
        return in_places(parts, places)


class CaptionLoader:
    """Iterates over a split.

    Args:
        records: The images with their captions.
        inputs: The model's inputs for each record.
        vocabulary: Words outside it become ``<unk>``.
        batch_size: The number of images per batch.
        max_length: Longer captions are cut to this many words.
        seed: The seed of the order.
        mirror: Mirror half of the images in each epoch, by the seed; captions that mention left or
            right are left out, and an image with only such captions is not mirrored.
        crops: In each epoch, every image is shown whole or as one of this many crops.
        weights: How often each record is drawn in an epoch, [N]: 2 twice, 0.5 every other epoch
            (records of one such weight take turns, so that all are drawn equally often); None: 1.
        accumulate: The number of batches per step, in each process.
        processes: The processes that share a step.
        spoken: The records' captions as words; None tokenizes them.

    Raises:
        DataError: There are no records, or the captions of one have no words.
    """

    def __init__(
        self,
        records: Sequence[Record],
        inputs: Inputs,
        vocabulary: Vocabulary,
        *,
        batch_size: int,
        max_length: int = 30,
        seed: int = 0,
        mirror: bool = False,
        crops: int = 0,
        weights: Sequence[float] | np.ndarray | None = None,
        accumulate: int = 1,
        processes: Processes = ALONE,
        spoken: Spoken | None = None,
    ) -> None:
        if not records:
            raise DataError("the split holds no images; look at the report of `showattend prepare`")
        self.records, self.inputs = records, inputs
        self.batch_size, self.seed, self.mirror, self.crops = batch_size, seed, mirror, crops
        self.accumulate, self.processes = accumulate, processes
        self._weights: np.ndarray | None = None  # all 1
        if weights is not None and (np.asarray(weights) != 1).any():
            self._weights = np.asarray(weights, np.float32)
        self._copies = 1 if self._weights is None else max(1, math.ceil(self._weights.max()))
        # All captions in a few flat arrays: a list per caption would be ten times their size.
        self.spoken = Spoken(records) if spoken is None else spoken
        number_of = np.array(vocabulary.encode(self.spoken.words), np.int32)
        has_side = np.array([says_side(word) for word in self.spoken.words], bool)
        tokens, ends, images, sideless = array("i"), array("Q", [0]), array("Q", [0]), array("b")
        for row in range(len(records)):
            said = [words for words in self.spoken.numbers(row) if len(words)]
            if not said:
                raise wordless(records[row])
            for words in said:
                tokens.frombytes(number_of[words[:max_length]].tobytes())
                ends.append(len(tokens))
                sideless.append(not has_side[words].any())
            images.append(len(sideless))
        self._tokens, self._ends = np.asarray(tokens), np.asarray(ends)
        self._images = np.asarray(images)
        self._sideless = np.asarray(sideless, bool)  # those still true if mirrored
        # Whether an image has such a caption; and whether it has no other.
        begins = self._images[:-1].astype(np.intp)
        self._turnable = np.logical_or.reduceat(self._sideless, begins)
        self._symmetric = np.logical_and.reduceat(self._sideless, begins)

    def captions(self, row: int, mirrored: bool = False) -> list[np.ndarray]:
        """The words of a record's captions as numbers [T]; for its mirror image, those that fit."""
        first, last = self._images[row : row + 2].tolist()
        return [
            self._tokens[self._ends[i] : self._ends[i + 1]]
            for i in range(first, last)
            if self._sideless[i] or not mirrored
        ]

    def target_counts(self, size: int) -> np.ndarray:
        """How often each of ``size`` words is a target in all captions of the split: [V]."""
        counts = np.bincount(self._tokens, minlength=size)
        counts[Vocabulary.END] = len(self._sideless)  # every caption ends once
        return counts

    def with_references(self, least: int) -> CaptionLoader:
        """The same loader, drawing only records with at least this many captions.

        Raises:
            DataError: There are none.
        """
        few = np.diff(self._images.astype(np.int64)) < least
        if few.all():
            raise DataError(
                f"no training image has {least} captions or more; lower "
                "self_critical.min_references"
            )
        limited = copy(self)
        if few.any():
            weights = 1.0 if self._weights is None else self._weights
            limited._weights = np.where(few, 0.0, weights).astype(np.float32)
        return limited

    def __len__(self) -> int:
        """The number of steps per epoch."""
        return -(-self.draws // self.step_size)

    @property
    def images(self) -> int:
        """The number of images."""
        return len(self.records)

    @property
    def step_size(self) -> int:
        """The number of images per step, over all processes."""
        return self.batch_size * self.accumulate * self.processes.count

    @property
    def draws(self) -> int:
        """The number of images per epoch."""
        if self._weights is None:
            return len(self.records)
        return sum(
            len(rows) * int(weight) + round(len(rows) * (weight % 1))
            for weight, rows in self._by_weight()
        )

    def _by_weight(self) -> Iterator[tuple[float, np.ndarray]]:
        assert self._weights is not None
        for weight in np.unique(self._weights):
            if weight:
                yield float(weight), np.flatnonzero(self._weights == weight)

    def order(self, epoch: int | None) -> np.ndarray:
        """Return the draws of this epoch, in order: row + copy * N, shape [N'] int32.

        A record that is drawn more than once has copies 0, 1 and so on, each with its own view.
        If the epoch is None, return all records once, in their stored order.
        """
        N = len(self.records)
        if epoch is None:
            return np.arange(N, dtype=np.int32)
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        shuffled = torch.randperm(self.draws, generator=generator).numpy().astype(np.int32)
        if self._weights is None:
            return shuffled
        drawn: list[np.ndarray] = []
        for weight, rows in self._by_weight():
            drawn += [rows + number * N for number in range(int(weight))]
            if count := round(len(rows) * (weight % 1)):
                drawn.append(self._turn(rows, count, epoch) + int(weight) * N)
        return np.concatenate(drawn).astype(np.int32)[shuffled]

    def _turn(self, rows: np.ndarray, count: int, epoch: int) -> np.ndarray:
        """The next ``count`` rows of one shuffled circle."""
        generator = torch.Generator().manual_seed(self.seed * 100_003 + 70_000)
        circle = torch.randperm(len(rows), generator=generator).numpy()
        return rows[circle[(epoch * count + np.arange(count)) % len(rows)]]

    def views(self, epoch: int | None, *, keep_captions: bool = False) -> Views:
        """The views of this epoch's draws, by number in `order`; None: unchanged.

        Args:
            epoch: The epoch, from 0.
            keep_captions: Mirror only images whose captions all stay true.
        """
        count = len(self.records) * self._copies
        if epoch is None or not (self.mirror or self.crops):
            return Views.plain(count)
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch + 50_000)
        turns = torch.rand(count, generator=generator) < 0.5
        crops = torch.randint(self.crops + 1, (count,), generator=generator)
        may_turn = self._symmetric if keep_captions else self._turnable
        if self._copies > 1:
            may_turn = np.tile(may_turn, self._copies)
        turned = turns.numpy() & may_turn
        turned &= self.mirror
        return Views(crops.numpy().astype(np.min_scalar_type(self.crops)), turned)

    def batches(
        self, epoch: int | None = None, start: int = 0, *, keep_captions: bool = False
    ) -> Iterator[Batch]:
        """Iterate over this process's batches of an epoch, each read while the last is used.

        Args:
            epoch: The epoch; None: the records in stored order.
            start: The first step.
            keep_captions: See `views`.
        """
        views = self.views(epoch, keep_captions=keep_captions)
        parts, N = self._parts(epoch, start), len(self.records)

        def read(drawn: list[int]) -> torch.Tensor:
            return self.inputs.read([each % N for each in drawn], [views[each] for each in drawn])

        def captions(drawn: list[int]) -> list[list[np.ndarray]]:
            return [self.captions(each % N, views[each].mirrored) for each in drawn]

        with ThreadPoolExecutor(1) as pool:
            part = next(parts, None)
            upcoming = part and pool.submit(read, part.drawn)
            while part and upcoming:
                inputs = upcoming.result()
                following = next(parts, None)
                upcoming = following and pool.submit(read, following.drawn)
                mine = captions(part.drawn)
                step = mine if part.step == part.drawn else captions(part.step)
                padded, lengths = pad(mine)
                yield Batch(
                    inputs,
                    padded,
                    lengths,
                    [each % N for each in part.drawn],
                    of_captions=part.counts * count_captions(mine) / count_captions(step),
                    of_images=part.counts * len(mine) / len(step),
                    of_tokens=part.counts * count_targets(mine) / count_targets(step),
                    last=part.last,
                )
                part = following

    def _parts(self, epoch: int | None, start: int) -> Iterator[_Part]:
        """The batches for this process; all processes have the same number."""
        order, processes = self.order(epoch), self.processes
        parts = self.accumulate * processes.count
        for begin in range(start * self.step_size, len(order), self.step_size):
            step = order[begin : begin + self.step_size].tolist()
            cuts = [round(len(step) * i / parts) for i in range(parts + 1)]
            for turn in range(self.accumulate):
                number = turn * processes.count + processes.rank
                rows = step[cuts[number] : cuts[number + 1]]
                last = turn + 1 == self.accumulate
                yield _Part(rows or step[:1], bool(rows), step, last)


def pad(captions: Sequence[Sequence[np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Captions of B images, as numbers [T] each, in one tensor.

    Returns:
        The captions [B, K, T + 2] and their lengths [B, K], as in `Batch`.
    """
    K = max(len(each) for each in captions)
    T = max(len(words) for each in captions for words in each)
    padded = torch.full((len(captions), K, T + 2), Vocabulary.PAD)
    lengths = torch.zeros(len(captions), K, dtype=torch.long)
    for b, each in enumerate(captions):
        for k, words in enumerate(each):
            length = len(words)
            padded[b, k, 0] = Vocabulary.START
            padded[b, k, 1 : 1 + length] = torch.from_numpy(words)
            padded[b, k, 1 + length] = Vocabulary.END
            lengths[b, k] = length + 1
    return padded, lengths


def wordless(record: Record) -> DataError:
    """The error for an image whose captions have no words."""
    return DataError(
        f"{record.path}: its captions have no words; `showattend prepare` leaves such images out "
        "of the data set"
    )


def count_captions(images: Sequence[Sequence[np.ndarray]]) -> int:
    """The number of captions of images, given as numbers [T] each."""
    return sum(map(len, images))


def count_targets(images: Sequence[Sequence[np.ndarray]]) -> int:
    """The number of targets of captions [T], ends included."""
    return sum(len(words) + 1 for captions in images for words in captions)
