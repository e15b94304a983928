"""The command ``showattend export``, and ``showattend caption --engine onnx``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from showattend.cli.loading import load_captioner
from showattend.cli.options import Model, Size
from showattend.cli.terminal import log, waiting
from showattend.exceptions import UserError

if TYPE_CHECKING:
    from showattend.export.engine import OnnxCaptioner

Engine = Annotated[
    Literal["torch", "onnx", "ray"],
    typer.Option(
        help="torch: PyTorch; onnx: onnxruntime on the CPU in fp32, which starts faster. "
        "With onnx, --model may be an exported folder; other models are exported once, to the "
        "user's cache. ray: PyTorch on any number of machines; --output is then a folder or an "
        "address, which gets files of captions, and the same command continues an interrupted run."
    ),
]


EXPORT_HELP = """Write a model as ONNX, with a small program that captions without PyTorch.

The folder holds encoder.onnx, initial.onnx and step.onnx (float32, any number of images and \
beams), model.json (vocabulary, preprocessing, search defaults) and caption.py, which needs only \
onnxruntime, numpy and pillow. Captions and maps are the same as with PyTorch: the networks are \
run and compared before the folder appears.

To use it: python DIR/caption.py photo.jpg --maps maps.npz, or showattend caption photo.jpg \
--engine onnx --model DIR. Writing it requires the extra "onnx".

With --hub instead of --out: the model itself, as a folder for the Hugging Face Hub."""


def export(
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder to write. It appears when the export is complete and checked; an "
            "earlier export there is replaced.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    model: Model = None,
    size: Size = None,
    hub: Annotated[
        Path | None,
        typer.Option(
            help="Write the model itself instead, as a folder for the Hugging Face Hub with a "
            "model card; `hf upload USER/NAME DIR` publishes it, --model hf:USER/NAME loads it.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    license: Annotated[
        str | None,
        typer.Option(
            help="With --hub: the licence in the card, such as cc-by-nc-4.0.",
            metavar="ID",
            show_default="mit for a shipped model, else unknown",
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            help="With --hub: the language of the captions.", metavar="CODE", show_default="en"
        ),
    ] = None,
) -> None:
    """Write a model as ONNX, with a small program that captions without PyTorch."""
    if (out is None) == (hub is None):
        raise UserError("give --out DIR for ONNX, or --hub DIR for the Hugging Face Hub")
    if hub is not None:
        if size is not None:
            raise UserError("--size is for --out; the Hub gets the model unchanged")
        _write_for_hub(model, hub, license, language or "en")
        return
    assert out is not None
    if license is not None or language is not None:
        raise UserError("--license and --language are for --hub; give that, or leave them out")
    from showattend.export.folder import NEEDED, check_folder, check_installed

    check_installed(*NEEDED)
    check_folder(out)
    refuse_exported(model)

    from showattend.export.folder import export as run

    captioner = load_captioner(model, "cpu", "fp32", size)
    sizes = run(captioner, out)
    for name, size in sizes.items():
        log.info(f"{out / name}  {size / 1e6:.2f} MB")
    log.info(f"wrote {out}: {sum(sizes.values()) / 1e6:.1f} MB")


def _write_for_hub(model: str | None, hub: Path, license: str | None, language: str) -> None:
    from showattend.export.hub_folder import write_hub_folder

    refuse_exported(model)
    sizes = write_hub_folder(model, hub, license=license, language=language)
    log.info(f"wrote {hub}: {', '.join(sizes)}; {sum(sizes.values()) / 1e6:.1f} MB")
    log.info(f"to publish it: hf upload USER/NAME {shlex.quote(str(hub))}")


def onnx_captioner(model: str | None, device: str, precision: str) -> OnnxCaptioner:
    """Create the onnxruntime captioner, announcing an export if one is needed first.

    Raises:
        UserError: See `OnnxCaptioner.from_pretrained`.
    """
    from showattend.export.engine import OnnxCaptioner

    with waiting("loading the model"):
        return OnnxCaptioner.from_pretrained(model, device=device, precision=precision)


def refuse_exported(model: str | None) -> None:
    """Refuse an exported folder where a PyTorch model is needed.

    Raises:
        UserError: The model is an exported folder.
    """
    from showattend.export.engine import is_exported

    if is_exported(model):
        raise UserError(f"{model}: an exported model; only caption --engine onnx can use it")
