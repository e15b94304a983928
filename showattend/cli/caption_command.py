"""The command ``showattend caption``: captions of files, folders and globs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from showattend.cli.cluster_caption import (
    Inputs,
    Parts,
    PartSize,
    WorkerCores,
    Workers,
    caption_on_cluster,
    refuse_options,
)
from showattend.cli.export_command import Engine, onnx_captioner, refuse_exported
from showattend.cli.loading import load_captioner, unhurried
from showattend.cli.options import (
    BeamSize,
    Device,
    Model,
    NoNotes,
    Precision,
    Size,
    searching,
)
from showattend.cli.terminal import MANY, bars, log, printable
from showattend.exceptions import UserError
from showattend.system.files import real, sweep

if TYPE_CHECKING:
    from showattend.captioner import Captioner
    from showattend.cli.describing import Describer
    from showattend.export.engine import OnnxCaptioner


def caption(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Image files, folders, globs.", show_default=False),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Include subfolders.")] = False,
    model: Model = None,
    beam_size: BeamSize = None,
    n_best: Annotated[int, searching("n_best")] = 1,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write a .jsonl or .csv file with words and probabilities, named FILE.part until "
            "it is complete.",
            metavar="FILE",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue the --output of an interrupted run with the same options."
        ),
    ] = False,
    sidecar: Annotated[
        bool,
        typer.Option("--sidecar", help="Write photo.txt next to each photo.jpg without one."),
    ] = False,
    xmp: Annotated[
        bool,
        typer.Option(
            "--xmp", help="Write the description to an XMP sidecar, which photo managers read."
        ),
    ] = False,
    xmp_name: Annotated[
        str | None,
        typer.Option(
            help="Name of the sidecar of photo.jpg: photo.jpg.xmp (digiKam, darktable, Immich, "
            "PhotoPrism) or photo.xmp (Adobe).",
            show_default="photo.jpg.xmp",
        ),
    ] = None,
    write_metadata: Annotated[
        bool,
        typer.Option(
            "--write-metadata",
            help="Write the description into the photo: JPEG, PNG, WebP, TIFF. No pixel changes.",
        ),
    ] = False,
    language: Annotated[
        str | None,
        typer.Option(help="Language to mark the description as.", show_default="en"),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace an existing photo.txt, and descriptions that showattend wrote.",
        ),
    ] = False,
    replace_description: Annotated[
        bool,
        typer.Option("--replace-description", help="Replace descriptions by others too."),
    ] = False,
    overlay: Annotated[
        Path | None, typer.Option(help="Write attention figures to this folder.", metavar="DIR")
    ] = None,
    no_notes: NoNotes = False,
    engine: Engine = "torch",
    inputs: Inputs = None,
    parts: Parts = None,
    part_size: PartSize = None,
    workers: Workers = None,
    worker_cores: WorkerCores = None,
    size: Size = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Images the model sees at once.",
            show_default="32; 4 on a terminal without a GPU",
            min=1,
        ),
    ] = None,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Caption image files, folders and globs; prints "path<TAB>caption"."""
    from showattend.cli.caption_writer import CaptionWriter
    from showattend.cli.resuming import model_digest
    from showattend.images.finding import find_images
    from showattend.images.photo_file import PhotoFile

    if engine == "ray":
        others: dict[str, Any] = {
            "--sidecar": sidecar,
            "--xmp": xmp,
            "--xmp-name": xmp_name,
            "--write-metadata": write_metadata,
            "--language": language,
            "--overwrite": overwrite,
            "--replace-description": replace_description,
            "--overlay": overlay,
        }
        refuse_options("is not for --engine ray, which writes to --output only", others)
        caption_on_cluster(
            [*(paths or ()), *(inputs or ())],
            output,
            recursive=recursive,
            model=model,
            parts=parts,
            part_size=part_size,
            workers=workers,
            cores=worker_cores,
            device=device,
            precision=precision,
            size=size,
            batch_size=batch_size,
            beam_size=beam_size,
            n_best=n_best,
        )
        return
    cluster: dict[str, Any] = {
        "--input": inputs,
        "--parts": parts,
        "--part-size": part_size,
        "--workers": workers,
        "--worker-cores": worker_cores,
    }
    refuse_options("is for --engine ray; give both", cluster)
    if not paths:
        raise UserError("missing argument 'PATHS...'; see showattend caption --help")
    described = xmp or write_metadata
    described = xmp or write_metadata
    if overwrite and not (sidecar or described):
        raise UserError("--overwrite is for --sidecar, --xmp and --write-metadata; give one")
    for option, value in (
        ("--language", language),
        ("--replace-description", replace_description or None),
    ):
        if value is not None and not described:
            raise UserError(f"{option} is for --xmp and --write-metadata; give one")
    if xmp_name is not None and not xmp:
        raise UserError("--xmp-name is for --xmp; give both")
    describer = None
    if described:
        from showattend.cli.describing import Describer

        describer = Describer(
            sidecars=(xmp_name or "photo.jpg.xmp") if xmp else None,
            embed=write_metadata,
            language=language or "en",
            overwrite=overwrite,
            replace=replace_description,
            model=model,
        )
        describer.check()
    if resume and output is None:
        raise UserError(
            "--resume is for --output FILE; give both (--sidecar skips photos that have a text "
            "without it)"
        )
    found, problems = find_images(paths, recursive)
    for problem in problems:
        log.warning(problem)
    if not found:
        raise typer.Exit(2)
    if sidecar or describer:
        sweep(_written_in(found))
    if output is None and overlay is None and (sidecar or describer):
        found, trouble = _not_yet_captioned(found, sidecar, overwrite, describer)
        problems += trouble
        if not found:
            raise typer.Exit(1 if problems else 0)
    if engine != "onnx":
        refuse_exported(model)
    elif size is not None:
        raise UserError(
            "an export has a fixed size; make one of this size with showattend export "
            f"--size {size} --out DIR, and give --model DIR instead of --size"
        )
    given = {
        "engine": engine,
        "precision": precision,
        "size": size,
        "beam_size": beam_size,
        "n_best": n_best,
    }
    if output is not None:
        given["model"] = model_digest(model, engine)
    writer = CaptionWriter(
        found,
        output=output,
        sidecar=sidecar,
        overwrite=overwrite,
        describer=describer,
        overlay=overlay,
        resume=resume,
        options=given,
    )
    captioned = len(writer.done)
    found = [path for path in found if path not in writer.done]
    if not found:
        with writer:
            pass
        raise typer.Exit(1 if problems else 0)
    captioner: Captioner | OnnxCaptioner
    if engine == "onnx":
        captioner = onnx_captioner(model, device, precision)
    else:
        captioner = load_captioner(model, device, precision, size)
    # The progress bars replace sys.stdout to print above themselves; captions must reach the pipe.
    stdout = None if sys.stdout.isatty() else sys.stdout
    options: dict[str, Any] = {} if beam_size is None else {"beam_size": beam_size}
    photos = found if overlay is None else map(PhotoFile, found)  # drawn from the same bytes
    batch_size = batch_size or unhurried(captioner)
    stream = captioner.stream(photos, batch_size=batch_size, n_best=n_best, **options)
    try:
        with bars(len(found) >= MANY) as progress, writer:
            for done, (path, (_, result)) in enumerate(zip(found, stream, strict=True), 1):
                if isinstance(result, UserError):
                    problems.append(str(result))
                    log.warning(str(result))
                else:
                    captioned += 1
                    for each in (result, *result.alternatives):
                        print(f"{printable(path)}\t{each.text}", file=stdout, flush=True)
                    if not no_notes and result.note:
                        log.info(f"note: {path}: {result.note}")
                    for problem in writer.write(path, result):
                        problems.append(problem)
                        log.warning(problem)
                progress("Captioning", done, len(found))
    except BaseException:
        if writer.partial is not None:
            log.info(
                f"the captions made so far are in {printable(writer.partial)}; the same command "
                "with --resume continues"
            )
        raise
    if summary := writer.summary():
        log.info(summary)
    if problems:
        raise typer.Exit(1 if captioned else 2)


def _written_in(photos: Iterable[Path]) -> Iterator[Path]:
    """The folders in which photos and the files next to them are written."""
    for photo in photos:
        yield photo.parent
        if photo.is_symlink():
            yield real(photo).parent


def _not_yet_captioned(
    found: list[Path], sidecar: bool, overwrite: bool, describer: Describer | None
) -> tuple[list[Path], list[str]]:
    """Select the photos that lack an output, and report on the others.

    Returns:
        The photos to caption, and the problems, one line each.
    """
    from showattend.cli.resuming import photos_without_text

    total, wanted, problems = len(found), set[Path](), list[str]()
    if sidecar and overwrite:
        wanted |= set(found)
    elif sidecar:
        without, texts, clashes = photos_without_text(found)
        wanted |= set(without)
        problems += clashes
        if texts:
            log.info(f"{texts:,} of {total:,} photos have a text already; --overwrite replaces it")
    if describer is not None:
        without, ours, theirs, trouble = describer.select(found)
        wanted |= set(without)
        problems += trouble
        if ours:
            log.info(
                f"{ours:,} of {total:,} photos have their description already; --overwrite "
                "replaces it"
            )
        if theirs:
            log.info(
                f"{theirs:,} of {total:,} photos have a description by others; "
                "--replace-description replaces it"
            )
    for problem in problems:
        log.warning(problem)
    return [path for path in found if path in wanted], problems
