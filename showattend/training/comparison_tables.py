"""The tables of a comparison, from its summary as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from showattend.evaluation.scores.lengths import range_text
from showattend.evaluation.scores.statistics import METRICS


class Table(NamedTuple):
    """A table of the report.

    Attributes:
        title: The heading.
        header: The names of the columns.
        rows: The cells, as text.
        note: An explanation of the figures, in a sentence or two.
    """

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str


def seed_tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the statistics over seeds, and the differences to the first row; none for one seed."""
    rows: list[tuple[str, ...]] = []
    for row in found["rows"]:
        for metric in METRICS:
            each = row["figures"].get(metric)
            if each is not None and each["interval"] is not None:
                low, high = each["interval"]
                shown = f"{each['mean']:.3f}", f"{each['sd']:.4f}", f"{low:.3f} to {high:.3f}"
                rows.append((row["name"], metric, str(each["n"]), *shown))
    header = ("name", "metric", "n", "mean", "standard deviation", "95 % interval of the mean")
    note = (
        "n runs of each row, which differ in their seed. Standard deviation with n − 1; Student's "
        "interval. They cover chance between runs, not the choice of images."
    )
    if rows:
        yield Table("Over seeds", header, rows, note)
    note = (
        "Differences of the means over seeds, with Welch's interval. {level} The intervals cover "
        "chance between runs, not the choice of images."
    )
    yield from _differences(found, "seed_differences", "Differences over seeds to", note)


def image_difference_tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the differences to the first row, by a paired bootstrap over images."""
    note = (
        "Paired bootstrap over images, 2,000 resamples. {level} The intervals cover the choice of "
        "images, not the choice of seeds."
    )
    yield from _differences(found, "differences", "Differences to", note)


def _differences(found: Mapping[str, Any], key: str, title: str, note: str) -> Iterator[Table]:
    rows, level = [], 0.95
    for row in found["rows"][1:]:
        known = row.get(key, {})
        shown = []
        for metric in METRICS:
            each = known.get(metric)
            shown.append("-")
            if each is not None:
                level = each["level"]
                low, high = each["interval"]
                mark = "**" if round(low, 3) > 0 or round(high, 3) < 0 else ""
                shown[-1] = f"{mark}{each['difference']:+.3f}{mark} ({low:+.3f} to {high:+.3f})"
        if known:
            rows.append((row["name"], *shown))
    if rows:
        held = (
            f"Each interval has a level of {level:.1%}, so that all of a column hold together at "
            "95 % (Bonferroni). Bold: zero is outside."
        )
        first = found["rows"][0]["name"]
        yield Table(f"{title} {first}", ("name", *METRICS), rows, note.format(level=held))


def cost_tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the cost of each row's decoder."""
    rows: list[tuple[str, ...]] = []
    for row in found["rows"]:
        known = [each for each in row["cost"] if each]
        if not known:
            continue
        mean = {
            key: float("nan") if None in (values := [each[key] for each in known])
            else sum(values) / len(values)
            for key in known[0]
        }  # fmt: skip
        memory = "-" if mean["memory"] != mean["memory"] else f"{mean['memory']:.0f}"
        shown = f"{mean['parameters'] / 1e6:.2f}", f"{1000 * mean['step']:.0f}"
        rows.append((row["name"], *shown, f"{1000 * mean['search']:.1f}", memory))
    header = ("name", "million parameters", "step, ms", "search, ms per photo", "step, MB")
    note = (
        "The decoder's cost in float32, on random annotations: a training step of 16 images with 5 "
        "captions of 12 words, and a search with 5 beams for 12 words. Times depend on the machine "
        "and its load; compare them between rows only."
    )
    yield Table("Cost", header, rows, note)


def length_tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """Yield scores and log-probabilities by the length of the human captions."""
    for metric in ("CIDEr", "BLEU-4"):
        header, rows = _by_length(found, "scores", metric, whole=False)
        note = (
            f"{metric} of images by the mean number of words of their human captions; the last row "
            "has the number of images."
        )
        yield Table(f"{metric} by length of the human captions", header, rows, note)
    header, rows = _by_length(found, "likelihood", "log_prob", whole=True)
    note = (
        "Mean log-probability (nats) per word that the model gives human captions, by their number "
        "of words. Captions with words that it does not know are left out. The last row has the "
        "number of captions."
    )
    yield Table("Log-probability of human captions by length", header, rows, note)


def _by_length(
    found: Mapping[str, Any], part: str, key: str, whole: bool
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    count = "images" if part == "scores" else "captions"
    known = [
        (row["name"], [each[part] for each in row["lengths"] if each]) for row in found["rows"]
    ]
    known = [(name, several) for name, several in known if several]
    ranges = {range_text(each, whole): each["from"] for _, several in known for each in several[0]}
    names = sorted(ranges, key=lambda name: ranges[name])
    rows, counts = [], {}
    for name, several in known:
        values: dict[str, list[float]] = {}
        for run in several:
            for each in run:
                values.setdefault(range_text(each, whole), []).append(each[key])
                counts[range_text(each, whole)] = each[count]
        shown = [
            f"{sum(values[each]) / len(values[each]):.3f}" if each in values else "-"
            for each in names
        ]
        rows.append((name, *shown))
    if rows:
        rows.append((count, *(f"{counts[each]:,}" for each in names)))
    return ("name", *names), rows


def map_tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """Yield how well each row's maps point at objects, as means over its seeds."""
    header = ("name", "pointing", "lead over uniform", "lead over centre", "mass", "words")
    for which, whose in (("own", "the model's own captions"), ("human", "human captions")):
        rows = []
        for row in found["rows"]:
            known = [each[which] for each in row["grounding"] if each and which in each]
            good = [each for each in known if "pointing" in each]
            if good:
                pointing, mass = (
                    _mean([each[name]["model"] for each in good]) for name in ("pointing", "mass")
                )
                leads = [_lead(good, baseline) for baseline in ("uniform", "centre")]
                words = f"{_mean([each['words'] for each in good]):,.0f}"
                rows.append((row["name"], f"{pointing:.3f}", *leads, f"{mass:.3f}", words))
            elif known:
                rows.append((row["name"], "no maps", "-", "-", "-", "-"))
        note = (
            "Pointing: the share of words naming an object whose map peaks on that object; mass: "
            "the share of the map on it. Leads: the difference in pointing to a uniform map and to "
            "a map at the centre, with its 95 % interval over images. All figures are means over "
            "the seeds; with several seeds, the interval reaches from the lowest to the highest "
            "bound of their intervals."
        )
        yield Table(f"Where the model looks, {whose}", header, rows, note)


def _lead(runs: Sequence[Mapping[str, Any]], baseline: str) -> str:
    lead = _mean([each["pointing"]["model"] - each["pointing"][baseline] for each in runs])
    intervals = [each["interval"]["pointing"][baseline] for each in runs]
    low, high = min(each[0] for each in intervals), max(each[1] for each in intervals)
    return f"{lead:+.3f} ({low:+.3f} to {high:+.3f})"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
