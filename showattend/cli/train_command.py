"""The command ``showattend train``: a training run described by a config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from showattend.cli.terminal import console, log, printable


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/flickr8k.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Values that override the file's.", metavar="[SECTION.KEY=VALUE]..."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
) -> None:
    """Train a model as described by a config."""
    from showattend.config import load_config

    settings = load_config(config, overrides or [])
    from showattend.model.score_settings import describe_settings
    from showattend.training.display import Display
    from showattend.training.state import can_go_on
    from showattend.training.trainer import train as run

    out, first = settings.train.out, not int(os.environ.get("RANK", "0"))
    try:
        with Display(console()) as display:
            record = run(settings, display, resume)
    except KeyboardInterrupt:
        if first and can_go_on(Path(out)):
            again = "the same command" if resume else "the same command with --resume"
            log.info(f"the state of the run is kept in {out}; {again} continues it")
        raise
    if not first:  # only the first process reports
        return
    best, out = record["best"], printable(out)
    log.info(
        f"kept: epoch {best['epoch']}, CIDEr {best['CIDEr']:.3f} "
        f"({describe_settings(record['validation'])}); "
        f"the model, its record and curves are in {out}"
    )
