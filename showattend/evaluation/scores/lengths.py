"""Scores by length, which show whether a model fails on long captions.

Bahdanau et al. (2015, figure 2) show that a fixed context vector does worse the longer a sentence
is, and that attention does not. There are two measures for captions. Scores of the images with long
human captions judge the model's own captions, which may be short. The log-probability of human
captions judges sentences of known length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from showattend.evaluation.scores.statistics import bleu_table, corpus_bleu4

IMAGE_EDGES = (0.0, 9.0, 10.0, 11.0, 12.0, float("inf"))
"""Images by the mean number of words of their human captions: 9 to below 10 and so on."""
CAPTION_EDGES = (1, 8, 10, 12, 15, 20, 10_000)
"""Human captions by their number of words: 8 to 9 and so on."""


def scores_by_length(captions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """CIDEr and BLEU-4 of the images whose human captions have some mean length.

    Args:
        captions: The captions from `evaluate`, with ``scores``, ``bleu`` and ``reference_words`` of
            each image.

    Returns:
        For each range of lengths that holds images: from, to (exclusive; None is no limit),
        images, CIDEr, BLEU-4, and words, the mean length of the model's captions.
    """
    lengths = np.array([each["reference_words"] for each in captions])
    found = []
    for low, high in pairwise(IMAGE_EDGES):
        rows = np.flatnonzero((lengths >= low) & (lengths < high))
        if not len(rows):
            continue
        some = [captions[int(i)] for i in rows]
        counts = bleu_table([each["bleu"] for each in some])
        found.append(
            {
                "from": low,
                "to": None if high == IMAGE_EDGES[-1] else high,
                "images": len(some),
                "CIDEr": float(np.mean([each["scores"]["CIDEr"] for each in some])),
                "BLEU-4": float(corpus_bleu4(counts.sum(0))),
                "words": float(counts[:, 0].mean()),
            }
        )
    return found


def likelihood_by_length(
    sentences: Iterable[tuple[int, Sequence[float]]],
) -> list[dict[str, Any]]:
    """The mean log-probability per word of human captions that are forced on a model.

    Args:
        sentences: For each caption its number of words, and the log-probabilities (nats) of its
            words and of its end.

    Returns:
        For each range of lengths that holds captions: from, to (exclusive), captions, and
        log_prob, the mean over all their words.
    """
    sums = [[0, 0, 0.0] for _ in CAPTION_EDGES[1:]]  # captions, words, log-probability
    for length, log_probs in sentences:
        bin_ = int(np.searchsorted(CAPTION_EDGES, length, "right")) - 1
        if 0 <= bin_ < len(sums):
            sums[bin_][0] += 1
            sums[bin_][1] += len(log_probs)
            sums[bin_][2] += float(sum(log_probs))
    return [
        {"from": low, "to": None if high == CAPTION_EDGES[-1] else high, "captions": captions,
         "log_prob": total / words}
        for (low, high), (captions, words, total) in zip(pairwise(CAPTION_EDGES), sums, strict=True)
        if captions
    ]  # fmt: skip


def range_text(each: Mapping[str, Any], whole: bool) -> str:
    """A range of lengths as text: "8 to 9", "9 to 10", "20 or more"."""
    low, high = each["from"], each["to"]
    if high is None:
        return f"{low:g} or more"
    if low == 0 or (whole and low == CAPTION_EDGES[0]):
        return f"under {high:g}"
    return f"{low:g} to {high - 1:g}" if whole else f"{low:g} to {high:g}"
