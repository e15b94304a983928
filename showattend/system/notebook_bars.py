"""Progress bars in a notebook, as HTML that replaces itself; nothing else has to be installed."""

from __future__ import annotations

import contextlib
import html
import importlib
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
MANY = 20
"""Captioning shows a bar for at least this many images."""
_SECONDS = 0.2  # seconds between two updates of a bar


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, and not a program or IPython's prompt."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def without_advice() -> None:
    """Import tqdm, in a notebook, without its advice to install ipywidgets.

    huggingface_hub imports it, through timm, for bars of downloads. Here nothing is downloaded, and
    our own bars need no widgets.
    """
    if in_notebook():
        with warnings.catch_warnings(), contextlib.suppress(ImportError):
            warnings.filterwarnings("ignore", message="IProgress not found")
            importlib.import_module("tqdm.auto")


without_advice()


class NotebookBars:
    """The bars of one cell."""

    def __init__(self) -> None:
        self.tasks: dict[str, tuple[int, int, str, float]] = {}  # done, total, note, when begun
        self._handle: Any = None
        self._shown = 0.0

    def task(self, name: str, done: int, total: int, note: str = "") -> None:
        """Update a bar; it disappears when it is full."""
        now = time.monotonic()
        begun = self.tasks[name][3] if name in self.tasks else now
        self.tasks[name] = done, total, note, begun
        if done >= total:
            del self.tasks[name]
        elif now - self._shown < _SECONDS:
            return
        self._show(now)

    def close(self) -> None:
        """Remove those that are left."""
        self.tasks.clear()
        self._show(time.monotonic())

    def _show(self, now: float) -> None:
        from IPython.display import HTML, display

        self._shown = now
        shown = HTML("".join(_bar(name, *values, now) for name, values in self.tasks.items()))
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)


def counted(found: Iterator[T], images: Any, name: str) -> Iterator[T]:
    """Pass on the results; in a notebook, with a bar if there are many images.

    Args:
        found: One result for each image.
        images: The images.
        name: The name of the bar.
    """
    total = len(images) if isinstance(images, Sequence) else 0
    return _counted(found, total, name) if total >= MANY and in_notebook() else found


def _counted(found: Iterator[T], total: int, name: str) -> Iterator[T]:
    bars = NotebookBars()
    try:
        for done, each in enumerate(found, 1):
            yield each
            bars.task(name, done, total)
    finally:
        bars.close()


def _bar(name: str, done: int, total: int, note: str, begun: float, now: float) -> str:
    label = html.escape(name)
    passed = now - begun
    left = f", {_clock(passed * (total - done) / done)} left" if done and passed > 1 else ""
    return (
        f'<div><label>{label} <progress max="{total}" value="{done}" aria-label="{label}">'
        f"</progress></label> {done:,} of {total:,}, {_clock(passed)}{left} "
        f"{html.escape(note)}</div>"
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
