"""The command ``showattend compare``: several configs trained and scored, in one table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from showattend.cli.terminal import complain, console, printable, say, table

if TYPE_CHECKING:
    from showattend.training.display import Display


def compare(
    configs: Annotated[
        list[str],
        typer.Argument(
            help="YAML files, and values for all of them to use instead of the files'.",
            metavar="CONFIG... [SECTION.KEY=VALUE]...",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the runs and of the comparison.", metavar="DIR")
    ],
    seeds: Annotated[int, typer.Option(help="Runs of each config: seeds 0, 1, ...", min=1)] = 1,
) -> None:
    """Train several configs, score each on the validation split, and lay them side by side.

    Finished runs are not repeated, an interrupted comparison goes on with the same command.
    """
    from showattend.training import compare as comparisons

    overrides = [each for each in configs if "=" in each and not Path(each).is_file()]
    files = [Path(each) for each in configs if each not in overrides]
    page = printable(out / "comparison.md")
    try:
        made = comparisons.compare(
            files, out, seeds=seeds, overrides=overrides, watch=_display, complain=complain
        )
    except KeyboardInterrupt:
        if (out / "comparison.md").is_file():
            say(f"what is done is in {page}; the same command goes on")
        raise
    if not made.results:
        raise typer.Exit(2)
    table(comparisons.caption(made), comparisons.cells(made), comparisons.HEADER)
    for line in comparisons.notes(made):
        print(printable(line))
    say(f"wrote {page}")
    if made.failures:
        raise typer.Exit(1)


@contextmanager
def _display(title: str) -> Iterator[Display]:
    """A run's bars and lines, with its title above them."""
    from showattend.training.display import Display

    with Display(console()) as display:
        display.message(title)
        yield display
