"""The order of an epoch over shards: which image is drawn when, known without reading any.

The shards of an epoch are shuffled and laid end to end. That line is cut into a fixed number of
lanes of equal length, which are read side by side: image g of the epoch is image g // lanes of lane
g % lanes. Within a lane, the images of a few neighbouring shards are shuffled together. All of it
is a function of the seed, the epoch and the number of lanes, not of the number of processes: each
process has some of the lanes, so no two read the same image, and an epoch can be entered anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Drawn(NamedTuple):
    """One image of an epoch.

    Attributes:
        position: Its position in the epoch, from 0.
        shard: The index of its shard.
        row: Its number in the shard.
        turn: Whether it is mirrored, if its captions allow it.
        crop: 0: the whole image; n: its nth crop.
    """

    position: int
    shard: int
    row: int
    turn: bool
    crop: int


class _Block(NamedTuple):
    """The images of neighbouring shards of a lane, shuffled together; all arrays have one axis."""

    shard: np.ndarray
    row: np.ndarray
    turn: np.ndarray
    crop: np.ndarray


class EpochOrder:
    """The order of one epoch.

    Args:
        counts: The number of images drawn from each shard, [S].
        seed: The seed of the run.
        epoch: The epoch, from 0.
        lanes: The number of lanes.
        mixed: The number of neighbouring shards of a lane that are shuffled together.
        crops: The number of crops of an image, in addition to the whole.
    """

    def __init__(
        self,
        counts: Sequence[int] | np.ndarray,
        *,
        seed: int,
        epoch: int,
        lanes: int,
        mixed: int,
        crops: int = 0,
    ) -> None:
        self.lanes, self.mixed, self.crops = lanes, mixed, crops
        self._key = seed, epoch
        counts = np.asarray(counts, np.int64)
        self._shards = np.random.default_rng([*self._key, 0]).permutation(len(counts))
        self._ends = np.cumsum(counts[self._shards])
        self.total = int(self._ends[-1])
        lengths = [(self.total - lane + lanes - 1) // lanes for lane in range(lanes)]
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self._blocks: dict[int, tuple[int, _Block]] = {}

    def length(self, lane: int) -> int:
        """The number of images in a lane."""
        return int(self._starts[lane + 1] - self._starts[lane])

    def cut(self, lane: int, position: int) -> int:
        """The number of images of a lane that are drawn before a position of the epoch."""
        return (min(position, self.total) - lane + self.lanes - 1) // self.lanes

    def drawn(self, lane: int, place: int) -> Drawn:
        """The image at a place of a lane."""
        number, begin = self._find(lane, place)
        known = self._blocks.get(lane)
        if known is None or known[0] != number:
            known = self._blocks[lane] = number, self._block(lane, number)
        block, i = known[1], place - begin
        return Drawn(
            place * self.lanes + lane,
            int(block.shard[i]),
            int(block.row[i]),
            bool(block.turn[i]),
            int(block.crop[i]),
        )

    def block_of(self, lane: int, place: int) -> int:
        """The number of the block that a place of a lane is in."""
        return self._find(lane, place)[0]

    def shards_of(self, lane: int, number: int) -> list[int]:
        """The shards of a lane's block; none after its last."""
        first, last = self._first(lane), self._last(lane)
        begin = first + number * self.mixed
        return self._shards[begin : min(begin + self.mixed, last + 1)].tolist()

    def _first(self, lane: int) -> int:
        """The shuffled shard in which a lane begins."""
        return int(np.searchsorted(self._ends, self._starts[lane], "right"))

    def _last(self, lane: int) -> int:
        """The shuffled shard in which it ends; before the first if the lane is empty."""
        if not self.length(lane):
            return self._first(lane) - 1
        return int(np.searchsorted(self._ends, self._starts[lane + 1] - 1, "right"))

    def _find(self, lane: int, place: int) -> tuple[int, int]:
        """The block of a place in a lane, and the place where the block begins."""
        at = int(self._starts[lane]) + place
        number = (int(np.searchsorted(self._ends, at, "right")) - self._first(lane)) // self.mixed
        return number, self._bounds(lane, number)[0] - int(self._starts[lane])

    def _bounds(self, lane: int, number: int) -> tuple[int, int]:
        """Where a block begins and ends on the line of all shards."""
        first = self._first(lane) + number * self.mixed
        last = min(first + self.mixed, len(self._ends)) - 1
        begin = int(self._ends[first - 1]) if first else 0
        return (
            max(begin, int(self._starts[lane])),
            min(int(self._ends[last]), int(self._starts[lane + 1])),
        )

    def _block(self, lane: int, number: int) -> _Block:
        begin, end = self._bounds(lane, number)
        random = np.random.default_rng([*self._key, 1 + lane, number])
        at = begin + random.permutation(end - begin)
        which = np.searchsorted(self._ends, at, "right")
        before = np.concatenate([[0], self._ends])[which]
        turn = random.random(len(at)) < 0.5
        crop = random.integers(0, self.crops + 1, len(at))
        return _Block(self._shards[which], at - before, turn, crop)
