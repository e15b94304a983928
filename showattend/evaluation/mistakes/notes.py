"""How useful the note on unfamiliar photographs is: caption quality with and without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from showattend.caption_forms import NOTE_BELOW
from showattend.evaluation.mistakes.confidence import absent_words, area_under_curve
from showattend.evaluation.mistakes.people import mentions_people
from showattend.text.tokenizer import tokenize


def invents_person(words: Sequence[str], references: Sequence[str]) -> bool:
    """Whether a caption names a person although no human caption of the photo mentions one.

    Args:
        words: The caption's tokens.
        references: The human captions.
    """
    said = mentions_people(" ".join(words)) == "named"
    return said and all(mentions_people(each) == "none" for each in references)


def judge_captions(
    said: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> dict[str, np.ndarray]:
    """Measure the mistakes in each caption of a data set.

    Args:
        said: The tokens of each photo's caption [N].
        references: The human captions of each photo [N].

    Returns:
        Arrays [N] by name: invented, whether the caption invents a person; absent, the fraction of
        absent words (`absent_words`); CIDEr.
    """
    from pycocoevalcap.cider.cider import Cider

    absent = [
        [each for each in absent_words(words, others) if each is not None]
        for words, others in zip(said, references, strict=True)
    ]
    human = {k: [" ".join(tokenize(each)) for each in some] for k, some in enumerate(references)}
    _, cider = Cider().compute_score(human, {k: [" ".join(words)] for k, words in enumerate(said)})
    pairs = zip(said, references, strict=True)
    return {
        "invented": np.array([invents_person(words, others) for words, others in pairs]),
        "absent": np.array([np.mean(each) if each else 0.0 for each in absent]),
        "CIDEr": np.asarray(cider, np.float64),
    }


def describe_notes(
    familiarity: np.ndarray, strange: np.ndarray, judged: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Compare captions with and without the note in a data set.

    Args:
        familiarity: The familiarity of each photo [N].
        strange: The residual of each photo [N], which still distinguishes photos of familiarity 0.
        judged: The result of `judge_captions`; empty if the photos have no human captions.

    Returns:
        noted and others, each with the number of photos and the means of invented, absent and CIDEr
        (None without photos). If there are human captions, also auc, how often a photo with an
        invented person is stranger than one without (None if no person is invented), and spearman,
        the rank correlation of strangeness with CIDEr.
    """
    noted = familiarity < NOTE_BELOW

    def part(among: np.ndarray) -> dict[str, Any]:
        means = {
            name: float(values[among].mean()) if among.any() else None
            for name, values in judged.items()
        }
        return {"photos": int(among.sum())} | means

    return {
        "noted": part(noted),
        "others": part(~noted),
        "auc": area_under_curve(strange, judged["invented"]) if judged else None,
        "spearman": _rank_correlation(strange, judged["CIDEr"]) if judged else None,
    }


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    ranks = [
        (np.cumsum(count) - count / 2)[place]
        for _, place, count in (
            np.unique(each, return_inverse=True, return_counts=True) for each in (one, other)
        )
    ]
    if any(np.ptp(each) == 0 for each in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def notes_to_markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Tabulate the results of `describe_notes` by data set: with the note / without it."""

    def pair(each: Mapping[str, Any], name: str) -> str:
        both = (each["noted"].get(name), each["others"].get(name))
        return " / ".join("-" if value is None else f"{value:.2f}" for value in both)

    lines = [
        "| photos | noted | invented people | absent words | CIDEr | AUC |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in found.items():
        noted, count = each["noted"]["photos"], each["noted"]["photos"] + each["others"]["photos"]
        share = f"{noted:,} of {count:,} ({100 * noted / max(count, 1):.1f} %)"
        cells = [pair(each, part) for part in ("invented", "absent", "CIDEr")]
        auc = "-" if each["auc"] is None else f"{each['auc']:.3f}"
        lines.append(f"| {name} | {share} | {' | '.join(cells)} | {auc} |")
    return "\n".join(lines)
