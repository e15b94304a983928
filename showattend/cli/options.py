"""Options that several commands have, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from showattend.config import settings


def searching(name: str, default: str | bool = True) -> Any:
    """The option of a setting of search.

    Args:
        name: One of `showattend.config.settings`.
        default: What the help says that it is when left out.
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
        help="fp32: the same captions on every device; bf16, fp16: rounded, and faster where the "
        "processor has them; auto: bf16 where it has, else fp32."
    ),
]
BeamSize = Annotated[int | None, searching("beam_size", "the model's")]
Size = Annotated[
    int | None,
    typer.Option(
        help="Pixels a side that the model sees; more make a finer grid of attention, and take "
        "longer.",
        show_default="the model's",
        min=32,
        max=2048,
    ),
]
NoNotes = Annotated[
    bool,
    typer.Option(
        "--no-notes", help="Do not say of photos that they are unlike those of the training."
    ),
]
BatchSize = Annotated[int, typer.Option(help="Images the model sees at once.", min=1)]
Images = Annotated[
    Path | None,
    typer.Option(help="Folder of the images.", show_default="where the annotations say"),
]
Json = Annotated[
    Path | None, typer.Option(help="Write figures and captions to a .json file.", metavar="FILE")
]
