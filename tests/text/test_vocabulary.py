"""The vocabulary: what it counts, and what it refuses."""

from __future__ import annotations

import json

import pytest

from showattend.exceptions import DataError
from showattend.text.vocabulary import Vocabulary


def test_vocabulary_counts_and_orders() -> None:
    captions = ["a dog", "a cat", "a dog runs", "a cat", "<unk> <unk>"]
    vocabulary = Vocabulary.from_captions(captions, min_count=2, tokenizer=str.split)
    assert vocabulary.words == ("a", "cat", "dog")
    assert len(vocabulary) == 7
    assert vocabulary.encode(["a", "bird", "<end>", "dog"]) == [4, 3, 3, 6]
    assert "cat" in vocabulary
    assert "runs" not in vocabulary
    assert "<unk>" not in vocabulary


def test_decode_stops_at_the_end() -> None:
    vocabulary = Vocabulary(["dog", "runs"])
    assert vocabulary.decode([1, 4, 5, 3, 0, 4, 2, 5]) == ["dog", "runs", "<unk>", "dog"]
    for number in (-1, 6):
        with pytest.raises(DataError, match="not in this vocabulary of 6"):
            vocabulary.decode([number])


def test_vocabulary_goes_through_json() -> None:
    vocabulary = Vocabulary(["dog", "ça", "n't"])
    again = Vocabulary.from_list(json.loads(json.dumps(vocabulary.to_list())))
    assert again == vocabulary
    assert again != Vocabulary(["ça", "dog", "n't"])


@pytest.mark.parametrize("words", [["a", "a"], ["a", "<pad>"], ["", "a"], [4]])
def test_a_broken_vocabulary_is_refused(words: list[str]) -> None:
    with pytest.raises(DataError, match="the vocabulary"):
        Vocabulary(words)


def test_too_few_captions_for_a_vocabulary() -> None:
    with pytest.raises(DataError, match="no word occurs 5 times"):
        Vocabulary.from_captions(["a dog", "a cat"])


def test_a_string_is_not_accepted_as_tokens() -> None:
    with pytest.raises(TypeError):
        Vocabulary("dog")
    with pytest.raises(TypeError):
        Vocabulary(["dog"]).encode("dog")
