"""The tables of docs/attention-family.md, from the record that family_record.py keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kept_records import Records

from showattend.training.comparison_tables import Table, length_tables, map_tables

NAME = "family"


def scores(records: Records) -> str:
    """Scores of every row, and the difference in CIDEr to the first with its interval."""
    rows, level = [], 0.95
    for row in records[NAME]["rows"]:
        shown = "-"
        if found := row.get("difference"):
            level = found["level"]
            low, high = found["interval"]
            shown = f"{found['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
        figures = row["figures"]
        cells = [f"{figures[name]:.3f}" for name in ("BLEU-4", "METEOR", "CIDEr")]
        cells += [shown, str(row["words"]), f"{row['parameters'] / 1e6:.2f}"]
        cells.append(f"{figures['minutes']:.0f}")
        rows.append((f"[{row['name']}](../{row['config']})", row["description"], *cells))
    header = ["config", "what", "BLEU-4", "METEOR", "CIDEr", "CIDEr, difference to the first"]
    header += ["words", "million parameters", "minutes"]
    about = (
        "One run each, seed 0. Differences: paired bootstrap over images, 2,000 resamples; each "
        f"interval has a level of {level:.1%}, so that all hold together at 95 % (Bonferroni). "
        "They cover the choice of images, not the choice of seeds. Minutes: training on one "
        "core, while another run used the other."
    )
    return "\n".join([*_table(header, rows, 2), "", about, "", *_conditions(records)])


def _conditions(records: Records) -> list[str]:
    """How the rows were made; what differs between rows names them."""
    rows: dict[str, list[str]] = {}
    for row in records[NAME]["rows"]:
        for note in row["notes"]:
            if not note.startswith("Threads"):
                rows.setdefault(note, []).append(row["name"])
    every = len(records[NAME]["rows"])
    return [
        f"- {note}" + ("" if len(names) == every else f" ({', '.join(names)})")
        for note, names in rows.items()
    ]


def lengths(records: Records) -> str:
    """CIDEr, BLEU-4 and log-probability by the length of the human captions."""
    return _written(length_tables(records[NAME]))


def maps(records: Records) -> str:
    """How often each row's maps point at the object that is named."""
    return _written(map_tables(records[NAME]))


def hard(records: Records) -> str:
    """The variance of hard attention's estimator in each epoch; empty without that row."""
    row = next((each for each in records[NAME]["rows"] if each["name"] == "hard"), None)
    if row is None:
        return ""
    lines = ["| epoch | variance of the gradient | its second moment | CIDEr in training |"]
    lines.append("|---:|---:|---:|---:|")
    for each in row["history"]:
        figures = each["estimator_variance"], each["estimator_second_moment"]
        score = f"{each['CIDEr']:.3f}" if "CIDEr" in each else "-"
        cells = [f"{each['epoch']}", *(f"{figure:.3g}" for figure in figures), score]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _written(tables: Iterable[Table]) -> str:
    parts = []
    for table in tables:
        if table.rows:
            parts += [f"**{table.title}**", "", *_table(table.header, table.rows, 1), ""]
            parts += [table.note, ""]
    return "\n".join(parts).strip()


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> list[str]:
    """Lines of a Markdown table whose first ``words`` columns are text."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    lines.insert(1, "|" + "---|" * words + "---:|" * (len(header) - words))
    return lines
