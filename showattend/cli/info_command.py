"""The command ``showattend info``: facts about a model, or about the feature caches."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from showattend.cli.options import Model
from showattend.cli.terminal import log, printable, table
from showattend.exceptions import UserError

CACHE = Path("data/cache")


def info(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="With --cache: the folder of the caches, data.cache of the config.",
            show_default=str(CACHE),
        ),
    ] = None,
    model: Model = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="List the features of images that are kept instead.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="With --cache: delete features that are stale (of an earlier version, or of "
            "pixels that would be read otherwise now) or that no run has read for --days. What a "
            "run is using stays.",
        ),
    ] = False,
    days: Annotated[
        float | None, typer.Option(help="Of --prune.", show_default="30", min=0)
    ] = None,
) -> None:
    """Show a model's recipe, training data and scores, or what is cached."""
    if not cache:
        if prune or folder is not None or days is not None:
            raise UserError("FOLDER, --prune and --days are about --cache; give that too")
        from showattend.model.checkpoint import find_model
        from showattend.model.description import describe

        print(describe(find_model(model)))
        return
    if model is not None:
        raise UserError("--model is not about --cache; give one of them")
    if days is not None and not prune:
        raise UserError("--days is about --prune; give that too")
    _caches(CACHE if folder is None else folder, prune, 30 if days is None else days)


def _caches(folder: Path, prune: bool, days: float) -> None:
    from showattend.data.cache_listing import list_caches
    from showattend.data.cache_listing import prune as remove

    entries = list_caches(folder)
    if not entries:
        log.info(f"{folder}: no features are kept there")
        return
    rows = [
        [
            printable(each.encoder),
            str(each.size or "-"),
            each.view or "-",
            f"{each.images:,}" if each.view else "-",
            _megabytes(each.bytes),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(each.used)),
            each.state,
        ]
        for each in entries
    ]
    total = _megabytes(sum(each.bytes for each in entries))
    header = ("encoder", "size", "view", "images", "MB", "last used", "state")
    table(f"{printable(folder)}: {total} MB of features", rows, header)
    if prune:
        removed = remove(entries, days)
        for each in removed:
            log.info(f"deleted {each.place} ({_megabytes(each.bytes)} MB)")
        if not removed:
            log.info("nothing to delete")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"
