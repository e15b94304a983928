"""The command ``showattend evaluate``: scores of captions against human ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from showattend.cli.loading import load_captioner
from showattend.cli.options import BatchSize, BeamSize, Device, Images, Json, Model, Precision, Size
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
    split: Annotated[
        str | None, typer.Option(help="The split to score, if there are several.")
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

    if results is not None and (images, model, beam_size, size) != (None, None, None, None):
        raise UserError(
            "--results scores existing captions; leave out --images, --model, --beam-size, --size"
        )
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
            beam_size=beam_size,
            batch_size=batch_size,
            split=split,
            allow_missing=allow_missing,
            progress=progress,
            output=output,
        )
    metrics = [(name, _fraction(value)) for name, value in found["metrics"].items()]
    told = describe_settings(found["settings"])
    table(f"Scores of {len(found['captions']):,} captions ({told})", metrics)
    write_report(found, output)
    finish(found)


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
