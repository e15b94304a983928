"""The interface for reporting the progress of a run."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from showattend.system.notebook_bars import in_notebook


class Reporter(Protocol):
    """Receives messages and progress from a run; `showattend.training.display` shows them."""

    def message(self, text: str) -> None:
        """Report one line of text."""

    def task(self, name: str, done: int, total: int, note: str = "") -> None:
        """Report the progress of a task: ``done`` of ``total`` steps, with a note."""

    def epoch(self, entry: dict[str, Any], best: bool) -> None:
        """Report a finished epoch.

        Args:
            entry: The epoch's entry in the training record.
            best: Whether it is the best so far.
        """


_log = logging.getLogger("showattend.training")


class Silent:
    """A reporter for programs: it logs messages, and ignores progress."""

    def message(self, text: str) -> None:
        """Log the message."""
        _log.info("%s", text)

    def task(self, name: str, done: int, total: int, note: str = "") -> None:
        """Ignore the progress."""

    def epoch(self, entry: dict[str, Any], best: bool) -> None:
        """Ignore the epoch."""


def default_reporter() -> Reporter:
    """The reporter for the Python API: bars in a notebook, the log everywhere else."""
    if not in_notebook():
        return Silent()
    from showattend.training.notebook_display import NotebookDisplay  # rich, only for this

    return NotebookDisplay()
