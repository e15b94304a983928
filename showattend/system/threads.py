"""Work on many files at once, in threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 32  # for each thread; all at once would be kilobytes for every file that waits


def in_order(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    threads: int | None = None,
    ahead: int | None = None,
) -> Iterator[tuple[T, R]]:
    """Each item with what the function makes of it, in their order, several at a time.

    Args:
        function: Called in threads.
        items: Taken as they are needed, a few ahead.
        threads: How many; None is one for each processor.
        ahead: How many items may be in flight; None is 32 for each thread.
    """
    count = threads or os.cpu_count() or 1
    ahead = _AHEAD * count if ahead is None else ahead
    waiting: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(count) as pool:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        for item, future in waiting:
            yield item, future.result()
