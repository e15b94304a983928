"""The command ``showattend finetune``: a model for your own photographs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from showattend.cli.options import Model
from showattend.cli.terminal import console, log, printable, table

FEW = 10
"""With fewer validation photographs than this, scores mean little."""


def finetune(
    photos: Annotated[
        Path,
        typer.Argument(
            help="A folder of photographs with captions (photo.txt next to photo.jpg, captions.csv "
            "or captions.jsonl), or a dataset.jsonl.",
            metavar="FOLDER|DATASET",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Config values that replace the automatic ones.",
            metavar="[SECTION.KEY=VALUE]...",
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the new model.", metavar="DIR")],
    model: Model = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
) -> None:
    """Fine-tune a model on your own photographs and compare it with the original."""
    from showattend.training.display import Display
    from showattend.training.finetune import REPORT_NAME
    from showattend.training.finetune import finetune as run

    try:
        with Display(console()) as display:
            found = run(
                photos,
                out,
                model=model,
                overrides=overrides or [],
                resume=resume,
                reporter=display,
            )
    except KeyboardInterrupt:
        if (out / REPORT_NAME).is_file():
            again = "the same command" if resume else "the same command with --resume"
            log.info(f"the state of the run is kept in {out}; {again} continues it")
        raise
    _print(found, photos, out)
    if found["skipped"] or found["unread"]:
        raise typer.Exit(1)


def _print(found: dict[str, Any], photos: Path, out: Path) -> None:
    for example in found["examples"]:
        print(printable(_as_given(example["photo"], photos)))
        for key in ("before", "after", "people"):
            print(f"  {key:<8}{printable(example[key])}")
    images = found["images"]["val"]
    rows = [
        [name, *(f"{found[when][name]:.3f}" for when in ("before", "after"))]
        for name in ("CIDEr", "BLEU-4", "METEOR")
        if name in found["before"] and name in found["after"]
    ]
    what = "photograph" if images == 1 else "photographs"
    table(f"Scores on {images:,} validation {what}", rows, ("", "before", "after"))
    gain, half = found["gain"]
    print(_remark(gain, half, images))
    where = shlex.quote(str(out))
    if found["kept"] == "start":
        print(
            f"Training did not improve it there: the model in {printable(where)} is the original, "
            f"{printable(found['model'])} (the trained one is saved next to it as "
            "trained.safetensors)"
        )
    for note in found["notes"]:
        log.warning(note)
    shown = [_as_given(example["photo"], photos) for example in found["examples"]]
    photo = shown[0] if shown else "photo.jpg"
    log.info("next:")
    log.info(f"  showattend caption {shlex.quote(photo)} --model {where}")
    arguments = shlex.join(found["evaluate"])
    log.info(f"  showattend evaluate {arguments} --model {where}")


def _as_given(photo: str, photos: Path) -> str:
    """A photograph's path, relative to the working folder if the user gave such a path."""
    here = Path.cwd()
    if photos.is_absolute() or not Path(photo).is_relative_to(here):
        return photo
    return str(Path(photo).relative_to(here))


def _remark(gain: float | None, half: float | None, images: int) -> str:
    """A remark on how much the scores mean."""
    if images < FEW or half is None or gain is None:
        few = "a single photograph" if images == 1 else f"{images} photographs"
        return f"Scores on {few} mean little: look at the captions"
    return (
        f"CIDEr {gain:+.3f}, 95 % interval {gain - half:+.3f} to {gain + half:+.3f} (optimistic, "
        "since the epoch was chosen on the same photographs)"
    )
