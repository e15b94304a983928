"""The commands ``showattend prepare ...``, one for each form of data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from showattend.data.prepare import Report, prepare_flickr8k, prepare_folder, prepare_karpathy
from showattend.terminal import bars, examples, printable

prepare_app = typer.Typer(
    help="Check a data set, report on it, and write it in the form that training reads.",
    epilog=examples(
        "prepare flickr8k Flickr8k/ --out data/flickr8k",
        "prepare folder my-photos/ --out data/mine",
    ),
    no_args_is_help=True,
)

Out = Annotated[Path, typer.Option(help="Folder to write to.")]
MinCount = Annotated[int, typer.Option(help="Occurrences that make a word known.", min=1)]


@prepare_app.command()
def flickr8k(
    root: Annotated[Path, typer.Argument(help="Folder with Flickr8k.token.txt and the splits.")],
    out: Out,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images.", show_default="in the folder")
    ] = None,
    min_count: MinCount = 5,
) -> None:
    """Flickr8k's own text files."""
    _prepare(prepare_flickr8k, root, out, images=images, min_count=min_count)


@prepare_app.command()
def karpathy(
    annotations: Annotated[Path, typer.Argument(help="dataset_coco.json, dataset_flickr8k.json")],
    images: Annotated[Path, typer.Option(help="Folder of the images.")],
    out: Out,
    restval: Annotated[bool, typer.Option(help="Train on the split restval too.")] = True,
    min_count: MinCount = 5,
) -> None:
    """A Karpathy split file."""
    _prepare(prepare_karpathy, annotations, images, out, restval=restval, min_count=min_count)


@prepare_app.command()
def folder(
    folder: Annotated[Path, typer.Argument(help="Folder of the photos and their captions.")],
    out: Out,
    val_fraction: Annotated[float, typer.Option(help="Share of images to validate on.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the choice of those images.")] = 0,
    min_count: MinCount = 5,
) -> None:
    """Photos of your own: photo.txt beside photo.jpg, captions.jsonl or captions.csv in it."""
    _prepare(
        prepare_folder,
        folder,
        out,
        val_fraction=val_fraction,
        seed=seed,
        min_count=min_count,
    )


def _prepare(function: Callable[..., Report], *args: Any, **options: Any) -> None:
    with bars() as progress:
        report = function(*args, **options, progress=progress)
    for line in report.lines():
        print(printable(line))
    if report.skipped:
        raise typer.Exit(1)
