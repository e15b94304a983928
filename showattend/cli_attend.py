"""The command ``showattend attend``: where the model looks, as a picture, a page or numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from showattend.errors import UserError
from showattend.terminal import complain, printable, say


def attend(
    image: Annotated[str, typer.Argument(help="The photograph.")],
    output: Annotated[
        Path,
        typer.Option(
            help="The file to write. A figure: .png, .jpg, .svg, .pdf; an animation: .gif, "
            ".webp; a page for the browser: .html; the maps themselves: .npz, .json.",
            metavar="FILE",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="A shipped model's name, a directory or a file.", show_default="shipped"),
    ] = None,
    given: Annotated[
        str | None, typer.Option("--caption", help="Make the model say this sentence.")
    ] = None,
    words: Annotated[str | None, typer.Option(help="Only these words, such as dog,ball.")] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="Of a figure: grid; strip, all panels in a row; word, each panel as large as "
            "the photo.",
            show_default="grid",
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            help="word: each map is as bright as it can be; common: one scale for all.",
            show_default="word",
        ),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(
            help="heat: a colour map; light: the photo brightens where the model looks.",
            show_default="heat",
        ),
    ] = None,
    beam_size: Annotated[
        int | None,
        typer.Option(help="Hypotheses an image; 1 is greedy.", show_default="the model's", min=1),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (bf16 where the processor has it), fp32, bf16.")
    ] = "auto",
) -> None:
    """Show where the model looks for each word of a caption."""
    from showattend.outputs import make_room
    from showattend.visualize import check_output, lettering

    chosen = None if words is None else [word for word in words.split(",") if word.strip()]
    if chosen == []:
        raise UserError("--words names no word; give some, such as --words dog,ball")
    if given is not None and beam_size is not None:
        raise UserError("--caption says the words, there is no search; leave --beam-size out")
    asked = {"words": chosen, "layout": layout, "scale": scale, "style": style}
    options = {name: value for name, value in asked.items() if value is not None}
    suffix = check_output(output, options)
    make_room(output)

    from showattend.captioner import Captioner

    captioner = Captioner.from_pretrained(model, device=device, precision=precision)
    if given is None:
        search: dict[str, Any] = {} if beam_size is None else {"beam_size": beam_size}
        if suffix == ".html":  # the page shows what the search found beside it
            search["n_best"] = search.get("beam_size", captioner.search.beam_size)
        result = captioner.caption(image, **search)
    else:
        result = captioner.attend(image, given)
        unknown = [word for word in result.words if word not in captioner.vocabulary]
        if unknown:
            complain(f"the model does not know {', '.join(unknown)}, and reads <unk> there")
    result.save_overlay(output, **options)
    if suffix not in (".html", ".npz", ".json"):  # those hold the letters, and draw none
        shortage = lettering(result.raw).shortage
        if shortage:
            complain(shortage)
    print(f"{printable(image)}\t{result.text}")
    say(f"wrote {printable(output)}")
