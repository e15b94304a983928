"""Who is told how a run goes."""

from __future__ import annotations

import logging
from typing import Any, Protocol


class Reporter(Protocol):
    """Who is told how the run goes (`showattend.training.display` shows it on a terminal)."""

    def message(self, text: str) -> None:
        """Something worth a line."""

    def task(self, name: str, done: int, total: int, note: str = "") -> None:
        """How far something has come."""

    def epoch(self, entry: dict[str, Any], best: bool) -> None:
        """An epoch is over."""


_log = logging.getLogger("showattend.training")


class Silent:
    """A reporter for programs: messages go to the log, progress nowhere."""

    def message(self, text: str) -> None:
        """Log it."""
        _log.info("%s", text)

    def task(self, name: str, done: int, total: int, note: str = "") -> None:
        """Nothing."""

    def epoch(self, entry: dict[str, Any], best: bool) -> None:
        """Nothing."""
