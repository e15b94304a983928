"""Intervals of scores and their differences, over seeds and over images.

Shape suffixes: I images, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

RESAMPLES = 2000
SEED = 0
LEVEL = 0.95
BLEU_COUNTS = ("words", "reference_words", "correct_1", "correct_2", "correct_3", "correct_4")
"""The counts of a corpus BLEU, for each image: words of the candidate, words of the reference
closest in length, and the candidate's n-grams that a reference has.
"""
METRICS = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr")


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """n, mean, standard deviation and 95 % confidence interval of the mean of a few runs.

    The interval is Student's, for runs whose scores are normally distributed; it covers chance
    between runs, not the choice of images.

    Returns:
        {"n", "mean", "sd", "interval"}; sd (with n - 1) and interval are None for one run, and
        the mean too for none.
    """
    if not values:
        return {"n": 0, "mean": None, "sd": None, "interval": None}
    n, mean = len(values), sum(values) / len(values)
    if n < 2:
        return {"n": n, "mean": mean, "sd": None, "interval": None}
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    half = student_quantile((1 + LEVEL) / 2, n - 1) * sd / math.sqrt(n)
    return {"n": n, "mean": mean, "sd": sd, "interval": [mean - half, mean + half]}


def welch_difference(
    one: Sequence[float], other: Sequence[float], comparisons: int = 1
) -> dict[str, Any] | None:
    """How much higher the mean of some runs is than that of others, with Welch's interval.

    The two may have different deviations (Welch 1947); the degrees of freedom are Satterthwaite's.

    Args:
        one: A score of each run.
        other: The same score of each run of another config.
        comparisons: The number of differences considered; see `paired_difference`.

    Returns:
        "difference", "interval" [low, high], "level", "freedom" (degrees of freedom); None if
        either has fewer than two runs.
    """
    sides = over_seeds(one), over_seeds(other)
    if min(side["n"] for side in sides) < 2:
        return None
    level = 1 - (1 - LEVEL) / max(comparisons, 1)
    parts = [side["sd"] ** 2 / side["n"] for side in sides]
    spread = sum(part**2 / (side["n"] - 1) for part, side in zip(parts, sides, strict=True))
    least = min(side["n"] for side in sides) - 1
    freedom = max(sum(parts) ** 2 / spread, least) if spread else float(least)
    half = student_quantile((1 + level) / 2, freedom) * math.sqrt(sum(parts))
    difference = sides[0]["mean"] - sides[1]["mean"]
    return {
        "difference": difference,
        "interval": [difference - half, difference + half],
        "level": level,
        "freedom": freedom,
    }


def student_quantile(share: float, freedom: float) -> float:
    """The quantile of Student's t with this many degrees of freedom.

    Args:
        share: The share, from 0.5 to below 1.
        freedom: Degrees of freedom, 1 or more.
    """
    # P(T <= t) = 1/2 + c * integral of cos^(freedom - 1) from 0 to atan(t / sqrt(freedom)).
    angles = np.linspace(0, math.pi / 2, 200_001)
    density = np.cos(angles) ** (freedom - 1)
    steps = (density[1:] + density[:-1]) / 2
    below = 0.5 + 0.5 * np.concatenate(([0.0], np.cumsum(steps))) / steps.sum()
    return math.sqrt(freedom) * math.tan(float(np.interp(share, below, angles)))


def corpus_bleu4(counts: np.ndarray) -> np.ndarray:
    """BLEU-4 of sets of images, as pycocoevalcap's ``BleuScorer`` computes it.

    Args:
        counts: Sums over each set of `BLEU_COUNTS` and, at their end, of the n-grams of each
            length that the candidates have: [..., 10].
    """
    small, tiny = 1e-9, 1e-15
    words, reference_words = counts[..., 0], counts[..., 1]
    shares = (counts[..., 2:6] + tiny) / (counts[..., 6:10] + small)
    ratio = (words + tiny) / (reference_words + small)
    brevity = np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1)), 1.0)
    return shares.prod(-1) ** 0.25 * brevity


def bleu_table(counts: Sequence[Sequence[int]]) -> np.ndarray:
    """`BLEU_COUNTS` of each image with the numbers of its candidate's n-grams: [I, 10]."""
    table = np.asarray(counts, np.float64)
    guesses = [np.maximum(table[:, :1] - k, 0) for k in range(4)]
    return np.concatenate([table, *guesses], 1)


@lru_cache(maxsize=2)
def resamples(images: int) -> np.ndarray:
    """How often each image is drawn, [R, I]: the same draws for all comparisons."""
    draw = np.random.default_rng(SEED)
    times = np.stack(
        [
            np.bincount(draw.integers(images, size=images), minlength=images)
            for _ in range(RESAMPLES)
        ]
    )
    times.flags.writeable = False  # all callers share it
    return times


def paired_difference(
    one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]], comparisons: int = 1
) -> dict[str, dict[str, Any]]:
    """How much better ``one`` scores than ``other`` on the same images, by a paired bootstrap.

    CIDEr's document frequencies are those of all images, in every resample; METEOR is the mean of
    the images' scores, and BLEU-4 that of the resampled corpus.

    Args:
        one: For each image its ``scores`` by metric and its ``bleu`` (`BLEU_COUNTS`), and its
            ``set`` if there are several data sets: the difference is then their mean.
        other: The same images in the same order.
        comparisons: The number of differences considered; each interval is widened so that all of
            them hold together in 95 % of cases (Bonferroni).

    Returns:
        By metric: "difference", "interval" [low, high], "level" of the one interval, "clear":
        whether zero lies outside.
    """
    level = 1 - (1 - LEVEL) / max(comparisons, 1)
    groups: dict[Any, list[int]] = {}
    for i, image in enumerate(one):
        groups.setdefault(image.get("set"), []).append(i)
    parts: dict[str, list[np.ndarray]] = {}
    for rows in groups.values():
        drawn = np.concatenate([np.ones((1, len(rows))), resamples(len(rows))])
        for metric in METRICS:
            measure = _bleu if metric == "BLEU-4" else _mean_of(metric)
            try:
                values = [measure([side[i] for i in rows], drawn) for side in (one, other)]
            except KeyError:  # METEOR needs Java; older results hold no counts
                continue
            parts.setdefault(metric, []).append(values[0] - values[1])
    found = {}
    for metric, differences in parts.items():
        if len(differences) < len(groups):
            continue
        exact, *drawn_differences = np.mean(differences, axis=0)
        low, high = np.quantile(drawn_differences, [(1 - level) / 2, (1 + level) / 2])
        found[metric] = {
            "difference": float(exact),
            "interval": [float(low), float(high)],
            "level": level,
            "clear": bool(low > 0 or high < 0),
        }
    return found


def _mean_of(metric: str) -> Callable[[Sequence[Mapping[str, Any]], np.ndarray], np.ndarray]:
    def measure(images: Sequence[Mapping[str, Any]], drawn: np.ndarray) -> np.ndarray:
        scores = np.array([image["scores"][metric] for image in images], np.float64)
        return drawn @ scores / drawn.sum(1)

    return measure


def _bleu(images: Sequence[Mapping[str, Any]], drawn: np.ndarray) -> np.ndarray:
    return corpus_bleu4(drawn @ bleu_table([image["bleu"] for image in images]))
