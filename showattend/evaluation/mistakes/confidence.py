"""How often the words of captions are wrong, by their probability.

A word is judged if it is in the lexicon (objects, counts, colours, activities). It counts as absent
if no human caption of the photo names the same thing or a kind of it, although the thing may be
there without being mentioned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from showattend.evaluation.mistakes.lexicon import lexicons
from showattend.text.tokenizer import tokenize

EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def absent_words(words: Sequence[str], references: Sequence[str]) -> list[bool | None]:
    """Find the words of a caption that name something no reference names.

    Args:
        words: The caption's T tokens.
        references: Human captions of the same photo.

    Returns:
        For each of the T words, whether it is absent; None if it is not in the lexicon. A word that
        names concepts of several kinds is present only if all of them are.
    """
    absent: list[bool | None] = [None] * len(words)
    others = [tokenize(each) for each in references]
    for lexicon in lexicons():
        named = frozenset().union(*(lexicon.implied(lexicon.named(each)) for each in others))
        for start, stop, concepts in lexicon.find(words):
            for t in range(start, stop):
                absent[t] = bool(absent[t]) or not concepts & named
    return absent


def choose_threshold(sets: Sequence[tuple[Sequence[float], Sequence[bool]]]) -> float:
    """Choose the threshold that best separates wrong words from right ones by probability.

    Calling every word below the threshold wrong and every other word right makes the fewest
    mistakes, so words just below it are wrong about half of the time and those further below more
    often. All data sets have equal weight, whatever their size.

    Args:
        sets: For each data set the words' probabilities [N], and whether each is wrong [N].

    Returns:
        The threshold, rounded down to hundredths; 0 if no word should be called wrong.
    """
    some = [(p, wrong) for p, wrong in sets if len(p)]
    if not some:
        return 0.0
    p = np.concatenate([np.asarray(each, np.float64) for each, _ in some])
    gain = np.concatenate([(np.asarray(w, np.float64) - 0.5) / len(w) for _, w in some])
    order = np.argsort(p, kind="stable")
    gained = np.cumsum(gain[order])
    last = np.append(np.diff(p[order]) > 0, True)  # ties stay on one side
    gained[~last] = -np.inf
    best = int(gained.argmax())
    if gained[best] <= 0:
        return 0.0
    above = p[order][best + 1] if best + 1 < len(p) else 1.0
    return float(np.floor(100 * above + 1e-9) / 100)


def describe_confidence(
    p: Sequence[float], wrong: Sequence[bool], unsure_below: float
) -> dict[str, Any]:
    """Describe how probability and mistakes are related in one data set.

    Args:
        p: The words' probabilities [N].
        wrong: Whether each word is wrong [N].
        unsure_below: The threshold.

    Returns:
        all, unsure (below the threshold) and sure, each with the number of words and the fraction
        of them that is wrong (None without words); bins, the same for intervals of probability;
        auc, how often a wrong word has a lower probability than a right one (0.5 is chance).
    """
    values, bad = np.asarray(p, np.float64), np.asarray(wrong, bool)
    bin_of = np.digitize(values, EDGES[1:-1])

    def part(among: np.ndarray) -> dict[str, Any]:
        return {
            "words": int(among.sum()),
            "wrong": float(bad[among].mean()) if among.any() else None,
        }

    return {
        "all": part(np.ones_like(bad)),
        "unsure": part(values < unsure_below),
        "sure": part(values >= unsure_below),
        "bins": [
            {"from": low, "to": high} | part(bin_of == k)
            for k, (low, high) in enumerate(pairwise(EDGES))
        ],
        "auc": area_under_curve(-values, bad),
    }


def area_under_curve(score: np.ndarray, positive: np.ndarray) -> float | None:
    """Compute the area under the ROC curve; ties count half.

    Args:
        score: The scores [N].
        positive: Which of them are positive, [N] bool.

    Returns:
        How often a positive scores higher than a negative; None without positives or negatives.
    """
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]  # ranks from 1; ties share the mean rank
    ups, downs = int(positive.sum()), int((~positive).sum())
    if not ups or not downs:
        return None
    return float((rank[positive].sum() - ups * (ups + 1) / 2) / (ups * downs))


def to_markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Tabulate the number of words and the fraction absent for several data sets.

    Args:
        found: The results of `describe_confidence` by data set name.
    """
    rows = [
        (f"{low:g} to {high:g}", [each["bins"][k] for each in found.values()])
        for k, (low, high) in enumerate(pairwise(EDGES))
    ]
    rows += [(name, [each[name] for each in found.values()]) for name in ("unsure", "sure", "all")]
    names = " | ".join(f"{name}: words | absent" for name in found)
    lines = [f"| probability | {names} |", "|---" * (1 + 2 * len(found)) + "|"]
    for label, parts in rows:
        cells = [
            f"{each['words']:,} | " + ("-" if each["wrong"] is None else f"{each['wrong']:.2f}")
            for each in parts
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)
