"""The command line: the list of commands, and error handling.

Heavy imports stay inside the commands, so that ``showattend --help`` is fast.
"""

from __future__ import annotations

import glob
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from showattend import __version__
from showattend.cli.attend_command import attend
from showattend.cli.caption_command import caption
from showattend.cli.compare_command import compare
from showattend.cli.errors_command import errors
from showattend.cli.evaluate_command import evaluate
from showattend.cli.export_command import EXPORT_HELP, export
from showattend.cli.finetune_command import finetune
from showattend.cli.ground_command import ground
from showattend.cli.info_command import info
from showattend.cli.prepare_command import prepare_app
from showattend.cli.serve_command import serve
from showattend.cli.terminal import examples, log, show_log, wait_for_the_first
from showattend.cli.train_command import train
from showattend.exceptions import UserError
from showattend.system.provenance import remember_command
from showattend.system.signals import Terminated, terminable

# click's UsageError, whether typer depends on click or includes its own copy.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


class _Commands(TyperGroup):
    """The commands; typer itself would make SIGTERM an interruption like Ctrl-C."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Raises:
            typer.Exit: SIGTERM ended it.
        """
        try:
            return super().invoke(ctx)
        except Terminated:
            raise typer.Exit(143) from None


app = typer.Typer(
    name="showattend",
    cls=_Commands,
    help="Captions for photographs, and where the model looked for each word.",
    epilog=examples(
        "photo.jpg", "caption photos/", "attend dog.jpg --output dog.png", "caption --help"
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    show_log()


PHOTOGRAPHS, MODELS = "Photographs", "Models and data"
"""The two groups of commands, each in the order in which users need them."""

app.command(
    rich_help_panel=PHOTOGRAPHS,
    epilog=examples(
        "caption dog.jpg cat.png",
        "caption photos/ --recursive --output captions.jsonl",
        "caption 'photos/*.jpg' --sidecar --overlay figures/",
        "caption --engine ray --input s3://bucket/photos --output s3://bucket/captions",
    ),
)(caption)
app.command(
    rich_help_panel=PHOTOGRAPHS,
    epilog=examples(
        "attend dog.jpg --output dog.png",
        'attend dog.jpg --output dog.pdf --caption "a dog catches a ball" --words dog,ball',
        "attend dog.jpg --output dog.gif --style light",
        "attend photos/ --output gallery.html",
    ),
)(attend)
app.command(
    rich_help_panel=PHOTOGRAPHS, epilog=examples("serve", "serve --model runs/mine --port 8080")
)(serve)
app.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "finetune my-photos/ --out runs/mine",
        "finetune data/mine/dataset.jsonl --out runs/mine train.epochs=20",
        "finetune my-photos/ --out runs/mine --resume",
    ),
)(finetune)
app.command(
    rich_help_panel=MODELS,
    help=EXPORT_HELP,
    epilog=examples(
        "export --out exported",
        "export --model runs/mine --out exported",
        "export --model runs/mine --hub for-the-hub --license cc-by-nc-4.0",
    ),
)(export)
app.add_typer(prepare_app, name="prepare", rich_help_panel=MODELS)
app.command(
    rich_help_panel=MODELS,
    epilog=examples("info", "info --model runs/mine", "info --record results.json"),
)(info)
app.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "train configs/tiny.yaml",
        "train configs/flickr8k.yaml train.epochs=20 train.out=runs/longer",
        "train configs/flickr8k.yaml --resume",
    ),
)(train)
app.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "evaluate --annotations captions_val.json --images photos/ --output results.json",
        "evaluate --annotations captions_val.json --results captions-of-others.json",
    ),
)(evaluate)
app.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "errors --annotations captions_val.json --results results.json --output errors.md",
        "errors --annotations captions_val.json --results results.json --images photos/ "
        "--gallery worst.png",
    ),
)(errors)
app.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "ground --annotations instances.json --images photos/",
        "ground --annotations instances.json --images photos/ --captions captions.json",
        "ground --annotations instances.json --images photos/ --results captions-of-others.json",
    ),
)(ground)
app.command(
    rich_help_panel=MODELS,
    epilog=examples(
        "compare configs/ablation/*.yaml configs/flickr8k.yaml --out runs/ablation",
        "compare base.yaml vector.yaml --out runs/gate --seeds 3 train.epochs=10",
        "compare --records here/results.json there/results.json",
    ),
)(compare)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    A user's mistake is reported in one line on stderr, never as a traceback.

    Returns:
        The exit code: 0 all done, 1 some inputs failed, 2 nothing done, 130 interrupted, 143
        terminated.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names may not be valid text in any encoding
        as_named = sys.stdout.encoding == sys.getfilesystemencoding()
        sys.stdout.reconfigure(
            errors=sys.getfilesystemencodeerrors() if as_named else "backslashreplace"
        )
    show_log()
    given = sys.argv[1:] if args is None else args
    remember_command(given)
    with terminable():
        try:
            return _run(given)
        except Terminated:  # while it waited for another process to report
            return 143


def _run(args: Sequence[str]) -> int:
    try:
        _refuse_empty(args)
        code = app(with_command(args), prog_name="showattend", standalone_mode=False) or 0
    except UserError as error:
        if not error.elsewhere:
            wait_for_the_first()
            log.warning(str(error))
        return 2
    except _UsageError as error:
        _complain_of_usage(error)
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:  # not caught more specifically
        wait_for_the_first()
        file = "" if error.filename is None else f"{error.filename}: "
        log.warning(f"{file}{error.strerror or error}")
        return 2
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        wait_for_the_first()
        log.warning(
            "there is not enough memory; lower --batch-size or train.batch_size (train.accumulate "
            "makes up for it), or encoder.size"
        )
        return 2
    except typer.Abort:
        code = 130
    if code in (130, 143):
        log.warning("interrupted" if code == 130 else "terminated")
    return int(code)


def with_command(args: Sequence[str]) -> list[str]:
    """The arguments, with ``caption`` before them if they begin with a photo or a folder.

    Commands take precedence: write ``./train`` for a file with the name of a command.
    """
    first = args[0] if args else ""
    names = {
        each.name or getattr(each.callback, "__name__", "") for each in app.registered_commands
    }
    names |= {str(each.name) for each in app.registered_groups}
    if not first or first.startswith("-") or first in names:
        return list(args)
    path = Path(first)
    from showattend.images.finding import IMAGE_SUFFIXES

    is_photo = path.exists() or path.suffix.lower() in IMAGE_SUFFIXES or glob.has_magic(first)
    return ["caption", *args] if is_photo else list(args)


def _refuse_empty(args: Sequence[str]) -> None:
    """Refuse empty arguments, which as paths would mean the current folder.

    Raises:
        UserError: An argument or the value of an ``--option=`` is empty.
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
        raise UserError(f"{where} (an unset shell variable?); fill it in or leave it out")


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: in Python, on a GPU, or in PyTorch's CPU allocator."""
    kinds = {kind.__name__ for kind in type(error).__mro__}  # by name, to avoid importing PyTorch
    return bool(kinds & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(
        error
    )


def _complain_of_usage(error: Any) -> None:
    if type(error).__name__ == "NoArgsIsHelpError":  # without arguments, typer shows the help
        if error.message:  # otherwise typer has already printed it
            print(error.message, file=sys.stderr)
        return
    message = error.format_message().strip().rstrip(".")
    command = error.ctx.command_path if error.ctx else "showattend"
    log.warning(f"{message[:1].lower()}{message[1:]}; see {command} --help")
