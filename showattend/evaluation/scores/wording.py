"""The wording of a set of captions: variety, length, broken endings."""

from __future__ import annotations

from collections.abc import Collection, Sequence

BAD_ENDINGS = frozenset({
    "a", "an", "the", "this", "that", "his", "her", "its", "their", "some", "two", "three",
    "of", "in", "on", "at", "by", "to", "for", "from", "with", "into", "onto", "over", "under",
    "near", "behind", "beside", "between", "through", "around", "across", "along", "against",
    "during", "while", "as", "and", "or", "but", "is", "are", "was", "were", "has", "have",
    "being", "wearing", "holding",
})  # fmt: skip
"""Words that no complete English caption ends with."""


def wording(captions: Collection[Sequence[str]]) -> dict[str, float]:
    """Measure the wording of captions given as lists of words.

    Returns:
        "distinct": the fraction of captions that differ from each other; "words": the number of
        different words; "length": the mean number of words; "bad_endings": the fraction that ends
        with one of `BAD_ENDINGS` or is empty.
    """
    count = max(len(captions), 1)
    return {
        "distinct": len({tuple(each) for each in captions}) / count,
        "words": len({word for each in captions for word in each}),
        "length": sum(map(len, captions)) / count,
        "bad_endings": sum(not each or each[-1] in BAD_ENDINGS for each in captions) / count,
    }
