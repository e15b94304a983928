"""Markdown tables that compare the grounding of several models, with paired differences.

Two models are compared on the same images: the bootstrap draws images, with all words that either
model used for them. If both were forced to the same captions, the words are the same too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from showattend.evaluation.grounding.pointing import BASELINES, as_pair
from showattend.evaluation.scores.statistics import resamples

Rows = Sequence[Mapping[str, Any]]


def difference(one: Rows, other: Rows, measure: str) -> dict[str, Any]:
    """Measure how much better one model's maps are than another's.

    Args:
        one: The first model's captions, as `ground.ground` returns them.
        other: The second model's captions of the same images.
        measure: One of `ground.MEASURES`.

    Returns:
        difference: the mean over the first model's words minus the mean over the second's;
        interval: its 95 % interval [low, high] from a bootstrap over images; images: the number
            with a word.
    """
    tables = [_sums(rows, measure) for rows in (one, other)]
    images = sorted(set().union(*tables), key=str)
    times = resamples(len(images))
    means, drawn = [], []
    for table in tables:
        sums, counts = np.array([table.get(image, (0.0, 0)) for image in images]).T
        means.append(sums.sum() / counts.sum())
        words = times @ counts
        drawn.append(
            np.divide(times @ sums, words, where=words > 0, out=np.full(len(times), np.nan))
        )
    interval = np.nanpercentile(drawn[0] - drawn[1], [2.5, 97.5])
    return {
        "difference": float(means[0] - means[1]),
        "interval": as_pair(interval),
        "images": len(images),
    }


def _sums(rows: Rows, measure: str) -> dict[Any, tuple[float, int]]:
    found: dict[Any, tuple[float, int]] = {}
    for row in rows:
        for word in row["words"]:
            total, count = found.get(row["image_id"], (0.0, 0))
            found[row["image_id"]] = (total + word[measure]["model"], count + 1)
    return found


def pointing_table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Tabulate pointing and mass, one row per model, with intervals of the leads over baselines.

    Args:
        models: The result of `ground.ground` by model name, optionally with epoch and CIDEr.
    """
    header = ["model", "epoch", "CIDEr", "words", "images", "pointing"]
    header += [f"over {_title(name)}" for name in BASELINES]
    header += ["mass", "over centre"]
    rows = []
    for name, found in models.items():
        cells = [name, str(found.get("epoch", "")), _number(found.get("CIDEr"))]
        cells += [str(found["words"]), str(found["images"])]
        for measure, bases in (("pointing", BASELINES), ("mass", ("centre",))):
            cells.append(_number(found[measure]["model"]))
            cells += [span(found["interval"][measure][base]) for base in bases]
        rows.append(cells)
    return markdown(header, rows)


def differences(
    models: Mapping[str, Mapping[str, Any]], pairs: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """How much better the first model's maps are than the second's, for each pair.

    Args:
        models: See ``pointing_table``.
        pairs: Pairs of model names.

    Returns:
        one, other: the names; pointing, mass: see ``difference``.
    """
    return [
        {"one": one, "other": other}
        | {
            measure: difference(models[one]["captions"], models[other]["captions"], measure)
            for measure in ("pointing", "mass")
        }
        for one, other in pairs
    ]


def difference_table(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Tabulate the differences of pairs of models, one row per pair.

    Args:
        pairs: The result of ``differences``.
    """
    header = ["", "images", "pointing", "95 %", "mass", "95 %"]
    rows = []
    for pair in pairs:
        cells = [f"{pair['one']}, minus {pair['other']}", str(pair["pointing"]["images"])]
        for measure in ("pointing", "mass"):
            found = pair[measure]
            cells += [f"{found['difference']:+.3f}", span(found["interval"])]
        rows.append(cells)
    return markdown(header, rows)


def wrong_words_table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Tabulate where the peaks of right and wrong words fall, two rows per model.

    Args:
        models: See ``pointing_table``.
    """
    header = ["model", "words", "n", "own object", "another", "none"]
    header += [f"any object, {_title(name)}" for name in BASELINES]
    header += [f"over {_title(name)}" for name in BASELINES]
    rows = []
    for name, found in models.items():
        for kind in ("right", "wrong"):
            where = found["where"][kind]
            cells = [name if kind == "right" else "", kind, str(where["words"])]
            if where["words"]:
                places = where["peak"]["model"]
                cells.append(_number(places["own"]) if kind == "right" else "-")
                cells += [_number(places["another"]), _number(places["none"])]
                peaks, leads = where["peak"], where["interval"]["peak"]["object"]
                cells += [_number(1 - peaks[base]["none"]) for base in BASELINES]
                cells += [span(leads[base]) for base in BASELINES]
            rows.append(cells + [""] * (len(header) - len(cells)))
    return markdown(header, rows)


def confusion_table(found: Mapping[str, Any], most: int = 8) -> str:
    """Tabulate what one model looked at for wrong words, the most common pairs first.

    Args:
        found: The result of `ground.ground`.
        most: The maximum number of pairs.
    """
    rows = [
        [
            *(pair["said"], pair["at"], str(pair["words"]), str(pair["said_wrong"])),
            *(f"{pair['uniform']:.1f}", f"{pair['centre']:.1f}"),
        ]
        for pair in found["where"]["confusions"][:most]
    ]
    header = ["said", "looked at", "words", "of", "a uniform map", "the centre"]
    return markdown(header, rows)


def objects_table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Tabulate the attention on big objects that captions mention or overlook, two rows per model.

    Args:
        models: See ``pointing_table``.
    """
    header = ["model", "big objects", "n", "peaks", "uniform", "centre", "over uniform"]
    header += ["mass", "over uniform", "over centre"]
    rows = []
    for name, found in models.items():
        for kind in ("mentioned", "overlooked"):
            where = found["where"]["big"][kind]
            cells = [name if kind == "mentioned" else "", kind, str(where["objects"])]
            if where["objects"]:
                cells += [_number(where["peak"][base]) for base in ("model", "uniform", "centre")]
                cells.append(span(where["interval"]["peak"]["uniform"]))
                cells.append(_number(where["mass"]["model"]))
                cells += [span(where["interval"]["mass"][base]) for base in ("uniform", "centre")]
            rows.append(cells + [""] * (len(header) - len(cells)))
    return markdown(header, rows)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table; vertical bars inside cells are replaced."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(c.replace('|', '/') for c in line)} |" for line in lines)


def span(interval: Sequence[float]) -> str:
    """Format an interval."""
    return "{:.3f} to {:.3f}".format(*interval)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _title(name: str) -> str:
    return "another word" if name == "other_word" else name
