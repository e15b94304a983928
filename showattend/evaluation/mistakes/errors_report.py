"""The report on caption errors as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from showattend.evaluation.mistakes.caption_errors import (
    LISTED,
    ErrorReport,
    Figures,
    KindReport,
    Phrase,
)
from showattend.evaluation.mistakes.people import PeopleReport, Rate
from showattend.evaluation.scores.metrics import ImageId
from showattend.model.score_settings import describe_settings

_PLURALS = {"object": "objects", "count": "counts", "colour": "colours", "activity": "activities"}
_VERDICTS = """\
Each thing that a caption names is looked up in the human captions of the same photograph:

- **supported**: at least one of them names it or a kind of it ("person" where they say "man");
- **contradicted**: none does, and they name something that excludes it ("man" where they say
  "woman", "two" where they say "three"; for colours and activities, any other one);
- **undecided**: they name it only in wider terms ("man" where all say "person");
- **unconfirmed**: they name nothing related. It may be there without being mentioned.

**Recall** is the reverse: how much of what more than half of the human captions name does the
caption name?

People do not describe a photograph in the same way either. So each human caption is judged by the
others of its photograph, and the model's caption by the same ones. Compare those two columns only.
"""
_PEOPLE = """\
A caption **invents people** if it names a person and no human caption of the photograph mentions
one in any way: no noun for a person, no hand or lap, no "he" without an animal, no statue or
picture of a person. It **leaves people out** if it mentions none and every human caption names one.
People overlook small figures too, so each human caption is judged by the others of its photograph.
"""
_LIMITS = """\
Words are looked up in a table, without a tagger and without looking at the photograph. Mistakes in
the table, words with two senses, wrong human captions, and photographs with two such things (a red
shirt and a blue one) all count as errors; the column for people shows how many of these there are.
Colours and counts are not tied to their nouns: "a white dog" is supported by "a man in a white
shirt". Two activities may both be right: if a man stands and holds something, and the human
captions only mention holding, "stands" counts as contradicted.
"""


def to_markdown(
    report: ErrorReport,
    *,
    command: str | None = None,
    captions: str | None = None,
    made: Sequence[str] = (),
    title: str | None = "What the captions get wrong",
) -> str:
    """Format the report as a page.

    Args:
        report: The result of ``find_errors``.
        command: The command that made it, shown at the top of the page.
        captions: One line on how the captions were made.
        made: Lines on what the figures depend on (`provenance.describe`), for the end of the page.
        title: The title of the page; None leaves it out.
    """
    parts = [] if title is None else [f"# {title}"]
    if command is not None:
        parts.append(f"Made by\n\n```\n{command}\n```")
    if captions is not None:
        parts.append(captions)
    parts.append(
        f"{report.images:,} captions, one per photograph, compared with {report.references:.1f} "
        "human captions each."
    )
    parts += [_VERDICTS, _overview(report), _people(report.people)]
    parts += [_section(kind) for kind in report.kinds]
    parts += [
        _phrases(report.phrases),
        _wording(report),
        f"## What this analysis misses\n\n{_LIMITS}",
    ]
    if made:
        parts.append("\n".join(("## How it was made", "", "```", *made, "```")))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def said_by(settings: Mapping[str, Any]) -> str | None:
    """Describe how captions were made, from the settings that `evaluate` stores with them.

    Args:
        settings: The result of `evaluate.made_with`.

    Returns:
        A line for `to_markdown`; None if there are no settings.
    """
    if not settings:
        return None
    how = f"model {settings['model']}, {describe_settings(settings)}"
    return f"The captions are from `showattend evaluate --output`: {how}."


def _overview(report: ErrorReport) -> str:
    rows = []
    for kind in report.kinds:
        model, human = kind.model_equal, kind.human
        rows.append(
            (
                _PLURALS[kind.kind],
                *(
                    _percent(None if figures is None else value(figures))
                    for value in (_wrong, _recall)
                    for figures in (model, human)
                ),
            )
        )
    note = (
        "The share of named things without support (contradicted or unconfirmed), and the recall, "
        "for the model and for people, with equal numbers of references."
    )
    header = ("", "unsupported: model", "people", "recall: model", "people")
    return f"## In short\n\n{note}\n\n{_table(header, rows)}"


def _people(report: PeopleReport) -> str:
    header = ["", "captions", "of", "share", "95 % interval"]
    rows = [
        _people_row("invents people", report.put_in, report.human_put_in),
        _people_row("leaves people out", report.left_out, report.human_left_out),
    ]
    if report.human_put_in is not None:
        header.append("people, against the others")
    parts = ["## People", _PEOPLE.strip(), _table(header, rows)]
    for name, captions in (
        ("invent people", report.put_in_captions),
        ("leave people out", report.left_out_captions),
    ):
        if captions:
            parts += [
                _listed(name, captions),
                _table(
                    ("image", "caption"), [(str(image), said) for image, said in captions[:LISTED]]
                ),
            ]
    return "\n\n".join(parts)


def _people_row(name: str, model: Rate, human: Rate | None) -> tuple[object, ...]:
    interval = "-"
    if model.interval is not None:
        interval = " to ".join(_percent(each) for each in model.interval)
    people = () if human is None else (_percent(human.share),)
    return name, model.count, model.of, _percent(model.share), interval, *people


def _listed(name: str, captions: Sequence[tuple[ImageId, str]]) -> str:
    if len(captions) <= LISTED:
        return f"The captions that {name}:"
    return (
        f"The first {LISTED} of the {len(captions):,} captions that {name} (`--output errors.json` "
        "has them all):"
    )


def _section(kind: KindReport) -> str:
    name = _PLURALS[kind.kind]
    columns = [("model", kind.model)]
    if kind.model_equal is not None and kind.human is not None:
        columns = [
            ("model, all references", kind.model),
            ("model, one left out", kind.model_equal),
            ("people, against the others", kind.human),
        ]
    lines = [
        ("captions that name one", *(_percent(_part(f.naming, f.captions)) for _, f in columns)),
        (
            "named per caption",
            *(f"{f.mentions / f.captions:.2f}" if f.captions else "-" for _, f in columns),
        ),
        *(
            (verdict, *(_percent(f.share(verdict)) for _, f in columns))
            for verdict in ("supported", "contradicted", "undecided", "unconfirmed")
        ),
        ("recall", *(_percent(f.recall) for _, f in columns)),
        ("named in wider terms only", *(_percent(_part(f.wider, f.wanted)) for _, f in columns)),
    ]
    parts = [f"## {name.capitalize()}", _table(("", *(label for label, _ in columns)), lines)]
    if kind.confusions:
        parts += [
            "What the model said where the references say something that excludes it (the most "
            "frequent if there are several):",
            _table(("said", "the references say", "times"), kind.confusions),
        ]
    if kind.wrong:
        parts += [
            f"The {name} most often named without support (contradicted or unconfirmed):",
            _table(("said", "unsupported", "of", "share"), _with_shares(kind.wrong)),
        ]
    if kind.missed:
        parts += [
            f"The {name} most often left out although more than half of the references name them:",
            _table(("left out", "times", "of", "share"), _with_shares(kind.missed)),
        ]
    return "\n\n".join(parts)


def _phrases(phrases: Sequence[Phrase]) -> str:
    title = "## Overused phrases"
    if not phrases:
        return f"{title}\n\nNo phrase of three or four words is overused."
    rows = []
    for each in phrases:
        people = each.human_share
        ratio = f"{each.share / people:.0f} ×" if people else "not used by people"
        rows.append(
            (each.words, each.count, _percent(each.share), each.human_count,
             _percent(people), ratio)
        )  # fmt: skip
    header = ("phrase", "captions", "share", "human captions", "share", "ratio")
    note = (
        "Phrases of three and four words that occur in at least 1 % of the captions and at least "
        "three times as often as in human captions, the largest surplus first."
    )
    return f"{title}\n\n{note}\n\n{_table(header, rows)}"


def _wording(report: ErrorReport) -> str:
    model, human = report.wording, report.human_wording
    rows = [
        ("different captions", _percent(model["distinct"]), _percent(human["distinct"])),
        ("different words", f"{model['words']:,.0f}", f"{human['words']:,.0f}"),
        ("words per caption", f"{model['length']:.1f}", f"{human['length']:.1f}"),
        ("broken endings", _percent(model["bad_endings"]), _percent(human["bad_endings"])),
    ]
    if report.verbatim is not None:
        rows.append(
            (
                "identical to a training caption",
                _percent(report.verbatim),
                _percent(report.human_verbatim),
            )
        )
    note = "The figures for people are for equally many captions, one per photograph."
    return f"## Wording\n\n{note}\n\n{_table(('', 'model', 'people'), rows)}"


def _wrong(figures: Figures) -> float | None:
    return _part(figures.contradicted + figures.unconfirmed, figures.mentions)


def _recall(figures: Figures) -> float | None:
    return figures.recall


def _part(count: int, total: int) -> float | None:
    return count / total if total else None


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}".replace("%", " %")


def _with_shares(rows: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int, str]]:
    return [(name, count, total, _percent(_part(count, total))) for name, count, total in rows]


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    ruler = ["---", *("---:" if _is_number(each) else "---" for each in rows[0][1:])]
    lines = [header, ruler, *rows]
    return "\n".join("| " + " | ".join(_cell(each) for each in line) + " |" for line in lines)


def _is_number(cell: object) -> bool:
    return not isinstance(cell, str) or cell[:1].isdigit() or cell == "-"


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|")
