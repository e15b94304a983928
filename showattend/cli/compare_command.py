"""The command ``showattend compare``: several configs trained and scored, in one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        list[str] | None,
        typer.Argument(
            help="YAML files, and values that override those of all files.",
            metavar="CONFIG... [SECTION.KEY=VALUE]...",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the runs and of the comparison.", metavar="DIR", show_default=False
        ),
    ] = None,
    records: Annotated[
        list[Path] | None,
        typer.Option(
            help="Instead of training, show the differences between two records, such as two "
            "results.json. Give it once for each.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each config: seeds 0, 1, ...", min=1)] = 1,
    instances: Annotated[
        Path | None,
        typer.Option(
            help="Objects in COCO's instances format, on which every row's maps are measured.",
            metavar="FILE",
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="The photographs of --instances.", metavar="DIR")
    ] = None,
    samples: Annotated[
        int,
        typer.Option(help="Validation photographs to show on the page with all captions.", min=0),
    ] = 6,
    captions: Annotated[
        Path | None,
        typer.Option(
            help="Human captions of those photographs, on which the maps are measured too.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Train several configs, score each on the validation split, and report them side by side.

    Finished runs are not repeated; the same command continues an interrupted comparison.

    With --records a.json b.json nothing is trained: it shows how two records differ
    in code, data, settings, scores and captions.
    """
    if records:
        # "--records a.json b.json": the second file is read as an argument.
        others = [Path(each) for each in configs or []]
        _compare_records([*records, *others])
        return
    if not configs or out is None:
        raise UserError(
            "give configs to train, and --out DIR; or two records, --records a.json b.json"
        )
    from showattend.training import compare as comparisons
    from showattend.training import comparison as tables
    from showattend.training.comparison_page import NAME as PAGE
    from showattend.training.comparison_tables import seed_tables
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
            log.info(f"the results so far are in {page}; the same command continues")
        raise
    if not made.results:
        raise typer.Exit(2)
    table(tables.caption(made), tables.cells(made), tables.HEADER)
    for each in seed_tables(tables.summarize(made)):
        table(f"{each.title}. {each.note}", [_plain(row) for row in each.rows], each.header)
    for line in tables.notes(made):
        print(printable(line))
    log.info(f"wrote {page} and {out / PAGE}")
    if made.failures:
        raise typer.Exit(1)


def _plain(cells: Sequence[str]) -> tuple[str, ...]:
    """Remove the marks of bold text, which a terminal would print."""
    return tuple(cell.replace("**", "") for cell in cells)


def _compare_records(files: list[Path]) -> None:
    """Print the differences between two records."""
    from showattend.evaluation.reproduce import differing, read_record

    if len(files) != 2:
        raise UserError(f"--records compares two files, not {len(files)}; give a.json and b.json")
    rows = [
        (name, _shown(one), _shown(other))
        for name, one, other in differing(*map(read_record, files))
    ]
    first, second = (printable(file) for file in files)
    if not rows:
        print(f"{first} and {second} agree in provenance, scores and captions")
        return
    table(f"What differs between {first} and {second}", rows, ("", first, second))


def _shown(value: object) -> str:
    """A value for a cell; long ones are cut."""
    text = "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
    return printable(text if len(text) <= 120 else f"{text[:117]}...")


@contextmanager
def _display(title: str) -> Iterator[Display]:
    """A run's bars and lines, with its title above them."""
    from showattend.training.display import Display

    with Display(console()) as display:
        display.message(title)
        yield display
