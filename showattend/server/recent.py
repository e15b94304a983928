"""Recently captioned photos, kept as features under tokens.

So a photo need not be sent again for each word that a user rejects. The server keeps the encoder's
output, not the photo, for a short time and within a memory limit.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from showattend.given import Looked

SECONDS = 600.0
"""Seconds that a photo's features are kept after their last use."""
BYTES = 32_000_000
"""The most memory of all features kept: 62 photos of the shipped model."""
OVERHEAD = 4_000
"""The most bytes of an entry in addition to its features."""


class Recent:
    """The features of recent photos by unguessable tokens; safe to use from several threads.

    Args:
        seconds: How long a photo is kept after its last use; 0 keeps none.
        most: The most memory in bytes; the least recently used photos are dropped first.
        now: The clock, in seconds.
    """

    def __init__(
        self,
        seconds: float = SECONDS,
        most: int = BYTES,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds, self.most, self._now = seconds, most, now
        self._kept: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first
        self._lock = threading.Lock()

    def keep(self, looked: Looked, name: str) -> str | None:
        """Keep a photo's features.

        Args:
            looked: The features. The photo itself is not kept.
            name: The name of its file.

        Returns:
            The token; None if it cannot be kept.
        """
        # A copy of its own: a view would keep a whole batch alive.
        mine = Looked(looked.features.clone(), looked.photo._replace(image=None))
        if not self.seconds or _size(mine) > self.most:
            return None
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._kept[token] = _Entry(mine, name, self._now())
            self._drop()
        return token

    def find(self, token: str) -> tuple[Looked, str] | None:
        """The features and the name of a token's photo; None if it is not kept any more."""
        with self._lock:
            self._drop()
            entry = self._kept.get(token)
            if entry is None:
                return None
            self._kept[token] = entry._replace(asked=self._now())
            self._kept.move_to_end(token)
            return entry.looked, entry.name

    def drop_old(self) -> None:
        """Drop what has expired."""
        with self._lock:
            self._drop()

    @property
    def bytes(self) -> int:
        """The memory that is in use."""
        with self._lock:
            return self._bytes()

    def __len__(self) -> int:
        """The number of photos that are kept."""
        with self._lock:
            return len(self._kept)

    def _bytes(self) -> int:
        return sum(_size(entry.looked) for entry in self._kept.values())

    def _drop(self) -> None:
        oldest = self._now() - self.seconds
        while self._kept:
            entry = next(iter(self._kept.values()))
            if entry.asked > oldest and self._bytes() <= self.most:
                return
            self._kept.popitem(last=False)


class _Entry(NamedTuple):
    looked: Looked
    name: str
    asked: float


def _size(looked: Looked) -> int:
    return looked.features.numel() * looked.features.element_size() + OVERHEAD
