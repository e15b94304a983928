"""The command ``showattend errors``: what captions get wrong, as a page and a sheet of photos."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from showattend.cli.loading import load_captioner
from showattend.cli.options import Device
from showattend.cli.terminal import log, printable
from showattend.exceptions import UserError

if TYPE_CHECKING:
    from showattend.data.records import Record
    from showattend.evaluation.mistakes.caption_errors import Fault

NAMED = 5
"""The most photos to list that cannot be opened."""


def errors(
    annotations: Annotated[
        Path, typer.Option(help="Human captions: COCO JSON or any data set.", metavar="FILE")
    ],
    results: Annotated[
        Path, typer.Option(help="The captions, from evaluate --output.", metavar="FILE")
    ],
    train: Annotated[
        Path | None,
        typer.Option(help="Training captions, to count copies of them.", metavar="FILE"),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the images, for --gallery and a page.",
            show_default="from the annotations",
            metavar="DIR",
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(help="Draw the worst captions: .png or .pdf.", metavar="FILE"),
    ] = None,
    worst: Annotated[int, typer.Option(help="Captions in the gallery or the page.", min=1)] = 20,
    split: Annotated[
        str | None, typer.Option(help="The split to use, if there are several.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write .md or .json; or .html, the worst captions with maps and reasons.",
            show_default="Markdown, printed",
            metavar="FILE",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model whose maps a page shows.", show_default="shipped"),
    ] = None,
    device: Device = "auto",
) -> None:
    """Report what captions get wrong: objects, people, counts, colours, activities, phrases."""
    from showattend.evaluation.evaluate import made_with, read_references, read_results
    from showattend.evaluation.mistakes.caption_errors import find_errors
    from showattend.evaluation.mistakes.errors_report import said_by, to_markdown
    from showattend.system.files import make_room, spare, write_json, write_text
    from showattend.system.provenance import describe, file_digest, stamp

    suffix = None if output is None else output.suffix.lower()
    if suffix not in (None, ".md", ".json", ".html"):
        raise UserError(f"{output}: --output takes a name that ends in .md, .json or .html")
    if images is not None and gallery is None and suffix != ".html":
        raise UserError("--images needs --gallery, or --output page.html")
    if suffix == ".html":
        from showattend.cli.worst_page import check_worst
        from showattend.model.checkpoint import find_model

        check_worst(worst)
        find_model(model)
    elif model is not None:
        raise UserError("--model is for a page; give --output page.html")
    if gallery is not None:
        from showattend.visualize.gallery import MOST_CARDS, check_gallery

        check_gallery(gallery)
        if worst > MOST_CARDS:
            raise UserError(
                f"--worst {worst}: a gallery has room for {MOST_CARDS} captions; give a smaller "
                "number"
            )
    places = [place for place in (output, gallery) if place is not None]
    for place in places:
        spare((annotations, results, train), place, "an input")
        make_room(place)
    records = read_references(annotations, images, split)
    for place in places:
        spare((record.path for record in records), place)
    captions = read_results(results, records)
    left_out = len(records) - len(captions)
    if left_out:
        log.warning(f"{left_out} of {len(records)} images have no caption and are left out")
    report = find_errors(
        {record.image_id: record.captions for record in records},
        captions,
        train=None if train is None else _training_captions(train),
    )
    whole = True
    if output is not None and suffix == ".html":
        whole = _write_page(output, records, captions, results, worst, model, device)
    else:
        inputs = {"annotations": annotations, "results": results, "train": train}
        data = {name: path and file_digest(path) for name, path in inputs.items()}
        made = stamp(data=data, captions=made_with(results), model=_model(results))
        if output is not None and suffix == ".json":
            write_json(output, report.to_dict() | {"provenance": made})
        else:
            page = to_markdown(
                report,
                command=_command(annotations, results, train, split),
                captions=said_by(made["captions"]),
                made=describe(made),
            )
            if output is None:
                print("\n".join(map(printable, page.split("\n"))), end="")
            else:
                write_text(output, page)
    if output is not None:
        log.info(f"wrote {output}")
    if gallery is not None:
        whole &= _draw(gallery, records, captions, _scores(results), worst)
        log.info(f"wrote {gallery}")
    if not whole:
        raise typer.Exit(1)


def _training_captions(path: Path) -> list[str]:
    """The captions of a data set's training split, or all of them if there is no such split."""
    from showattend.data.readers import read_dataset

    records = read_dataset(path, None)
    chosen = [record for record in records if record.split == "train"] or records
    return [caption for record in chosen for caption in record.captions]


def _command(annotations: Path, results: Path, train: Path | None, split: str | None) -> str:
    import shlex

    words = ["showattend", "errors", "--annotations", annotations, "--results", results]
    words += [] if train is None else ["--train", train]
    words += [] if split is None else ["--split", split]
    return shlex.join(map(str, words))


def _content(results: Path) -> Any:
    """The content of the results file; None for JSON Lines."""
    import json

    from showattend.data.readers import read_text

    try:
        return json.loads(read_text(results))
    except (ValueError, RecursionError):
        return None


def _model(results: Path) -> dict[str, Any] | None:
    """The name and the digests of the model that made the captions, if ``evaluate`` did."""
    content = _content(results)
    made = content.get("provenance") if isinstance(content, dict) else None
    model = made.get("model") if isinstance(made, dict) else None
    return model if isinstance(model, dict) else None


def _scores(results: Path) -> dict[str, float]:
    """CIDEr by image id, if the results include it (those of ``evaluate`` do)."""
    content = _content(results)
    rows = content.get("captions") if isinstance(content, dict) else content
    found: dict[str, float] = {}
    for row in rows if isinstance(rows, list) else []:
        scores = row.get("scores") if isinstance(row, dict) else None
        score = scores.get("CIDEr") if isinstance(scores, dict) else None
        if isinstance(score, int | float):
            found[str(row.get("image_id"))] = score
    return found


def _draw(
    path: Path,
    records: list[Record],
    captions: dict[Any, str],
    scores: dict[str, float],
    worst: int,
) -> bool:
    """Draw the worst captions: those with the lowest CIDEr, or without CIDEr the most mistakes.

    Returns:
        Whether all their photos could be opened; the others are reported.

    Raises:
        UserError: None of the photos can be opened; also see ``save_gallery``.
    """
    from showattend.visualize.gallery import Card, load_photos, save_gallery

    ranked = _ranked(records, captions, scores)
    cards = []
    for record, faults in ranked[:worst]:
        tags = [fault.tag for fault in faults if fault.said is not None]
        missing = [concept for fault in faults if fault.said is None for concept in fault.instead]
        if missing:
            tags.append(f"missing: {', '.join(missing)}")
        card = Card(
            image=record.path,
            caption=captions[record.image_id],
            references=tuple(map(_joined, record.captions[:2])),
            tags=tuple(tags),
            score=_score(record, scores),
        )
        cards.append(card)
    how = _how(scores)
    shown, problems = load_photos(cards)
    if len(problems) == len(shown):
        raise UserError(
            f"{path}: not drawn, none of its {len(shown)} photos can be opened (for example "
            f"{problems[0]}); check --images"
        )
    for problem in problems[:NAMED]:
        log.warning(problem)
    if len(problems) > NAMED:
        log.warning(f"{len(problems) - NAMED} more photos cannot be opened; check --images")
    title = f"The {len(shown)} worst of {len(ranked):,} captions, {how}"
    shortage = save_gallery(shown, path, title, "give a lower --worst")
    if shortage:
        log.warning(shortage)
    return not problems


def _write_page(
    path: Path,
    records: list[Record],
    captions: dict[Any, str],
    results: Path,
    worst: int,
    model: str | None,
    device: str,
) -> bool:
    """Write the worst captions as a page, with the reasons for their wrong words.

    Returns:
        Whether all their photos could be opened; the others are reported.

    Raises:
        UserError: None of the photos can be opened; also see ``write_worst``.
    """
    from showattend.cli.worst_page import LEFT_OUT, Bad, write_worst
    from showattend.evaluation.evaluate import made_with
    from showattend.evaluation.mistakes.reasons import wrong_words
    from showattend.text.tokenizer import tokenize
    from showattend.visualize.page import Remark

    captioner = load_captioner(model, device, "fp32", None)
    said_by = made_with(results).get("model")
    if said_by not in (None, captioner.name):
        log.warning(
            f"the captions are by {said_by}, the maps by {captioner.name}, on which they are "
            "forced; --model selects another"
        )
    scores = _scores(results)
    ranked = _ranked(records, captions, scores)
    bad = [
        Bad(
            path=record.path,
            caption=captions[record.image_id],
            wrong=wrong_words(tokenize(captions[record.image_id]), record.captions),
            people=record.captions,
            remarks=[
                Remark(LEFT_OUT, ", ".join(fault.instead)) for fault in faults if fault.said is None
            ],
            score=_score(record, scores),
        )
        for record, faults in ranked[:worst]
    ]
    title = f"The {len(bad)} worst of {len(ranked):,} captions, {_how(scores)}"
    return write_worst(path, captioner, bad, [record.path for record in records], title)


def _ranked(
    records: list[Record], captions: dict[Any, str], scores: dict[str, float]
) -> list[tuple[Record, list[Fault]]]:
    """The photos with the faults of their captions, the worst first: by CIDEr, then by faults."""
    from showattend.evaluation.mistakes.caption_errors import find_faults

    found = [
        (record, find_faults(captions[record.image_id], record.captions))
        for record in records
        if record.image_id in captions
    ]
    return sorted(found, key=lambda each: (scores.get(str(each[0].image_id), 0.0), -len(each[1])))


def _joined(caption: str) -> str:
    return re.sub(r"\s+([.,])", r"\1", caption)


def _score(record: Record, scores: dict[str, float]) -> str:
    score = scores.get(str(record.image_id))
    return "" if score is None else f"CIDEr {score:.2f}"


def _how(scores: dict[str, float]) -> str:
    return "by CIDEr" if scores else "by number of mistakes"
