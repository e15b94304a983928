"""The command ``showattend compare``: several configs trained and scored, in one table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from showattend.cli.terminal import console, log, printable, table
from showattend.exceptions import UserError

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
    instances: Annotated[
        Path | None,
        typer.Option(
            help="Objects in COCO's instances format: every row's maps are measured on them.",
            metavar="FILE",
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="The photographs of --instances.", metavar="DIR")
    ] = None,
    samples: Annotated[
        int,
        typer.Option(help="Validation photographs that the page shows with all captions.", min=0),
    ] = 6,
    captions: Annotated[
        Path | None,
        typer.Option(
            help="Human captions of them; each model's maps are measured on these too.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Train several configs, score each on the validation split, and report them side by side.

    Finished runs are not repeated; the same command continues an interrupted comparison.
    """
    from showattend.training import compare as comparisons
    from showattend.training import comparison as tables
    from showattend.training.comparison_page import NAME as PAGE
    from showattend.training.run_scores import Objects

    objects = None
    if instances is not None and images is not None:
        objects = Objects(instances, images, captions)
        for path in (instances, images, captions):
            if path is not None and not path.exists():
                raise UserError(f"{path}: no such file or folder")
    elif instances is not None or images is not None or captions is not None:
        raise UserError(
            "maps are measured with --instances FILE and --images DIR together (--captions FILE "
            "adds human captions)"
        )

    overrides = [each for each in configs if "=" in each and not Path(each).is_file()]
    files = [Path(each) for each in configs if each not in overrides]
    page = printable(out / "comparison.md")
    try:
        made = comparisons.compare(
            files,
            out,
            seeds=seeds,
            overrides=overrides,
            objects=objects,
            samples=samples,
            watch=_display,
        )
    except KeyboardInterrupt:
        if (out / "comparison.md").is_file():
            log.info(f"what is done is in {page}; the same command goes on")
        raise
    if not made.results:
        raise typer.Exit(2)
    table(tables.caption(made), tables.cells(made), tables.HEADER)
    for line in tables.notes(made):
        print(printable(line))
    log.info(f"wrote {page} and {out / PAGE}")
    if made.failures:
        raise typer.Exit(1)


@contextmanager
def _display(title: str) -> Iterator[Display]:
    """A run's bars and lines, with its title above them."""
    from showattend.training.display import Display

    with Display(console()) as display:
        display.message(title)
        yield display
