"""Summaries of faithfulness with paired bootstrap intervals over images.

Shape suffixes: I images, R resamples, K values of a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from showattend.decoding.explaining import KINDS
from showattend.evaluation.grounding.pointing import as_pair, bootstrap
from showattend.evaluation.grounding.removal import FRACTIONS, PIXEL_FRACTIONS, curve_of
from showattend.evaluation.scores.statistics import resamples

BASELINES = ("random", "centre", "another word", "least attended")
CLASSES = ("noun", "colour", "verb", "other", "function")
"""The classes of words; all but the last are content words."""
Word = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]
Selected = Callable[[Word], bool]


Fractions = Sequence[float]


def faithfulness(curve: Mapping[str, float]) -> float:
    """Deletion minus insertion, in nats: 0 for a random order on average."""
    return curve["deletion"] - curve["insertion"]


def dependence(word: Word, order: str, fractions: Fractions) -> float:
    """Faithfulness with the sign of each drop ignored: any change of the word counts."""
    drops = np.abs(word["curves"][order]["drops"])
    return faithfulness(curve_of(drops, abs(word["total"]), fractions))


def summarise(rows: Rows) -> dict[str, Any]:
    """Summarise the measurements of captions.

    Args:
        rows: Captions with image_id and words, measured by `faithfulness.faithful`.

    Returns:
        words and images counted;
        orders: of content words, by order: see `compare_orders`;
        pixels: the same on pixels; None if not measured;
        pointing: by explanation its words, images, pointing and mass, and its lead over attention;
        classes: by class of words, see `describe`;
        trust: the same for words by the model's own signs;
        beta: Spearman's correlation of the gate with the change of the word's log-probability
        with all cells replaced, over all words and over content words, with intervals; None
        without a gate.
    """
    words = [word for row in rows for word in row["words"]]
    there = {word["class"] for word in words}
    classes = [name for name in CLASSES if name in there]
    measured_on_pixels = any("pixels" in word for word in words)
    return {
        "words": len(words),
        "images": len({row["image_id"] for row in rows}),
        "orders": compare_orders(_grouped(rows, is_content), FRACTIONS),
        "pixels": compare_orders(
            _grouped(rows, lambda w: "pixels" in w, _on_pixels), PIXEL_FRACTIONS
        )
        if measured_on_pixels
        else None,
        "pointing": _pointing(rows),
        "classes": {
            "content words": describe(_grouped(rows, is_content)),
            **{name: describe(_grouped(rows, _in_class(name))) for name in classes},
        },
        "trust": {
            name: describe(_grouped(rows, selected)) for name, selected in _trust(words).items()
        },
        "beta": {
            "all words": _beta_against_change(_grouped(rows, lambda _: True)),
            "content words": _beta_against_change(_grouped(rows, is_content)),
        },
    }


def is_content(word: Word) -> bool:
    """Whether a word says something about the photo."""
    return bool(word["class"] != "function")


def _trust(words: Sequence[Word]) -> dict[str, Selected]:
    """Criteria to divide content words by, whether a figure shows them or not."""
    content = [word for word in words if is_content(word)]
    found: dict[str, Selected] = {
        "looked somewhere": lambda w: w["looked_somewhere"],
        "looked everywhere": lambda w: not w["looked_somewhere"],
        "sure": lambda w: not w["unsure"],
        "unsure": lambda w: w["unsure"],
    }
    betas = [word["beta"] for word in content if word["beta"] is not None]
    if betas:
        middle = float(np.median(betas))
        found[f"β above {middle:.2f}"] = lambda w: w["beta"] > middle
        found[f"β up to {middle:.2f}"] = lambda w: w["beta"] <= middle
    found["change over 1 nat without all cells"] = lambda w: abs(w["total"]) > 1
    found["change up to 1 nat"] = lambda w: abs(w["total"]) <= 1
    return {name: _both(is_content, test) for name, test in found.items()}


def _both(one: Selected, other: Selected) -> Selected:
    return lambda word: one(word) and other(word)


def _in_class(name: str) -> Selected:
    return lambda word: bool(word["class"] == name)


def _on_pixels(word: Word) -> Word:
    return {**word, **word["pixels"]}


def _grouped(
    rows: Rows, selected: Selected, change: Callable[[Word], Word] = dict
) -> list[list[Word]]:
    """The selected words of each image that has any."""
    images: dict[Any, list[Word]] = {}
    for row in rows:
        images.setdefault(row["image_id"], []).extend(
            change(word) for word in row["words"] if selected(word)
        )
    return [words for words in images.values() if words]


def compare_orders(images: Sequence[Sequence[Word]], fractions: Fractions) -> dict[str, Any]:
    """Compare orders of removal on the words that have all of them.

    Args:
        images: The words of each image.
        fractions: The points of their curves.

    Returns:
        words, images; by_order: for each order the means of drops (`removal.Curve`), deletion,
        insertion, faithful (`faithfulness`) and unsigned (`dependence`), with 95 % intervals
        [low, high]: "interval" of its faithfulness, "over_random" and "over_attention" of its lead
        in it, "unsigned_over_random" and "unsigned_over_attention"; ranking: the orders, most
        faithful first. by_order is empty if there are no such words.
    """
    flat = [word for image in images for word in image]
    names = [name for name in (*KINDS, *BASELINES) if any(name in word["curves"] for word in flat)]
    images = [
        some
        for image in images
        if (some := [word for word in image if all(name in word["curves"] for name in names)])
    ]
    flat = [word for image in images for word in image]
    found: dict[str, Any] = {"words": len(flat), "images": len(images), "by_order": {}}
    if not flat:
        return found | {"ranking": []}
    values = [
        np.array([[faithfulness(word["curves"][n]) for n in names] for word in image])
        for image in images
    ]
    unsigned = [
        np.array([[dependence(word, n, fractions) for n in names] for word in image])
        for image in images
    ]
    mean, mean_unsigned = (np.concatenate(each).mean(0) for each in (values, unsigned))
    own = bootstrap(values)
    for column, name in enumerate(names):
        curves = [word["curves"][name] for word in flat]
        each: dict[str, Any] = {
            key: float(np.mean([curve[key] for curve in curves]))
            for key in ("deletion", "insertion")
        }
        each["drops"] = np.mean([curve["drops"] for curve in curves], 0).tolist()
        each |= {"faithful": float(mean[column]), "interval": as_pair(own[column])}
        each["unsigned"] = float(mean_unsigned[column])
        for base in ("random", "attention"):
            if base in names:
                other = names.index(base)
                for prefix, measured in (("", values), ("unsigned_", unsigned)):
                    lead = bootstrap([v[:, [column]] - v[:, [other]] for v in measured])[0]
                    each[f"{prefix}over_{base}"] = as_pair(lead)
        found["by_order"][name] = each
    return found | {"ranking": [names[k] for k in np.argsort(-mean, kind="stable")]}


def _pointing(rows: Rows) -> dict[str, Any]:
    images = _grouped(rows, lambda w: "pointing" in w)
    if not images:
        return {}
    kinds = list(images[0][0]["pointing"])
    measures = ("pointing", "mass")
    values = np.array(
        [[word["pointing"][k][m] for k in kinds for m in measures] for im in images for word in im]
    )
    ends = np.cumsum([len(image) for image in images])[:-1]
    per_image = np.split(values, ends)
    own = bootstrap(per_image)
    found: dict[str, Any] = {}
    for n, kind in enumerate(kinds):
        found[kind] = {"words": len(values), "images": len(images)}
        for m, measure in enumerate(measures):
            column = n * len(measures) + m
            found[kind][measure] = float(values[:, column].mean())
            found[kind][f"{measure}_interval"] = as_pair(own[column])
            if "attention" in kinds:
                other = kinds.index("attention") * len(measures) + m
                lead = bootstrap([v[:, [column]] - v[:, [other]] for v in per_image])[0]
                found[kind][f"{measure}_over_attention"] = as_pair(lead)
    return found


def describe(images: Sequence[Sequence[Word]]) -> dict[str, Any]:
    """Describe a group of words: how much they depend on the image, and on the attended cells.

    Args:
        images: The words of each image.

    Returns:
        words, images; total: the mean drop with the whole image removed, with total_interval;
        change: the same with the sign ignored; beta: the mean gate; faithful: attention's
        faithfulness, with its lead "over_random" and "over_another" as [low, high], and
        "unsigned_over_random" with the sign ignored; pointing and pointing_words: of its nouns in
        the image. What cannot be computed is None.
    """
    flat = [word for image in images for word in image]
    found: dict[str, Any] = dict.fromkeys(
        (
            *("total", "total_interval", "change", "beta", "faithful", "over_random"),
            *("over_another", "unsigned_over_random", "pointing"),
        )
    )
    found |= {"words": len(flat), "images": len(images), "pointing_words": 0}
    if not flat:
        return found
    found["total"] = float(np.mean([word["total"] for word in flat]))
    found["change"] = float(np.mean([abs(word["total"]) for word in flat]))
    found["total_interval"] = _interval([[w["total"]] for w in im] for im in images)
    betas = [word["beta"] for word in flat if word["beta"] is not None]
    found["beta"] = float(np.mean(betas)) if betas else None
    looked = [word for word in flat if "attention" in word["curves"]]
    if looked:
        found["faithful"] = float(np.mean([faithfulness(w["curves"]["attention"]) for w in looked]))
    for key, base in (("over_random", "random"), ("over_another", "another word")):
        leads = [
            [
                [faithfulness(w["curves"]["attention"]) - faithfulness(w["curves"][base])]
                for w in image
                if "attention" in w["curves"] and base in w["curves"]
            ]
            for image in images
        ]
        found[key] = _interval(leads)
    found["unsigned_over_random"] = _interval(
        [
            [dependence(w, "attention", FRACTIONS) - dependence(w, "random", FRACTIONS)]
            for w in image
            if "attention" in w["curves"]
        ]
        for image in images
    )
    pointed = [w["pointing"]["attention"] for w in flat if "attention" in w.get("pointing", {})]
    found["pointing_words"] = len(pointed)
    if pointed:
        found["pointing"] = float(np.mean([each["pointing"] for each in pointed]))
    return found


def _interval(images: Iterable[Sequence[Sequence[float]]]) -> list[float] | None:
    values = [np.array(image) for image in images if len(image)]
    return as_pair(bootstrap(values)[0]) if values else None


def _beta_against_change(images: Sequence[Sequence[Word]]) -> dict[str, Any] | None:
    """Spearman's correlation of β with the change, the sign ignored, and its interval."""
    pairs = [
        np.array([(w["beta"], abs(w["total"])) for w in image if w["beta"] is not None]).reshape(
            -1, 2
        )
        for image in images
    ]
    pairs = [each for each in pairs if len(each)]
    if sum(map(len, pairs)) < 3:
        return None
    whole = _spearman(np.concatenate(pairs))
    if np.isnan(whole):  # one gate or one change for all: no ranks to compare
        return None
    drawn = []
    for times in resamples(len(pairs))[:500]:
        chosen = [pair for pair, n in zip(pairs, times, strict=True) for _ in range(n)]
        drawn.append(_spearman(np.concatenate(chosen)))
    return {
        "words": sum(map(len, pairs)),
        "spearman": whole,
        "interval": as_pair(np.nanpercentile(drawn, [2.5, 97.5])),
    }


def _spearman(pairs: np.ndarray) -> float:
    """Spearman's rank correlation of pairs [N, 2]; ties have their mean rank."""
    ranks = []
    for column in pairs.T:
        _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        ends = np.cumsum(counts)
        ranks.append((ends - (counts - 1) / 2)[inverse])
    if any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
