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
    record: Annotated[
        Path | None,
        typer.Option(
            help="Instead, show how a record, such as a training.json or results.json, was made, "
            "and the command that repeats it.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache", help="Instead, list the cached features of images.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="With --cache: delete features that are stale (of an earlier version, or of "
            "pixels that are now read differently) or that no run has read for --days. Features "
            "in use are kept.",
        ),
    ] = False,
    days: Annotated[
        float | None, typer.Option(help="Of --prune.", show_default="30", min=0)
    ] = None,
) -> None:
    """Show a model's recipe, scores and provenance, how a record was made, or what is cached.

    Without options: the default model, and a list of available models.
    """
    if record is not None:
        if model is not None or cache or prune or folder is not None or days is not None:
            raise UserError("--record shows one file; leave the other options out")
        _record(record)
        return
    if not cache:
        if prune or folder is not None or days is not None:
            raise UserError("FOLDER, --prune and --days are for --cache; give that too")
        from showattend.model.checkpoint import find_model
        from showattend.model.description import describe

        print(describe(find_model(model)))
        if model is None:
            _models()
        return
    if model is not None:
        raise UserError("--model and --cache show different things; give one of them")
    if days is not None and not prune:
        raise UserError("--days is for --prune; give that too")
    _caches(CACHE if folder is None else folder, prune, 30 if days is None else days)


def _models() -> None:
    from showattend.model.known_models import RUNS, known_models

    rows = [
        [printable(each.name), each.where, f"{each.words:,}", _megabytes(each.bytes)]
        for each in known_models()
    ]
    print()
    header = ("--model", "", "words", "MB")
    table(f"Models: shipped, below {RUNS}, and fetched from the Hugging Face Hub", rows, header)


def _record(path: Path) -> None:
    import shlex

    from showattend.evaluation.reproduce import commands, read_record
    from showattend.exceptions import DataError
    from showattend.model.score_settings import describe_settings, search_settings
    from showattend.system.provenance import describe

    found = read_record(path)
    made = found.get("provenance")
    lines = [f"record       {path}"]
    if not made:
        lines.append("provenance   not recorded: it was made by an earlier version")
    else:
        lines += describe(made)
    for each in found.get("resumed") or []:
        lines.append(f"resumed      at epoch {each.get('epoch')}, batch {each.get('batch')}:")
        lines += describe({key: each.get(key) for key in ("code", "machine", "packages")})
    settings = found.get("settings") or found.get("validation") or {}
    if how := describe_settings(settings if "split" in settings else search_settings(settings)):
        lines.append(f"settings     {how}")
    print("\n".join(map(printable, lines)))
    try:
        again = commands(found, path)
    except DataError:  # not a model's captions, such as a training.json
        return
    for words in again.values():  # one for each data set
        print(f"to repeat    {printable(shlex.join(words))}")


def _caches(folder: Path, prune: bool, days: float) -> None:
    from showattend.data.cache_listing import list_caches
    from showattend.data.cache_listing import prune as remove

    entries = list_caches(folder)
    if not entries:
        log.info(f"{folder}: no features are cached there")
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
