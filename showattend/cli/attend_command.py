"""The command ``showattend attend``: where the model looks, as a picture, a page or numbers."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from showattend.cli.loading import load_captioner, unhurried
from showattend.cli.options import BeamSize, Device, Model, NoNotes, Precision, Size
from showattend.cli.terminal import MANY, bars, log, printable
from showattend.exceptions import UserError

if TYPE_CHECKING:
    from showattend.caption import Caption
    from showattend.captioner import Captioner

PAGE = ".html"
LARGE = 100_000_000
"""From this many bytes on, warn that a gallery is slow to open."""


def attend(
    photos: Annotated[
        list[str],
        typer.Argument(
            help="The photograph; for a gallery (.html), several photographs, folders or globs.",
            metavar="PHOTOS",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            help="The file to write. Figure: .png, .jpg, .svg, .pdf; animation: .gif, .webp; "
            "interactive page, or gallery of several photos: .html; raw maps: .npz, .json.",
            metavar="FILE",
        ),
    ],
    recursive: Annotated[bool, typer.Option("--recursive", help="Include subfolders.")] = False,
    model: Model = None,
    given: Annotated[
        str | None,
        typer.Option(
            "--caption",
            help="Show the maps for this sentence; ___ stands for a missing word to fill in.",
        ),
    ] = None,
    words: Annotated[
        str | None, typer.Option(help="Show only these words, such as dog,ball.")
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(
            help="Draw the words and weights in this .npz or .json file, from any model, without "
            "running one.",
            metavar="FILE",
        ),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            help="What to show. attention: where the model looked; grad (gradient × input), "
            "gradcam, occlusion, integrated (gradients): evidence for each word; all: one below "
            "the other.",
            show_default="attention",
            metavar="KIND",
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="Layout of a figure. summary: the sharpest words in colour; grid: a panel for "
            "each word as in the paper; strip: the same, smaller; word: panels as large as the "
            "photo; parts: each head, hop or level; matrix: words by regions; "
            "words: words by words, for self-attention.",
            show_default="summary",
        ),
    ] = None,
    theme: Annotated[
        str | None,
        typer.Option(help="Colours of a figure: light or dark.", show_default="light"),
    ] = None,
    details: Annotated[
        bool,
        typer.Option(
            "--details", help="In figures and animations, also show each word's gate and entropy."
        ),
    ] = False,
    scale: Annotated[
        str | None,
        typer.Option(
            help="word: each map has its own brightness scale; common: one scale for all.",
            show_default="word",
        ),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(
            help="light: the photo brightens where the model looks; heat: a colour map over it.",
            show_default="light; heat in animations",
        ),
    ] = None,
    beam_size: BeamSize = None,
    n_best: Annotated[
        int | None,
        typer.Option(
            help="Candidates per photo on a page or gallery, best first.",
            show_default="the beam size",
            min=1,
        ),
    ] = None,
    no_notes: NoNotes = False,
    size: Size = None,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Show where the model looks for each word of a caption.

    Several photos, a folder or a glob give a gallery: one .html file that
    contains them all. Photos that cannot be opened are reported and left
    out, and the exit code is 1.
    """
    from showattend.images.finding import find_file
    from showattend.images.image_files import load_image, not_an_address
    from showattend.images.photo_file import PhotoFile
    from showattend.system.files import make_room, spare
    from showattend.visualize import check_output
    from showattend.visualize.explanations import check_explanations

    chosen = None if words is None else [word for word in words.split(",") if word.strip()]
    if chosen == []:
        raise UserError("--words is empty; give some words, such as --words dog,ball")
    if given is not None and (beam_size, n_best) != (None, None):
        option = "--n-best" if beam_size is None else "--beam-size"
        raise UserError(f"--caption gives the words, so there is no search; leave {option} out")
    if maps is not None:
        _no_model(
            {
                "--caption": given,
                "--beam-size": beam_size,
                "--n-best": n_best,
                "--model": model,
                "--size": size,
                "--explain": explain,
            }
        )
    asked = {
        "words": chosen,
        "layout": layout,
        "scale": scale,
        "style": style,
        "theme": theme,
        "details": details or None,
    }
    options = {name: value for name, value in asked.items() if value is not None}
    kinds = _explanations(explain)
    if kinds is None or kinds:
        suffix = check_output(output, options)
    else:
        suffix = check_explanations(output, options)
    if n_best is not None and kinds is not None:
        raise UserError("--explain shows one caption; leave --n-best out")
    if n_best is not None and suffix != PAGE:
        raise UserError(f"{output}: a {suffix} file shows one caption; --n-best is for {PAGE}")
    search = {} if beam_size is None else {"beam_size": beam_size}
    if n_best is not None:
        search["n_best"] = n_best
    for photo in photos:
        if not Path(photo).exists() and (address := not_an_address(photo)):
            raise UserError(address)
    if _are_many(photos):
        if maps is not None:
            raise UserError(f"{maps}: holds the maps of one photo; name one")
        if suffix != PAGE:
            raise UserError(
                f"{output}: a {suffix} file shows one photo; name an {PAGE} file for a gallery, or "
                "use caption --overlay for a figure each"
            )
        for option, value in (("--caption", given), ("--words", words), ("--explain", explain)):
            if value is not None:
                raise UserError(f"{option} is for one photo, not a gallery; leave it out")
        how = (model, device, precision, size)
        _gallery(photos, output, recursive, search, how, notes=not no_notes)
        return
    spare([*photos, *([] if maps is None else [str(maps)])], output)
    make_room(output)
    image = PhotoFile(find_file(Path(photos[0])) or photos[0])
    if maps is not None:
        from showattend.visualize.raw import read_maps

        _write(read_maps(maps, image), image, output, options, suffix)
        return
    load_image(image, at_least=1)  # fail before loading the model
    captioner = load_captioner(model, device, precision, size)
    if given is None:
        if suffix == PAGE and kinds is None:  # the page also shows the other candidates
            search = _all_candidates(captioner, search)
        result = captioner.caption(image, **search)
    else:
        from showattend.given import has_gaps

        saying = captioner.fill if has_gaps(given) else captioner.attend
        result = saying(image, given)
        unknown = [word for word in result.words if word not in captioner.vocabulary]
        if unknown:
            log.warning(f"the model does not know {', '.join(unknown)}, and reads <unk> there")
    if layout == "words" or (suffix in (".npz", ".json") and captioner.has_self_attention):
        result = captioner.with_self_attention(result)
    notes = given is None and not no_notes
    explained = [] if kinds is None else captioner.explain_all(result, kinds or None)
    if len(explained) > 1:
        _write(result, image, output, options, suffix, notes, explained)
    else:
        _write(next(iter(explained), result), image, output, options, suffix, notes)


def _explanations(asked: str | None) -> list[str] | None:
    """The requested explanation in a list, which is empty for all; None if none was requested."""
    from showattend.decoding.explaining import KINDS

    if asked is not None and asked not in (*KINDS, "all"):
        raise UserError(f"no explanation {asked!r}; choose from {', '.join(KINDS)}, all")
    return None if asked is None else [] if asked == "all" else [asked]


def _no_model(asked: dict[str, Any]) -> None:
    """Refuse options that need a model."""
    for option, value in asked.items():
        if value is not None:
            raise UserError(f"--maps draws a file without running a model; leave {option} out")


def _write(
    result: Caption,
    image: str,
    output: Path,
    options: dict[str, Any],
    suffix: str,
    notes: bool = False,
    explained: Sequence[Caption] = (),
) -> None:
    """Draw a caption, or several explanations of it, into a file, and log it."""
    from showattend.visualize import lettering
    from showattend.visualize.explanations import save_explanations

    if explained:
        save_explanations(explained, output, **options)
    else:
        result.save_overlay(output, **options)
    if suffix not in (PAGE, ".npz", ".json"):  # these formats store text and need no font
        shortage = lettering(result.raw).shortage
        if shortage:
            log.warning(shortage)
    print(f"{printable(image)}\t{result.text}")
    for gap in result.gaps:
        print("\t".join(("___", *(f"{word} {share:.2f}" for word, share in gap.candidates))))
    if notes and result.note:
        log.info(f"note: {image}: {result.note}")
    log.info(f"wrote {output}")


def _gallery(
    photos: Sequence[str],
    output: Path,
    recursive: bool,
    search: dict[str, Any],
    how: tuple[str | None, str, str, int | None],
    notes: bool,
) -> None:
    """Caption photos and write them to one page; failures are reported and left out."""
    from showattend.images.finding import find_images
    from showattend.images.photo_file import PhotoFile
    from showattend.system.files import make_room, spare, write_text
    from showattend.visualize.page import GalleryPage, longest_side

    found, problems = find_images(photos, recursive)
    for problem in problems:
        log.warning(problem)
    if not found:
        raise typer.Exit(2)
    spare(found, output)
    make_room(output)
    captioner = load_captioner(*how)
    page = GalleryPage(longest_side(len(found)))
    folder, names = _names(found)
    title = folder if len(photos) == 1 else None

    def write(path: Path) -> int:
        """Write the page and return its size in bytes."""
        write_text(path, page.html(title))
        return path.stat().st_size

    search = _all_candidates(captioner, search) | {"batch_size": unhurried(captioner)}
    stream = captioner.stream(map(PhotoFile, found), **search)
    # The progress bars replace sys.stdout to print above themselves; captions must reach the pipe.
    stdout = None if sys.stdout.isatty() else sys.stdout
    try:
        with bars(len(found) >= MANY) as progress:
            for done, (path, (_, result)) in enumerate(zip(found, stream, strict=True), 1):
                try:
                    if isinstance(result, UserError):
                        raise result
                    page.add([result, *result.alternatives], names[path])
                    print(f"{printable(path)}\t{result.text}", file=stdout, flush=True)
                    if notes and result.note:
                        log.info(f"note: {path}: {result.note}")
                except UserError as error:
                    problems.append(str(error))
                    log.warning(str(error))
                progress("Captioning", done, len(found))
    except BaseException:
        if len(page):
            partial = output.with_name(f"{output.stem}.part{output.suffix}")
            write(partial)
            log.info(f"the photos done so far are in {partial}")
        raise
    if not len(page):
        raise typer.Exit(2)
    size = write(output)
    log.info(
        f"wrote {printable(output)} ({len(page):,} of {len(found):,} photos, {size / 1e6:.1f} MB)"
    )
    if size > LARGE:
        log.warning(
            f"{output}: browsers open a page of {size / 1e6:.0f} MB slowly; --n-best 1, or a "
            "gallery for each folder, makes it smaller"
        )
    if problems:
        raise typer.Exit(1)


def _are_many(photos: Sequence[str]) -> bool:
    """Whether the arguments mean more than one file: several, a folder, or a pattern."""
    import glob

    first = Path(photos[0])
    return len(photos) > 1 or first.is_dir() or (glob.has_magic(photos[0]) and not first.exists())


def _names(photos: Sequence[Path]) -> tuple[str | None, dict[Path, str]]:
    """The name of the common folder, and each photo's name relative to it."""
    from showattend.system.files import real

    whole = {path: real(path.parent) / path.name for path in photos}
    try:
        common = Path(os.path.commonpath([path.parent for path in whole.values()]))
    except ValueError:  # on different drives
        return None, {path: each.as_posix() for path, each in whole.items()}
    names = {path: each.relative_to(common).as_posix() for path, each in whole.items()}
    return common.name or None, names


def _all_candidates(captioner: Captioner, search: dict[str, Any]) -> dict[str, Any]:
    """Search options with all candidates, unless n_best is given."""
    return {"n_best": search.get("beam_size", captioner.search.beam_size)} | search
