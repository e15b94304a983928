"""The progress of a run in a notebook: bars in the cell, and a line per epoch."""

from __future__ import annotations

import sys

from rich.console import Console

from showattend.system.notebook_bars import NotebookBars
from showattend.text.printable import printable
from showattend.training.display import Display


class NotebookDisplay(Display):
    """A `showattend.training.reporter.Reporter` for a notebook; `default_reporter` selects it."""

    def __init__(self) -> None:
        super().__init__(Console(file=sys.stdout))
        self.cell = NotebookBars()

    def message(self, text: str) -> None:
        """Print a line; control characters from file names are escaped."""
        print(printable(text), flush=True)

    def task(self, name: str, done: int, total: int, note: str = "") -> None:
        """Update a bar; it disappears when it is full."""
        self.cell.task(name, done, total, note)
