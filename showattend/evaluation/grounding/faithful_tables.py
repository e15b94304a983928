"""Tables of faithfulness, for the command line and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from showattend.decoding.explaining import NAMES
from showattend.evaluation.grounding.side_by_side import markdown, span


class Table(NamedTuple):
    """A table as text.

    Attributes:
        title: Its title.
        header: The names of its columns.
        rows: Its cells.
    """

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def markdown(self) -> str:
        """The table as Markdown, its title as a line above."""
        return f"{self.title}\n\n{markdown(self.header, self.rows)}"


def faithful_tables(found: Mapping[str, Any]) -> dict[str, Table]:
    """The tables of a result of `faithfulness.faithful`, without those that would be empty.

    Returns:
        By name: "faithful", "pixels", "explained" (pointing and mass), "classes" and "trust".
    """
    orders, pixels = found["orders"], found["pixels"]
    tables = {
        "faithful": _orders(
            f"On the feature grid, {_count(orders)}; log-probability of the word in nats:", orders
        ),
        "pixels": None
        if pixels is None
        else _orders(f"On pixels, {_count(pixels)}; log-probability of the word in nats:", pixels),
        "explained": _pointing(found["pointing"]),
        "classes": _groups(
            "By class; the drop with all cells replaced, and how faithful attention is:",
            found["classes"],
            with_pointing=False,
        ),
        "trust": _groups(
            "Content words by what is known of each:", found["trust"], with_pointing=True
        ),
    }
    return {name: each for name, each in tables.items() if each is not None and each.rows}


def _count(found: Mapping[str, Any]) -> str:
    return f"{found['words']:,} content words in {found['images']:,} images"


def _orders(title: str, found: Mapping[str, Any]) -> Table:
    header = (
        *("removed first", "faithfulness", "over random", "over attention", "deletion"),
        *("insertion", "sign ignored", "over random", "over attention"),
    )
    rows = []
    for name in found["ranking"]:
        each = found["by_order"][name]

        def leads(prefix: str, name: str = name, each: Mapping[str, Any] = each) -> list[str]:
            keys = {base: f"{prefix}over_{base}" for base in ("random", "attention")}
            return [
                "" if name == base or key not in each else span(each[key])
                for base, key in keys.items()
            ]

        numbers = [f"{each[key]:.3f}" for key in ("deletion", "insertion", "unsigned")]
        cells = [title_of(name), f"{each['faithful']:.3f}", *leads("")]
        rows.append((*cells, *numbers, *leads("unsigned_")))
    return Table(title, header, rows)


def _pointing(found: Mapping[str, Any]) -> Table:
    first: Mapping[str, Any] = next(iter(found.values()), {"words": 0, "images": 0})
    title = f"Pointing and mass, {first['words']:,} words in {first['images']:,} images:"
    header = ("map", "pointing", "95 %", "over attention", "mass", "95 %", "over attention")
    rows = []
    for kind, each in sorted(found.items(), key=lambda item: -item[1]["pointing"]):
        cells = [title_of(kind)]
        for measure in ("pointing", "mass"):
            lead = each.get(f"{measure}_over_attention")
            cells += [f"{each[measure]:.3f}", span(each[f"{measure}_interval"])]
            cells.append("" if lead is None or kind == "attention" else span(lead))
        rows.append(tuple(cells))
    return Table(title, header, rows)


def _groups(title: str, groups: Mapping[str, Any], *, with_pointing: bool) -> Table:
    header: tuple[str, ...] = ("words", "n", "β", "all cells replaced", "95 %", "sign ignored")
    header += ("faithfulness", "over random", "over another word", "sign ignored, over random")
    header += ("pointing",) if with_pointing else ()
    rows = []
    for name, each in groups.items():
        if not each["words"]:
            continue
        cells = [_PLURAL.get(name, name), f"{each['words']:,}", _number(each["beta"], 2)]
        cells += [_number(each["total"], 2), span(each["total_interval"])]
        cells += [_number(each["change"], 2), _number(each["faithful"], 3)]
        leads = ("over_random", "over_another", "unsigned_over_random")
        cells += ["" if each[lead] is None else span(each[lead]) for lead in leads]
        if with_pointing:
            pointing, n = each["pointing"], each["pointing_words"]
            cells.append("" if pointing is None else f"{pointing:.3f} of {n:,}")
        rows.append(tuple(cells))
    return Table(title, header, rows)


_PLURAL = {
    "noun": "nouns",
    "colour": "colours",
    "verb": "verbs",
    "other": "other content words",
    "function": "function words",
}


def title_of(order: str) -> str:
    """The name of an order of removal."""
    return NAMES.get(order, order)


def beta_line(found: Mapping[str, Any]) -> str:
    """The correlation of the gate with the change with all cells replaced; empty without a gate."""
    said: Sequence[str] = [
        f"{each['spearman']:.2f} ({span(each['interval'])}) over {group} ({each['words']:,})"
        for group, each in found["beta"].items()
        if each is not None
    ]
    if not said:
        return ""
    return (
        "Rank correlation of β with the change of the log-probability with all cells replaced: "
        f"{'; '.join(said)}."
    )


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
