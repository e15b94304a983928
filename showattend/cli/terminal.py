"""The output of the command line: lines, progress bars, tables; imported by ``--help`` too."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from showattend.text.printable import printable as printable

if TYPE_CHECKING:
    from rich.console import Console


def examples(*commands: str) -> str:
    """The end of a help text."""
    return "\n\n".join(("Examples:", *(f"showattend {command}" for command in commands)))


log = logging.getLogger("showattend")
"""Messages of the command line and the library's log, as lines on stderr."""


class Terminal(logging.Handler):
    """Shows a record of the log as one line on stderr; stdout is for results."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the line; problems begin with the program's name."""
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            text = f"showattend: {' '.join(text.split())}"
        print(printable(text), file=sys.stderr)


def show_log() -> None:
    """Show the log; a program that embeds the library decides for itself.

    Of several processes that ``torchrun`` has started, all but the first log only problems.
    """
    log.setLevel(logging.WARNING if int(os.environ.get("RANK", "0")) else logging.INFO)
    if not any(isinstance(each, Terminal) for each in log.handlers):
        log.addHandler(Terminal())


def wait_for_the_first() -> None:
    """If ``torchrun`` has started several processes, let the first of them report.

    A user's mistake affects all of them alike. When one has failed the others are stopped, so a
    process still running after a moment has its own error to report.
    """
    if int(os.environ.get("RANK", "0")):
        time.sleep(10)


def console() -> Console:
    """Rich's console on stderr."""
    from rich.console import Console

    return Console(stderr=True)


MANY = 20
"""Captioning shows a progress bar for at least this many images."""


@contextmanager
def bars(wanted: bool = True) -> Iterator[Callable[[str, int, int], None]]:
    """Return a callback for progress bars, (name, done, total), on a terminal only."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda *_: None
        return
    from showattend.training.display import Display

    with Display(console()) as display:
        yield display.task


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show a line while waiting, on a terminal only, and remove it afterwards."""
    if not sys.stderr.isatty():
        yield
        return
    with console().status(text):
        yield


_ENDLESS = 1000  # columns


def table(title: str, rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Print a table on stdout, with the first column aligned left and the others right.

    Only the title and the header may have line breaks; the rows hold text from files.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=SIMPLE, show_header=bool(header))
    for index in range(len(rows[0])):
        name = header[index] if header else ""
        grid.add_column(name, justify="right" if index else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    # A table's own title would be folded to the table's width.
    print("\n".join(map(printable, title.split("\n"))))
    # In a file or a pipe, lines are not wrapped.
    Console(width=None if sys.stdout.isatty() else _ENDLESS).print(grid)


def write_report(found: Mapping[str, Any], output: Path | None) -> None:
    """Log a measurement's notes and write it to a file."""
    from showattend.system.files import write_json

    for note in found["notes"]:
        log.warning(note)
    if output is not None:
        write_json(output, dict(found))
        log.info(f"wrote {output}")


def finish(found: Mapping[str, Any]) -> None:
    """End a measurement: images left out make the exit code 1."""
    if found["skipped"]:
        raise typer.Exit(1)
