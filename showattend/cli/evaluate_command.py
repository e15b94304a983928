"""The command ``showattend evaluate``: scores of captions against human ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from showattend.cli.loading import load_captioner
from showattend.cli.options import (
    BatchSize,
    BeamSize,
    Device,
    Images,
    Json,
    Model,
    Precision,
    Size,
    searching,
)
from showattend.cli.terminal import bars, finish, table, write_report
from showattend.exceptions import UserError


def evaluate(
    annotations: Annotated[
        Path, typer.Option(help="Human captions: COCO JSON or any data set.", metavar="FILE")
    ],
    images: Images = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Score these captions instead of a model's.", metavar="FILE"),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Allow --results without some of the images.")
    ] = False,
    model: Model = None,
    beam_size: BeamSize = None,
    length_penalty: Annotated[float | None, searching("length_penalty", "the model's")] = None,
    block_ngrams: Annotated[int | None, searching("block_ngrams", "the model's")] = None,
    min_length: Annotated[int | None, searching("min_length", "the model's")] = None,
    max_length: Annotated[int | None, searching("max_length", "the model's")] = None,
    split: Annotated[
        str | None,
        typer.Option(help="The split to score, if there are several: train, val or test."),
    ] = None,
    output: Json = None,
    size: Size = None,
    batch_size: BatchSize = 32,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Score captions with BLEU, METEOR, ROUGE-L and CIDEr (coco-caption)."""
    from showattend.cli.output_checks import check_json
    from showattend.evaluation.evaluate import evaluate as run
    from showattend.model.checkpoint import find_model
    from showattend.model.score_settings import describe_settings
    from showattend.system.files import make_room, spare

    search = {
        "beam_size": beam_size,
        "length_penalty": length_penalty,
        "block_ngrams": block_ngrams,
        "min_length": min_length,
        "max_length": max_length,
    }
    given = {"images": images, "model": model, "size": size, **search}
    if results is not None and any(value is not None for value in given.values()):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UserError(f"--results scores existing captions; leave out {options}")
    if allow_missing and results is None:
        raise UserError("--allow-missing is for --results; give both")
    if output is not None:
        check_json(output)
        weights = find_model(model) if results is None else None
        spare((annotations, results, weights), output, "an input")
        make_room(output)
    captioner = load_captioner(model, device, precision, size) if results is None else None
    with bars() as progress:
        found = run(
            annotations,
            captioner=captioner,
            images=images,
            results=results,
            batch_size=batch_size,
            split=split,
            allow_missing=allow_missing,
            progress=progress,
            output=output,
            **search,
        )
    metrics = [(name, _fraction(value)) for name, value in found["metrics"].items()]
    told = describe_settings(found["settings"])
    table(f"Scores of {len(found['captions']):,} captions ({told})", metrics)
    write_report(found, output)
    finish(found)


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
