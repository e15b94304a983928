"""Scores by length, counted by hand."""

from __future__ import annotations

import pytest

from showattend.evaluation.scores import java
from showattend.evaluation.scores.lengths import (
    likelihood_by_length,
    range_text,
    scores_by_length,
)
from showattend.evaluation.scores.metrics import score_captions


def absent(*_: object) -> None:
    raise java.JavaError("no Java was found")


def test_images_are_sorted_by_the_mean_length_of_their_references(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(java, "tokenize_ptb", absent)  # which takes seconds to start
    references = {
        "short": ["a dog runs", "a brown dog is running fast"],
        "long": ["a man in a red shirt rides a brown horse along the beach at dusk"] * 2,
        "longer": ["a man in a red shirt rides a brown horse along the beach at dusk again"],
    }
    said = {"short": "a dog runs", "long": "a man rides a horse", "longer": "a man"}
    scores = score_captions(references, said)
    captions = [
        {"scores": scores.per_image[i], "bleu": scores.bleu[i],
         "reference_words": scores.reference_words[i]}
        for i in references
    ]  # fmt: skip
    short, long = scores_by_length(captions)
    assert (short["images"], long["images"]) == (1, 2)
    assert (short["from"], short["to"], long["from"], long["to"]) == (0, 9, 12, None)
    assert short["CIDEr"] == pytest.approx(scores.per_image["short"]["CIDEr"])
    ciders = [scores.per_image[i]["CIDEr"] for i in ("long", "longer")]
    assert long["CIDEr"] == pytest.approx(sum(ciders) / 2)
    assert long["words"] == pytest.approx((5 + 2) / 2)
    assert [range_text(each, whole=False) for each in (short, long)] == ["under 9", "12 or more"]


def test_the_likelihood_of_a_word() -> None:
    found = likelihood_by_length(
        [(7, [-1.0] * 8), (8, [-2.0] * 9), (9, [-3.0] * 10), (25, [-4.0] * 26)]
    )
    assert [each["captions"] for each in found] == [1, 2, 1]
    assert found[1]["log_prob"] == pytest.approx((-2 * 9 - 3 * 10) / 19)
    assert [range_text(each, whole=True) for each in found] == ["under 8", "8 to 9", "20 or more"]
