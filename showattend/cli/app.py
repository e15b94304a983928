"""The command line: parse, call the library, print. It never computes.

Heavy imports stay inside the commands, so that ``showattend --help`` starts at once.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from showattend import __version__
from showattend.cli_attend import attend
from showattend.cli_compare import compare
from showattend.cli_errors import errors
from showattend.cli_export import EXPORT_HELP, Engine, export, onnx_captioner, refuse_exported
from showattend.cli_finetune import finetune
from showattend.cli_ground import ground
from showattend.cli_options import (
    BatchSize,
    BeamSize,
    Device,
    Images,
    Json,
    Model,
    NoNotes,
    Precision,
    Size,
)
from showattend.cli_prepare import prepare_app
from showattend.cli_serve import serve
from showattend.errors import UserError
from showattend.terminal import (
    MANY,
    bars,
    complain,
    console,
    examples,
    finish,
    note,
    printable,
    report,
    say,
    table,
    wait_for_the_first,
)

if TYPE_CHECKING:
    from showattend.captioner import Captioner
    from showattend.export.engine import OnnxCaptioner


# click's UsageError, whether typer stands on click or carries its own copy of it.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="showattend",
    help="Captions for photographs, and where the model looked for each word.",
    epilog=examples("caption photos/", "attend dog.jpg --output dog.png", "caption --help"),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(prepare_app, name="prepare")
app.command(
    epilog=examples(
        "attend dog.jpg --output dog.png",
        'attend dog.jpg --output dog.pdf --caption "a dog catches a ball" --words dog,ball',
        "attend dog.jpg --output dog.gif --style light",
        "attend photos/ --output gallery.html",
    )
)(attend)
app.command(
    epilog=examples(
        "compare configs/ablation/*.yaml configs/flickr8k.yaml --out runs/ablation",
        "compare base.yaml vector.yaml --out runs/gate --seeds 3 train.epochs=10",
    )
)(compare)
app.command(
    epilog=examples(
        "errors --annotations captions_val.json --results results.json --output errors.md",
        "errors --annotations captions_val.json --results results.json --images photos/ "
        "--gallery worst.png",
    )
)(errors)
app.command(
    epilog=examples(
        "finetune my-photos/ --out runs/mine",
        "finetune data/mine/dataset.jsonl --out runs/mine train.epochs=20",
        "finetune my-photos/ --out runs/mine --resume",
    )
)(finetune)
app.command(
    epilog=examples(
        "ground --annotations instances.json --images photos/",
        "ground --annotations instances.json --images photos/ --captions captions.json",
    )
)(ground)
app.command(
    help=EXPORT_HELP,
    epilog=examples("export --out exported", "export --model runs/mine --out exported"),
)(export)
app.command(epilog=examples("serve", "serve --model runs/mine --port 8080"))(serve)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"showattend {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    pass


@app.command(
    epilog=examples(
        "caption dog.jpg cat.png",
        "caption photos/ --recursive --output captions.jsonl",
        "caption 'photos/*.jpg' --sidecar --overlay figures/",
    )
)
def caption(
    paths: Annotated[list[str], typer.Argument(help="Image files, folders, globs.")],
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Look into the folders' subfolders too.")
    ] = False,
    model: Model = None,
    beam_size: BeamSize = None,
    n_best: Annotated[
        int, typer.Option(help="Captions an image, best first; at most the beam size.", min=1)
    ] = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write a .jsonl or .csv file, with words and how probable each is. "
            "Until all is done, and if interrupted, it is FILE.part.",
            metavar="FILE",
        ),
    ] = None,
    sidecar: Annotated[
        bool,
        typer.Option("--sidecar", help="Write photo.txt beside photo.jpg, if it is not there yet."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --sidecar replace what a photo.txt says.")
    ] = False,
    overlay: Annotated[
        Path | None, typer.Option(help="Write attention figures there.", metavar="DIR")
    ] = None,
    no_notes: NoNotes = False,
    engine: Engine = "torch",
    size: Size = None,
    batch_size: BatchSize = 32,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Caption image files, folders and globs; prints "path<TAB>caption"."""
    from showattend.images import find_images
    from showattend.outputs import CaptionWriter

    if overwrite and not sidecar:
        raise UserError("--overwrite lets --sidecar replace texts; give both")
    found, problems = find_images(paths, recursive)
    for problem in problems:
        complain(problem)
    if not found:
        raise typer.Exit(2)
    writer = CaptionWriter(
        found,
        output=output,
        sidecar=sidecar,
        overwrite=overwrite,
        overlay=overlay,
        say=lambda line: say(printable(line)),
    )
    captioner: Captioner | OnnxCaptioner
    if engine == "onnx":
        if size is not None:
            raise UserError(
                "an export has the size it was made with; make one of this size: showattend "
                f"export --size {size} --out DIR, and give --model DIR instead of --size"
            )
        captioner = onnx_captioner(model, device, precision)
    else:
        refuse_exported(model)
        captioner = _captioner(model, device, precision, size)
    # The bars take the place of sys.stdout, to print above themselves: on stderr, not in a pipe.
    stdout = None if sys.stdout.isatty() else sys.stdout
    options: dict[str, Any] = {} if beam_size is None else {"beam_size": beam_size}
    stream = captioner.stream(found, batch_size=batch_size, n_best=n_best, **options)
    captioned = 0
    try:
        with bars(len(found) >= MANY) as progress, writer:
            for done, (path, (_, result)) in enumerate(zip(found, stream, strict=True), 1):
                if isinstance(result, UserError):
                    problems.append(str(result))
                    complain(str(result))
                else:
                    captioned += 1
                    for each in (result, *result.alternatives):
                        print(f"{printable(path)}\t{each.text}", file=stdout, flush=True)
                    if not no_notes:
                        note(path, result.note)
                    for problem in writer.write(path, result):
                        problems.append(problem)
                        complain(problem)
                progress("Captioning", done, len(found))
    except BaseException:
        if writer.partial is not None:
            say(f"the captions made so far are in {printable(writer.partial)}")
        raise
    if problems:
        raise typer.Exit(1 if captioned else 2)


@app.command(
    epilog=examples(
        "train configs/tiny.yaml",
        "train configs/flickr8k.yaml train.epochs=20 train.out=runs/longer",
        "train configs/flickr8k.yaml --resume",
    )
)
def train(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/flickr8k.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Values to use instead of the file's.", metavar="[SECTION.KEY=VALUE]..."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
) -> None:
    """Train a model as a config says."""
    from showattend.config import load_config

    settings = load_config(config, overrides or [])
    from showattend.settings import describe_settings
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
            say(f"the state of the run is kept in {printable(out)}; {again} goes on from there")
        raise
    if not first:  # of several processes the first one speaks
        return
    best, out = record["best"], printable(out)
    say(
        f"best: epoch {best['epoch']}, CIDEr {best['CIDEr']:.3f} "
        f"({describe_settings(record['validation'])}); "
        f"the model, its record and curves are in {out}"
    )


@app.command(
    epilog=examples(
        "evaluate --annotations captions_val.json --images photos/ --output results.json",
        "evaluate --annotations captions_val.json --results captions-of-others.json",
    )
)
def evaluate(
    annotations: Annotated[
        Path, typer.Option(help="Human captions: COCO's JSON, or any data set.", metavar="FILE")
    ],
    images: Images = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Score these captions instead, made by anything.", metavar="FILE"),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Let --results leave images out.")
    ] = False,
    model: Model = None,
    beam_size: BeamSize = None,
    split: Annotated[str | None, typer.Option(help="Which split, where there are several.")] = None,
    output: Json = None,
    size: Size = None,
    batch_size: BatchSize = 32,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Score captions with BLEU, METEOR, ROUGE-L and CIDEr (coco-caption)."""
    from showattend.checkpoint import find_model
    from showattend.evaluation.evaluate import evaluate as run
    from showattend.outputs import check_json, make_room, spare
    from showattend.settings import describe_settings

    if results is not None and (images, model, beam_size, size) != (None, None, None, None):
        raise UserError(
            "--results scores captions that exist; no --images, --model, --beam-size, --size"
        )
    if allow_missing and results is None:
        raise UserError("--allow-missing is about --results; give both")
    if output is not None:
        check_json(output)
        weights = find_model(model) if results is None else None
        spare((annotations, results, weights), output, "an input")
        make_room(output)
    captioner = _captioner(model, device, precision, size) if results is None else None
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
    report(found, output)
    finish(found)


@app.command(epilog=examples("info", "info --model runs/mine"))
def info(model: Model = None) -> None:
    """Say what a model is: recipe, data, figures."""
    from showattend import checkpoint as checkpoints

    print(checkpoints.describe(checkpoints.find_model(model)))


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and say how it went: 0 all done, 1 some of it, 2 nothing.

    A user's mistake is one line on stderr, never a traceback.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name need not be text in any encoding
        as_named = sys.stdout.encoding == sys.getfilesystemencoding()
        sys.stdout.reconfigure(
            errors=sys.getfilesystemencodeerrors() if as_named else "backslashreplace"
        )
    try:
        _refuse_empty(sys.argv[1:] if args is None else args)
        code = app(args, prog_name="showattend", standalone_mode=False) or 0
    except UserError as error:
        wait_for_the_first()
        complain(str(error))
        return 2
    except _UsageError as error:
        _complain_of_usage(error)
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:  # what nothing nearer to it has caught
        wait_for_the_first()
        file = "" if error.filename is None else f"{error.filename}: "
        complain(f"{file}{error.strerror or error}")
        return 2
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        wait_for_the_first()
        complain(
            "there is not enough memory; lower --batch-size or train.batch_size (train.accumulate "
            "makes up for it), or encoder.size"
        )
        return 2
    except typer.Abort:
        code = 130
    if code == 130:
        complain("interrupted")
    return int(code)


def _refuse_empty(args: Sequence[str]) -> None:
    """Refuse an argument without a letter: as a path it would be the current folder.

    Raises:
        UserError: One is empty, or the value of an ``--option=``.
    """
    options = args[: args.index("--")] if "--" in args else args
    for number, arg in enumerate(args, 1):
        name, equals, value = arg.partition("=")
        if not arg:
            after = f", after {args[number - 2]}," if number > 1 else ""
            where = f"argument {number}{after} is empty"
        elif number <= len(options) and name.startswith("--") and equals and not value:
            where = f"{name}: its value is empty"
        else:
            continue
        raise UserError(f"{where} (a shell variable that is not set?); fill it in or leave it out")


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: Python's, a GPU's, or what PyTorch takes of a CPU's."""
    kinds = {kind.__name__ for kind in type(error).__mro__}  # PyTorch need not have been imported
    return bool(kinds & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(
        error
    )


def _complain_of_usage(error: Any) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":  # no arguments at all: help instead
        if error.message:  # else typer has printed it already
            say(error.message)
        return
    message = error.format_message().strip().rstrip(".")
    command = error.ctx.command_path if error.ctx else "showattend"
    complain(f"{message[:1].lower()}{message[1:]}; see {command} --help")


# Helpers -------------------------------------------------------------------------------------


def _captioner(model: str | None, device: str, precision: str, size: int | None) -> Captioner:
    from showattend.captioner import Captioner
    from showattend.device import keep_freed_memory

    keep_freed_memory()  # one batch after the other asks for the same
    return Captioner.from_pretrained(model, device=device, precision=precision, size=size)


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())
