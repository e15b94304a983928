"""The command ``showattend ground``: tables that compare attention maps with object masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from showattend.cli.loading import load_captioner
from showattend.cli.options import BatchSize, BeamSize, Device, Model, Precision, Size
from showattend.cli.terminal import bars, finish, log, printable, table, write_report
from showattend.exceptions import UserError

if TYPE_CHECKING:
    from showattend.captioner import Captioner

CONFUSIONS = 5
"""The most confusions to print; the JSON file has all of them."""


def ground(
    annotations: Annotated[
        Path, typer.Option(help="COCO instances: masks and boxes.", metavar="FILE")
    ],
    images: Annotated[Path, typer.Option(help="Folder of the images.", metavar="DIR")],
    captions: Annotated[
        Path | None,
        typer.Option(help="Human captions to use instead of the model's own.", metavar="FILE"),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            help="Captions of another model to force on this one: COCO results, the output of "
            "evaluate, or JSON Lines.",
            metavar="FILE",
        ),
    ] = None,
    model: Model = None,
    beam_size: BeamSize = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write figures and captions to a .json file; or .html, the worst captions with "
            "maps and reasons.",
            metavar="FILE",
        ),
    ] = None,
    references: Annotated[
        Path | None, typer.Option(help="Human captions to show on a page.", metavar="FILE")
    ] = None,
    worst: Annotated[int, typer.Option(help="Photos on a page.", min=1)] = 20,
    gallery: Annotated[
        Path | None,
        typer.Option(help="Draw hits and misses on a .png or .pdf sheet.", metavar="FILE"),
    ] = None,
    shown: Annotated[int, typer.Option(help="How many of each to draw.", min=1)] = 6,
    size: Size = None,
    smooth: Annotated[
        float | None,
        typer.Option(
            help="Blur the maps before locating peaks: sigma as a fraction of the photo's sides. "
            "0: no blur.",
            show_default="0.089, as in the paper's figures",
            min=0,
            max=1,
        ),
    ] = None,
    faithful: Annotated[
        bool,
        typer.Option(
            "--faithful",
            help="Also measure whether words depend on what their maps show, and compare "
            "attention with other explanations. Slow: seconds per photo.",
        ),
    ] = False,
    replace: Annotated[
        str | None,
        typer.Option(
            help="With --faithful, what removed cells become. mean: the photo's mean annotation; "
            "other: another photo's.",
            show_default="mean",
        ),
    ] = None,
    pixels: Annotated[
        int | None,
        typer.Option(
            help="With --faithful, the number of photos to blur on pixels too. Slower still.",
            show_default="0",
            min=0,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="With --faithful and --output, continue an interrupted run: FILE.part has the "
            "measurements made so far.",
        ),
    ] = False,
    batch_size: BatchSize = 32,
    device: Device = "auto",
    precision: Precision = "fp32",
) -> None:
    """Measure whether the model looks at what it names (the pointing game).

    The first table is for words that name something the image shows. It has
    the share of maps that peak on such an object ("pointing"; "boxed": in its
    bounding box), the share of the map on it ("mass"), and the model's lead
    over baselines.

    The second table is for wrong words, which name a category that is not
    annotated in the image, with right words for comparison. The model may have
    looked at an object of another category (it misnamed what it saw) or at none
    (it looked in the wrong place). Then follow the most common confusions, and
    how much attention goes to big objects (a tenth of the image or more) that
    the caption mentions or overlooks.

    Only annotated categories count, and only images with an object.

    With --faithful, cells of the feature grid are removed in the order of each
    explanation, most important first, and put back in the same order. If it is
    faithful, the word loses much probability early, and regains it early. With
    --captions, the first caption of each photo is measured.
    """
    from showattend.cli.output_checks import check_json
    from showattend.cli.worst_page import check_worst
    from showattend.evaluation.grounding.faithfulness import Removal
    from showattend.evaluation.grounding.ground import ground as run
    from showattend.evaluation.grounding.pointing import PAPER_SIGMA
    from showattend.model.checkpoint import find_model
    from showattend.model.score_settings import describe_settings
    from showattend.system.files import make_room, spare
    from showattend.visualize.gallery import MOST_CARDS, check_gallery, save_gallery
    from showattend.visualize.looks import Looks

    sigma = PAPER_SIGMA if smooth is None else smooth
    looks = Looks(shown, sigma)
    if gallery is not None:
        check_gallery(gallery)
        if 2 * shown > MOST_CARDS:
            raise UserError(
                f"--shown {shown}: a gallery has room for {MOST_CARDS // 2} hits and as many "
                "misses; give a smaller number"
            )
    if captions is not None and results is not None:
        raise UserError("--captions and --results both give the words; use one of them")
    if beam_size is not None and (captions or results) is not None:
        given = "--results" if captions is None else "--captions"
        raise UserError(f"{given} gives the words, so there is no search; leave --beam-size out")
    if faithful and results is not None:
        raise UserError("--faithful measures the model's own captions, or those of --captions")
    if not faithful:
        for option, value in (("--replace", replace), ("--pixels", pixels), ("--resume", resume)):
            if value:
                raise UserError(f"{option} is for --faithful; add that, or leave {option} out")
    if resume and output is None:
        raise UserError("--resume continues the file of --output; give that too")
    page = output is not None and output.suffix.lower() == ".html"
    if page:
        check_worst(worst)
    elif references is not None:
        raise UserError("--references is for a page; give --output page.html")
    elif output is not None:
        check_json(output)
    places = [place for place in (output, gallery) if place is not None]
    inputs = (annotations, captions, results, references, find_model(model))
    for place in places:
        spare(inputs, place, "an input")
        make_room(place)

    captioner = load_captioner(model, device, precision, size)
    kept = output.with_name(f"{output.name}.part") if faithful and output is not None else None
    try:
        with bars() as progress:
            found = run(
                annotations,
                images,
                captioner,
                captions=captions,
                results=results,
                sigma=sigma,
                beam_size=beam_size,
                batch_size=batch_size,
                progress=progress,
                watch=None if gallery is None else looks,
                outputs=places,
                faithful=Removal(replace or "mean", pixels or 0, kept=kept, resume=resume)
                if faithful
                else None,
            )
    except KeyboardInterrupt:
        if kept is not None:
            log.info(
                f"the measurements made so far are in {kept}; the same command with --resume "
                "continues"
            )
        raise
    print(f"How: {printable(describe_settings(found['settings']))}")
    _print_pointing(found)
    _print_where(found["where"])
    if faithful:
        _print_faithful(found["faithful"])
    whole = True
    if output is not None and page:
        people = references or captions
        whole = _write_page(output, found, captioner, annotations, images, people, worst)
        log.info(f"wrote {output}")
    write_report(found, None if page else output)  # before the gallery, which is quicker to repeat
    if kept is not None:
        kept.unlink(missing_ok=True)
    if gallery is not None:
        title, advice = "Where it looked: hits, then misses", "give a lower --shown"
        shortage = save_gallery(looks.cards(), gallery, title, advice)
        if shortage:
            log.warning(shortage)
        log.info(f"wrote {gallery}")
    finish(found)
    if not whole:
        raise typer.Exit(1)


def _write_page(
    path: Path,
    found: Mapping[str, Any],
    captioner: Captioner,
    annotations: Path,
    images: Path,
    people: Path | None,
    worst: int,
) -> bool:
    """Write the captions with the most wrong words as a page, then those with maps astray.

    Returns:
        Whether all their photos could be opened; the others are reported.

    Raises:
        UserError: There is nothing to show; also see ``write_worst``.
        DataError: The human captions cannot be read.
    """
    from showattend.cli.worst_page import ASTRAY, Bad, write_worst
    from showattend.data.readers import read_dataset
    from showattend.evaluation.grounding.instances import Instances
    from showattend.evaluation.mistakes.reasons import WrongWord
    from showattend.visualize.page import Remark

    instances = Instances.load(annotations)
    paths = {str(i): instances.path(images, i) for i in instances.images}
    said = {}
    if people is not None:
        said = {str(each.image_id): each.captions for each in read_dataset(people, images)}
    bad = []
    for row in found["captions"]:
        image = str(row["image_id"])
        objects = instances.objects[row["image_id"]]
        there = tuple(sorted({instances.categories[each["category_id"]] for each in objects}))
        wrong, astray = [], []
        for word in row["named"]:
            start, stop = word["position"], word["position"] + len(word["word"].split())
            if not word["right"]:
                wrong.append(WrongWord(start, stop, there, word["at"], masked=True))
            elif word["at"] not in word["categories"]:
                where = f"looked at “{word['at']}”" if word["at"] else "looked at nothing annotated"
                astray.append(Remark(ASTRAY, where, start, stop))
        if wrong or astray:
            each = Bad(paths[image], row["caption"], wrong, said.get(image, ()), astray)
            bad.append((-len(wrong), -len(astray), each))
    bad.sort(key=lambda each: each[:2])
    shown = [each for *_, each in bad[:worst]]
    title = f"The {len(shown)} worst of {len(found['captions']):,} captions, by wrong words"
    return write_worst(path, captioner, shown, list(paths.values()), title)


def _print_pointing(found: Mapping[str, Any]) -> None:
    rows = []
    for name in found["pointing"]:
        cells = [_title(name)]
        for measure in ("pointing", "pointing_boxes", "mass"):
            cells.append(f"{found[measure][name]:.3f}")
            if measure != "pointing_boxes":  # left out to fit in 80 columns; the file has it
                cells.append(_span(found["interval"][measure].get(name)))
        rows.append(tuple(cells))
    table(
        f"{found['words']:,} words in {found['images']:,} images; the model's lead with its 95 % "
        "interval",
        rows,
        ("map", "pointing", "lead", "boxed", "mass", "lead"),
    )


def _print_where(where: Mapping[str, Any]) -> None:
    """Print what right and wrong words look at, and the big objects that are overlooked."""
    from showattend.evaluation.grounding.wrong_words import PLACES

    rows = []
    for kind in ("right", "wrong"):
        found = where[kind]
        for name in found.get("peak", ()):
            cells = [f"{kind}, {found['words']:,}" if name == "model" else "", _title(name)]
            for measure in ("peak", "mass"):
                places = found[measure][name]
                own = f"{places['own']:.3f}" if kind == "right" else "-"
                cells += [own, f"{places['another']:.3f}", f"{places['none']:.3f}"]
            rows.append(tuple(cells))
    if rows:
        table(
            "words for annotated (right) and unannotated (wrong) categories: the share of peaks "
            "and mass\non an object of their own category, of another one, or on none",
            rows,
            ("words", "map", *(f"{m}\n{p}" for m in ("peak", "mass") for p in PLACES)),
        )
    if where["wrong"]["words"]:
        leads = where["wrong"]["interval"]["peak"]["another"]
        print("wrong words' peaks on another object, the model's lead:")
        print("; ".join(f"over {_title(name)} {_span(each)}" for name, each in leads.items()))
        print(f"{_confusions(where['confusions'])}\n")
    rows = []
    for kind in ("mentioned", "overlooked"):
        found = where["big"][kind]
        for name in found.get("peak", ()):
            cells = [f"{kind}, {found['objects']:,}" if name == "model" else "", _title(name)]
            for measure in ("peak", "mass"):
                cells.append(f"{found[measure][name]:.3f}")
                cells.append(_span(found["interval"][measure].get(name)))
            rows.append(tuple(cells))
    if rows:
        table(
            f"big objects ({where['big']['area']:.0%} of the image or more), mentioned or not: the "
            "share of\nthe peaks and mass of all words of the caption on them",
            rows,
            ("", "map", "peak", "lead", "mass", "lead"),
        )


def _print_faithful(found: Mapping[str, Any]) -> None:
    from showattend.evaluation.grounding.faithful_tables import beta_line, faithful_tables

    for each in faithful_tables(found).values():
        table(each.title, each.rows, each.header)
    print(beta_line(found))


def _confusions(pairs: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        printable(
            f"said {each['said']}, looked at {each['at']}: {each['words']} of {each['said_wrong']} "
            f"words (a uniform map: {each['uniform']:.1f})"
        )
        for each in pairs[:CONFUSIONS]
    ]
    if len(pairs) > CONFUSIONS:
        lines.append(f"and {len(pairs) - CONFUSIONS} other pairs")
    return "\n".join(lines)


def _title(name: str) -> str:
    return name.replace("_", " ")


def _span(interval: Sequence[float] | None) -> str:
    return "" if interval is None else "{:.3f} to {:.3f}".format(*interval)
