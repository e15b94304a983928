"""Texts and names that look alike are the same."""

from __future__ import annotations

import unicodedata

import pytest

from showattend.system.matching import name_key, normal
from showattend.text.tokenizer import tokenize
from showattend.text.vocabulary import Vocabulary

NFC, NFD = (unicodedata.normalize(form, "café Åsa 한국") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    "other",
    [
        "Photos/Café.jpg",
        "photos/cafe\u0301.JPG",
        "photos\\CAFÉ.jpg",
        " photos / café.jpg ",
        "./photos/./café.jpg",
        "photos//café.jpg",
    ],
)
def test_names_that_mean_one_file(other: str) -> None:
    assert name_key(other) == name_key("photos/café.jpg")


def test_names_that_do_not() -> None:
    names = ["a.jpg", "/a.jpg", "../a.jpg", "a b.jpg", "ab.jpg", "á.jpg", "b/a.jpg", ".a.jpg", ""]
    assert len(set(map(name_key, names))) == len(names)


def test_one_spelling_in_tokens_and_vocabularies() -> None:
    assert NFC != NFD
    assert normal(NFD) == NFC
    assert tokenize(NFD) == tokenize(NFC) == NFC.lower().split()
    for written, asked in ((NFC, NFD), (NFD, NFC)):
        vocabulary = Vocabulary(written.split())  # an old model may have either
        assert vocabulary.encode(asked.split()) == [4, 5, 6]
        assert all(word in vocabulary for word in asked.split())
        assert vocabulary.decode([4, 5, 6]) == written.split()
    both = Vocabulary.from_counts({"caf\u00e9": 3, "cafe\u0301": 2}, min_count=5)
    assert both.words == ("caf\u00e9",)
