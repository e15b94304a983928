"""The progress of a run on the terminal: bars with the time left, and a line per epoch."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from showattend.text.printable import printable
from showattend.training.phases import ADJUSTED


class _Above(io.TextIOBase):
    """Prints lines above the bars, however long."""

    def __init__(self, display: Display) -> None:
        self.display, self.line = display, ""
        self.rich_proxied_file = display.console.file  # rich finds the terminal by this name

    def write(self, text: str) -> int:
        *lines, self.line = (self.line + text).split("\n")
        for line in lines:
            self.display.show(line)
        return len(text)

    def isatty(self) -> bool:
        return True

    def writable(self) -> bool:
        return True


class Display:
    """A `showattend.training.reporter.Reporter` for the terminal; a context manager.

    Args:
        console: The console to print on.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            redirect_stdout=False,  # rich's own would break long lines
            redirect_stderr=False,
        )
        self.tasks: dict[str, TaskID] = {}
        self._redirected = contextlib.ExitStack()

    def __enter__(self) -> Display:
        if self.console.is_terminal:  # log files receive only the lines
            self.bars.start()
            above = _Above(self)
            self._redirected.enter_context(contextlib.redirect_stdout(above))
            self._redirected.enter_context(contextlib.redirect_stderr(above))
        return self

    def __exit__(self, *_: object) -> None:
        self._redirected.close()
        if self.console.is_terminal:  # older versions of rich print an empty line here otherwise
            self.bars.stop()

    def message(self, text: str) -> None:
        """Print a line above the bars; control characters from file names are escaped."""
        self.show(printable(text))

    def show(self, text: str) -> None:
        """Print a line above the bars as it is."""
        self.console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def task(self, name: str, done: int, total: int, note: str = "") -> None:
        """Update a bar; it disappears when it is full, except the one for training."""
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(name, total=total, note=note)
        self.bars.update(self.tasks[name], completed=done, total=total, note=note)
        if done >= total and name != "Training":
            self.bars.remove_task(self.tasks.pop(name))

    def epoch(self, entry: dict[str, Any], best: bool) -> None:
        """Print the epoch's figures."""
        # Adjusted scores are kept for what they say, not for a higher CIDEr.
        mark = "kept" if entry.get("phase") == ADJUSTED else "best"
        parts = [f"epoch {entry['epoch']:>3}"]
        parts += [f"{key} {entry[key]:.3f}" for key in ("loss", "reward") if key in entry]
        if "CIDEr" in entry:
            parts += [
                f"validation loss {entry['val_loss']:.3f}",
                f"BLEU-4 {entry['BLEU-4']:.3f}",
                f"CIDEr {entry['CIDEr']:.3f}" + (f" *{mark}*" if best else ""),
            ]
        minutes, seconds = divmod(round(entry["seconds"]), 60)
        parts.append(f"{minutes}:{seconds:02d}")
        self.message("   ".join(parts))
        for name, figures in entry.get("sets", {}).items():
            self.message(
                f"          {name}: validation loss {figures['val_loss']:.3f}   "
                f"BLEU-4 {figures['BLEU-4']:.3f}   CIDEr {figures['CIDEr']:.3f}"
            )
