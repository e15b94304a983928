"""``showattend caption --engine ray``: its options and messages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from showattend.cli.terminal import bars, log, printable
from showattend.exceptions import UserError

Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="With ray: a path like PATHS, an address (s3://bucket/photos) or tar shards "
        "(s3://bucket/{000..999}.tar); may be given several times.",
        metavar="PLACE",
    ),
]
Parts = Annotated[
    Literal["parquet", "jsonl"] | None,
    typer.Option(
        help="With ray: Parquet, or JSON Lines as --output FILE has them.", show_default="parquet"
    ),
]
PartSize = Annotated[
    int | None,
    typer.Option(
        help="With ray: images per file of captions.",
        show_default="1000, fewer for few images",
        min=1,
        max=100_000,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="With ray: number of processes, each with the model.",
        show_default="as many as the cluster has room for",
        min=1,
        max=100_000,
    ),
]
WorkerCores = Annotated[
    int | None, typer.Option(help="With ray: cores of each.", show_default="1", min=1, max=1024)
]


def refuse_options(reason: str, options: dict[str, Any]) -> None:
    """Refuse options of another engine.

    Raises:
        UserError: One of them is given, with this reason after its name.
    """
    for option, value in options.items():
        if value:
            raise UserError(f"{option} {reason}")


def caption_on_cluster(inputs: Sequence[str], output: Path | None, **options: Any) -> None:
    """Caption with Ray; see `showattend.export.cluster.caption_many`.

    Raises:
        UserError: There is no output or no input; or see there.
        typer.Exit: Some or all images have no caption.
    """
    if not inputs:
        raise UserError("--engine ray needs images: give PATHS or --input PLACE")
    if output is None:
        raise UserError("--engine ray needs --output DIR, a folder or an address (s3://...)")
    place = _address(str(output))
    from showattend.export.cluster import caption_many

    given = {key: value for key, value in options.items() if value is not None}
    try:
        with bars() as progress:
            found = caption_many(
                list(inputs),
                place,
                progress=lambda done, total: progress("Parts", done, total),
                **given,
            )
    except KeyboardInterrupt:
        log.info(f"the parts made so far are in {printable(place)}; the same command continues")
        raise
    for problem in found.problems:
        log.warning(problem)
    if found.is_empty and not found.bad and not found.failures:
        raise typer.Exit(2)
    log.info(
        f"{place}: {found.captions:,} captions in {found.made:,} new parts, "
        f"{found.before:,} parts existed already"
    )
    if found.bad:
        log.warning(f"{found.bad:,} images have no caption; {place}/bad-*.jsonl says why")
    if found.failures:
        log.warning(f"{len(found.failures):,} parts are missing; the same command tries them again")
    if found.problems or found.bad or found.failures:
        raise typer.Exit(2 if found.is_empty else 1)


def _address(output: str) -> str:
    """The output as given; `Path` removes one of an address's slashes."""
    kind, colon, rest = output.partition(":/")
    is_address = colon and len(kind) > 1 and kind.replace("+", "").isalnum()
    return f"{kind}://{rest.lstrip('/')}" if is_address else output
