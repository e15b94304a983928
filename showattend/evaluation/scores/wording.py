"""How a set of captions is worded, whatever it says: variety, length, broken ends."""

from __future__ import annotations

from collections.abc import Collection, Sequence

BAD_ENDINGS = frozenset({
    "a", "an", "the", "this", "that", "his", "her", "its", "their", "some", "two", "three",
    "of", "in", "on", "at", "by", "to", "for", "from", "with", "into", "onto", "over", "under",
    "near", "behind", "beside", "between", "through", "around", "across", "along", "against",
    "during", "while", "as", "and", "or", "but", "is", "are", "was", "were", "has", "have",
    "being", "wearing", "holding",
})  # fmt: skip
"""Words that an English caption does not end with: it was cut off before its object."""


def wording(captions: Collection[Sequence[str]]) -> dict[str, float]:
    """Describe captions given as lists of words.

    Returns:
    "distinct": the share of different captions; "words": how many different words they use;
    "length": words a caption; "bad_endings": the share that ends with one of `BAD_ENDINGS`,
        or holds no word at all.
    """
    count = max(len(captions), 1)
    return {
        "distinct": len({tuple(each) for each in captions}) / count,
        "words": len({word for each in captions for word in each}),
        "length": sum(map(len, captions)) / count,
        "bad_endings": sum(not each or each[-1] in BAD_ENDINGS for each in captions) / count,
    }
