"""Processing many files in threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 32  # per thread; every waiting item costs kilobytes


def in_order(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    threads: int | None = None,
    ahead: int | None = None,
) -> Iterator[tuple[T, R]]:
    """Yield each item with the function's result, in order, computing several at a time.

    Args:
        function: The function, which is called in threads.
        items: The items; they are consumed a few ahead.
        threads: Number of threads; None uses one per processor.
        ahead: Number of items in flight; None is 32 per thread.
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
