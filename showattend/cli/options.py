"""Options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from showattend.config import settings


def searching(name: str, default: str | bool = True) -> Any:
    """The option of a setting of search.

    Args:
        name: One of `showattend.config.settings`.
        default: The default that the help shows.
    """
    setting = settings()[name]
    return typer.Option(
        help=setting.sentence, show_default=default, min=setting.least, max=setting.most
    )


Model = Annotated[
    str | None,
    typer.Option(
        help="A shipped model's name, a directory, a file, or hf:user/name of the Hugging Face "
        "Hub.",
        show_default="shipped",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[
    str,
    typer.Option(
        help="fp32: the same captions on every device; bf16, fp16: rounded, and faster if the "
        "processor supports them; auto: bf16 if supported, else fp32."
    ),
]
BeamSize = Annotated[int | None, searching("beam_size", "the model's")]
Size = Annotated[
    int | None,
    typer.Option(
        help="Side of the model's input in pixels; larger gives a finer attention grid and takes "
        "longer.",
        show_default="the model's",
        min=32,
        max=2048,
    ),
]
NoNotes = Annotated[
    bool,
    typer.Option("--no-notes", help="Do not note photos that are unlike the training data."),
]
BatchSize = Annotated[int, typer.Option(help="Images the model sees at once.", min=1)]
Images = Annotated[
    Path | None,
    typer.Option(help="Folder of the images.", show_default="where the annotations say"),
]
Json = Annotated[
    Path | None, typer.Option(help="Write figures and captions to a .json file.", metavar="FILE")
]
