"""How often the words of captions are wrong, by the probability that the model gave them.

A word is judged where the lexicon knows what it names (objects, counts, colours, activities): it
is absent when no human caption of the photo names that, or a kind of it. It may be there all the
same, and nobody mentioned it.
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
    """Which words of a caption name what no reference names.

    Args:
        words: The caption's T tokens.
        references: Human captions of the same photo.

    Returns:
        For each word: whether it is absent; None where the lexicon does not know it. A word that
        names concepts of several kinds is there only if all of them are.
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
    """The probability at which words that are wrong and words that are right balance.

    It makes the fewest mistakes when every word below it is taken for wrong, and every other for
    right; so the words just below it are wrong as often as not, and those further below more
    often. Each data set counts alike, however many words it has.

    Args:
        sets: For each data set the words' probabilities, and whether each is wrong.

    Returns:
        The threshold, rounded down to hundredths; 0 where no word should be taken for wrong.
    """
    some = [(p, wrong) for p, wrong in sets if len(p)]
    if not some:
        return 0.0
    p = np.concatenate([np.asarray(each, np.float64) for each, _ in some])
    gain = np.concatenate([(np.asarray(w, np.float64) - 0.5) / len(w) for _, w in some])
    order = np.argsort(p, kind="stable")
    gained = np.cumsum(gain[order])
    last = np.append(np.diff(p[order]) > 0, True)  # equal ones lie on the same side
    gained[~last] = -np.inf
    best = int(gained.argmax())
    if gained[best] <= 0:
        return 0.0
    above = p[order][best + 1] if best + 1 < len(p) else 1.0
    return float(np.floor(100 * above + 1e-9) / 100)


def describe_confidence(
    p: Sequence[float], wrong: Sequence[bool], unsure_below: float
) -> dict[str, Any]:
    """How probability and mistakes go together in one data set.

    Args:
        p: The words' probabilities.
        wrong: Whether each is wrong.
        unsure_below: The threshold.

    Returns:
        all, unsure (below the threshold) and sure, each with how many words and the share of wrong
        ones among them (None without words); bins, a list of the same from probability to
        probability; auc, how often a wrong word has the lower probability of a wrong and a right
        one (0.5 is chance).
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
    """How often a positive has the higher score of a positive and a negative; ties count half.

    Args:
        score: [N].
        positive: [N] bool.

    Returns:
        The area under the ROC curve; None without positives or without negatives.
    """
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]  # from 1, equal ones share theirs
    ups, downs = int(positive.sum()), int((~positive).sum())
    if not ups or not downs:
        return None
    return float((rank[positive].sum() - ups * (ups + 1) / 2) / (ups * downs))


def to_markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """`describe_confidence` of several data sets as a table: how many words, how many are absent.

    Args:
        found: By the data sets' names.
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
