"""Assigns parts to workers: once each, again if the worker is lost, twice if it is slow.

This module does not depend on Ray: `showattend.export.cluster.ray_engine` uses it with real
workers, and ``scripts/benchmark/simulate_cluster.py`` with simulated ones.
"""

from __future__ import annotations

import statistics
from collections import Counter, deque
from collections.abc import Hashable, Iterator
from typing import NamedTuple

from showattend.export.cluster.partition import Part

LIVES = 4
"""Workers that one part may cost before it is given up: its images may be the cause."""
LATE = 1.5
"""Once all parts are assigned, one that takes this many times the median is started again."""


class _Running(NamedTuple):
    part: Part
    since: float


class Dispatcher:
    """Gives parts to workers.

    Args:
        parts: The parts to do; read as they are assigned.
        twice: Whether an idle worker starts a late part a second time, as in MapReduce (Dean and
            Ghemawat 2004, section 3.6). Both write the same file.

    Attributes:
        given_up: Parts that were lost with `LIVES` workers.
    """

    def __init__(self, parts: Iterator[Part], *, twice: bool = True) -> None:
        self.given_up: list[Part] = []
        self._parts, self._twice = parts, twice
        self._exhausted = False
        self._again: deque[Part] = deque()
        self._running: dict[Hashable, _Running] = {}
        self._copies: Counter[int] = Counter()  # workers that have a part, by its number
        self._done: set[int] = set()  # of parts that another worker still has
        self._losses: Counter[int] = Counter()
        self._seconds: deque[float] = deque(maxlen=500)

    def give(self, worker: Hashable, now: float) -> Part | None:
        """The next part for an idle worker; None if there is none now.

        Args:
            worker: The worker.
            now: The time in seconds, from any monotonic clock.
        """
        part = self._next() or self._late(now)
        if part is not None:
            self._running[worker] = _Running(part, now)
            self._copies[part.number] += 1
        return part

    def finish(self, worker: Hashable, now: float) -> Part | None:
        """A worker has done its part.

        Returns:
            The part; None if another worker has done it before.
        """
        part, since = self._running.pop(worker)
        self._seconds.append(now - since)
        first = part.number not in self._done
        if self._put_down(part):
            self._done.discard(part.number)
        else:
            self._done.add(part.number)
        return part if first else None

    def lose(self, worker: Hashable) -> Part | None:
        """A worker is lost; its part goes to another, unless another already has it.

        Returns:
            The part that it had.
        """
        if worker not in self._running:
            return None
        part = self._running.pop(worker).part
        if not self._put_down(part):
            return part
        if part.number in self._done:
            self._done.discard(part.number)
            return part
        self._losses[part.number] += 1
        if self._losses[part.number] >= LIVES:
            self.given_up.append(part)
        else:
            self._again.append(part)
        return part

    @property
    def is_done(self) -> bool:
        """Whether every part is done or given up; a worker may still have a copy of one."""
        return self._exhausted and not self._again and len(self._copies) == len(self._done)

    def _put_down(self, part: Part) -> bool:
        """Count one worker less for a part; returns whether it was the last."""
        self._copies[part.number] -= 1
        if self._copies[part.number]:
            return False
        del self._copies[part.number]
        return True

    def _next(self) -> Part | None:
        if self._again:
            return self._again.popleft()
        part = None if self._exhausted else next(self._parts, None)
        self._exhausted = part is None
        return part

    def _late(self, now: float) -> Part | None:
        """The late part that has been running longest, of those that only one worker has."""
        if not (self._twice and self._seconds and self._running):
            return None
        limit = LATE * statistics.median(self._seconds)
        late = [
            each
            for each in self._running.values()
            if now - each.since > limit
            and self._copies[each.part.number] == 1
            and each.part.number not in self._done
        ]
        return min(late, key=lambda each: each.since).part if late else None
