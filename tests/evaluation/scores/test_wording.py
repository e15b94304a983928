"""Variety, length and broken endings, counted by hand."""

from __future__ import annotations

import pytest

from showattend.evaluation.scores.wording import BAD_ENDINGS, wording


def test_what_is_counted() -> None:
    captions = ["a dog runs", "a dog runs", "two men on a", "a man is", ""]
    assert wording([caption.split() for caption in captions]) == {
        "distinct": 4 / 5,
        "words": 8,
        "length": pytest.approx(13 / 5),
        "bad_endings": 3 / 5,
    }


def test_of_nothing() -> None:
    assert wording([]) == {"distinct": 0, "words": 0, "length": 0, "bad_endings": 0}


def test_bad_endings_are_function_words() -> None:
    listed = {"a", "an", "the", "on", "in", "with", "of", "and", "to", "is"}
    assert listed <= BAD_ENDINGS
    assert not {"dog", "water", "running", "outside", "together", "up"} & BAD_ENDINGS
