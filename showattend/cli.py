"""The command line: parse, call the library, print. It never computes.

Heavy imports stay inside the commands, so that ``showattend --help`` starts at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from showattend.errors import DataError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from showattend.captioner import Captioner

app = typer.Typer(
    name="showattend",
    help="Captions for photographs, and where the model looked for each word.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
prepare_app = typer.Typer(
    help="Validate a data set, report on it, and write it in the form that training reads.",
    no_args_is_help=True,
)
app.add_typer(prepare_app, name="prepare")

Model = Annotated[
    str | None,
    typer.Option(help="A shipped model's name, a directory or a file.", show_default="shipped"),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="auto (bf16 where the processor has it), fp32, bf16.")]
BeamSize = Annotated[
    int | None, typer.Option(help="Hypotheses an image; 1 is greedy.", show_default="the model's")
]
BatchSize = Annotated[int, typer.Option(help="Images the model sees at once.", min=1)]
Out = Annotated[Path, typer.Option(help="Folder to write to.")]
Images = Annotated[Path | None, typer.Option(help="Folder of the images.")]


@app.command()
def caption(
    paths: Annotated[list[str], typer.Argument(help="Image files, folders, globs.")],
    recursive: Annotated[bool, typer.Option(help="Look into folders of folders.")] = False,
    model: Model = None,
    beam_size: BeamSize = None,
    n_best: Annotated[int, typer.Option(help="Captions an image, best first.", min=1)] = 1,
    output: Annotated[Path | None, typer.Option(help="Write a .jsonl or .csv file.")] = None,
    sidecar: Annotated[bool, typer.Option(help="Write photo.txt beside photo.jpg.")] = False,
    overlay: Annotated[Path | None, typer.Option(help="Write attention figures here.")] = None,
    batch_size: BatchSize = 32,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Caption image files, folders and globs; prints "path<TAB>caption"."""
    from showattend.images import find_images
    from showattend.outputs import CaptionWriter

    found, problems = find_images(paths, recursive)
    for problem in problems:
        _complain(problem)
    if not found:
        if not problems:
            _complain("no images found; give image files, folders or globs")
        raise typer.Exit(2)
    options: dict[str, Any] = {"batch_size": batch_size, "n_best": n_best}
    if beam_size is not None:
        options["beam_size"] = beam_size
    with CaptionWriter(output=output, sidecar=sidecar, overlay=overlay) as writer:
        captioner = _captioner(model, device, precision)
        failed = 0
        with _bar("Captioning", len(found), sys.stderr, from_total=20) as advance:
            for path, result in captioner.stream(found, **options):
                if isinstance(result, UserError):
                    _complain(str(result))
                    failed += 1
                else:
                    try:
                        writer.write(path, result)
                    except UserError as error:
                        _complain(str(error))
                        failed += 1
                advance(1)
    if failed == len(found):
        raise typer.Exit(2)
    if failed or problems:
        raise typer.Exit(1)


@app.command()
def attend(
    image: Annotated[str, typer.Argument(help="The photograph.")],
    output: Annotated[Path, typer.Option(help="The figure to write: .png, .jpg, .svg, .pdf ...")],
    model: Model = None,
    given: Annotated[
        str | None, typer.Option("--caption", help="Make the model say this sentence.")
    ] = None,
    words: Annotated[
        str | None, typer.Option(help="Only the panels of these words: dog,ball")
    ] = None,
    beam_size: BeamSize = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Draw where the model looks for each word of a caption."""
    from showattend.visualize.figure import check_output

    check_output(output)
    captioner = _captioner(model, device, precision)
    if given is None:
        options = {} if beam_size is None else {"beam_size": beam_size}
        result = captioner.caption(image, **options)
    else:
        result = captioner.attend(image, given)
        unknown = [word for word in result.words if word not in captioner.vocabulary]
        if unknown:
            _complain(f"the model does not know {', '.join(unknown)}; read as <unk>")
    chosen = [word.strip() for word in words.split(",") if word.strip()] if words else None
    result.save_overlay(output, words=chosen)
    print(f"{image}\t{result.text}")
    _say(f"wrote {output}")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as configs/flickr8k.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="section.key=value ...", metavar="[KEY=VALUE]...")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on where the run stopped.")] = False,
) -> None:
    """Train a model from a config."""
    from showattend.config import load_config

    settings = load_config(config, overrides or [])
    from showattend.training.display import Display
    from showattend.training.trainer import train as run

    with Display(_console()) as display:
        record = run(settings, display, resume)
    if record["best"]:
        out = Path(settings.train.out)
        _say(
            f"best: epoch {record['best']['epoch']}, CIDEr {record['best']['CIDEr']:.3f} "
            f"(validation, beam {settings.train.validate_beam}); model, record and curves in {out}"
        )


@app.command()
def evaluate(
    annotations: Annotated[Path, typer.Option(help="Human captions: COCO JSON or a data set.")],
    images: Images = None,
    results: Annotated[
        Path | None, typer.Option(help="Score these captions instead, made by anything.")
    ] = None,
    model: Model = None,
    beam_size: BeamSize = None,
    split: Annotated[
        str | None, typer.Option(help="Which split, where the file has several.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write figures and captions (JSON).")] = None,
    batch_size: BatchSize = 32,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Score captions with BLEU, METEOR, ROUGE-L and CIDEr (coco-caption)."""
    from showattend.evaluation.evaluate import evaluate as run

    if results is not None and (images is not None or model is not None):
        raise UserError("--results scores captions that exist; leave --images and --model out")
    captioner = _captioner(model, device, precision) if results is None else None
    with _bars() as progress:
        found = run(
            annotations,
            captioner=captioner,
            images=images,
            results=results,
            beam_size=beam_size,
            batch_size=batch_size,
            split=split,
            progress=progress,
        )
    for note in found.get("notes", []):
        _complain(note)
    _table("Scores", [(name, _fraction(value)) for name, value in found["metrics"].items()])
    _write_json(output, found)


@app.command()
def ground(
    annotations: Annotated[Path, typer.Option(help="COCO instances: masks and boxes.")],
    images: Annotated[Path, typer.Option(help="Folder of the images.")],
    captions: Annotated[
        Path | None, typer.Option(help="Human captions to force, instead of generated ones.")
    ] = None,
    model: Model = None,
    beam_size: BeamSize = None,
    output: Annotated[Path | None, typer.Option(help="Write the figures (JSON).")] = None,
    batch_size: BatchSize = 32,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Measure whether the model looks at what it names (the pointing game)."""
    from showattend.evaluation.grounding import ground as run

    captioner = _captioner(model, device, precision)
    with _bars() as progress:
        found = run(
            annotations,
            images,
            captioner,
            captions=captions,
            beam_size=beam_size,
            batch_size=batch_size,
            progress=progress,
        )
    for note in found.get("notes", []):
        _complain(note)
    rows = []
    for name in ("model", "uniform", "centre", "other_word"):
        cells = [name]
        for measure in ("pointing", "mass"):
            cells.append(_fraction(found[measure][name]))
            interval = found["interval"][measure].get(name)
            cells.append("" if interval is None else "{:+.3f} to {:+.3f}".format(*interval))
        rows.append(tuple(cells))
    _table(
        f"{found['words']} words in {found['images']} images",
        rows,
        ("map", "pointing", "model minus this, 95 %", "mass", "model minus this, 95 %"),
    )
    _write_json(output, found)


@app.command()
def info(model: Model = None) -> None:
    """Say what a model is: recipe, data, figures."""
    from showattend import checkpoint as checkpoints

    path = checkpoints.find_model(model)
    print(checkpoints.describe(path))


@prepare_app.command("flickr8k")
def prepare_flickr8k(
    root: Annotated[Path, typer.Argument(help="Folder with Flickr8k.token.txt and the splits.")],
    out: Out,
    images: Images = None,
    min_count: Annotated[int, typer.Option(help="Occurrences that make a word known.")] = 5,
) -> None:
    """Flickr8k's own text files."""
    from showattend.data import prepare

    _prepare(prepare.prepare_flickr8k, root, out, images=images, min_count=min_count)


@prepare_app.command("karpathy")
def prepare_karpathy(
    annotations: Annotated[Path, typer.Argument(help="dataset_coco.json, dataset_flickr8k.json")],
    images: Annotated[Path, typer.Option(help="Folder of the images.")],
    out: Out,
    restval: Annotated[bool, typer.Option(help="Train on the split restval too.")] = True,
    min_count: Annotated[int, typer.Option(help="Occurrences that make a word known.")] = 5,
) -> None:
    """A Karpathy split file."""
    from showattend.data import prepare

    _prepare(
        prepare.prepare_karpathy, annotations, images, out, restval=restval, min_count=min_count
    )


@prepare_app.command("folder")
def prepare_folder(
    folder: Annotated[Path, typer.Argument(help="Photos with photo.txt beside photo.jpg, or ...")],
    out: Out,
    val_fraction: Annotated[float, typer.Option(help="Share of images to validate on.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the choice of those images.")] = 0,
    min_count: Annotated[int, typer.Option(help="Occurrences that make a word known.")] = 5,
) -> None:
    """Photos of your own: photo.txt beside photo.jpg, captions.jsonl or captions.csv in it."""
    from showattend.data import prepare

    _prepare(
        prepare.prepare_folder,
        folder,
        out,
        val_fraction=val_fraction,
        seed=seed,
        min_count=min_count,
    )


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    try:
        app()
    except UserError as error:
        _complain(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        _complain("interrupted")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone: `showattend caption ... | head`
        sys.stderr.close()
        sys.exit(141)


# Printing ------------------------------------------------------------------------------------


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _complain(text: str) -> None:
    print(f"showattend: {' '.join(text.split())}", file=sys.stderr)


def _captioner(model: str | None, device: str, precision: str) -> Captioner:
    from showattend.captioner import Captioner

    return Captioner.from_pretrained(model, device=device, precision=precision)


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def _prepare(function: Callable[..., Any], *args: Any, **options: Any) -> None:
    with _bars() as progress:
        report = function(*args, **options, progress=progress)
    for line in report.lines():
        print(line)


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(title: str, rows: list[tuple[str, ...]], header: tuple[str, ...] = ()) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE, show_header=bool(header))
    for index in range(len(rows[0])):
        table.add_column(header[index] if header else "", justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _write_json(path: Path | None, value: dict[str, Any]) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
    _say(f"wrote {path}")


@contextmanager
def _bar(
    name: str, total: int, stream: Any, from_total: int = 0
) -> Iterator[Callable[[int], None]]:
    """A progress bar for many items, on a terminal only."""
    with _bars(disable=total < from_total or not stream.isatty()) as progress:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress(name, done, total)

        yield advance


@contextmanager
def _bars(disable: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars told by (name, done, total)."""
    if disable or not sys.stderr.isatty():
        yield lambda *_: None
        return
    from showattend.training.display import Display

    with Display(_console()) as display:
        yield display.task


if __name__ == "__main__":
    main()
