"""Scripts other than Latin: their names, and how their text is split into tokens.

The English tools treat a Chinese sentence as one word and know only ASCII punctuation. Here a text
without spaces between words is split into characters, as is usual for scores of Chinese and
Japanese captions, and all of Unicode's punctuation is removed.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

UNSPACED = {
    "CJK": "Chinese",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "KATAKANA-HIRAGANA": "Japanese",
    "THAI": "Thai",
    "LAO": "Lao",
    "KHMER": "Khmer",
    "MYANMAR": "Burmese",
    "TIBETAN": "Tibetan",
}
"""Scripts without spaces between words, by the first word of their characters' names."""

COMMON = {
    "ANGSTROM", "BLACK-LETTER", "DOUBLE-STRUCK", "FEMININE", "KELVIN", "MASCULINE", "MATHEMATICAL",
    "MICRO", "MODIFIER", "OHM", "PLANCK", "SCRIPT",
}  # fmt: skip
"""First words of the names of signs that are letters to Unicode and occur in text of any script."""


@lru_cache(maxsize=20_000)
def _script(sign: str) -> str:
    """The script of a letter, "LATIN" if it has none of its own; "" for other characters."""
    if not unicodedata.category(sign).startswith(("L", "M")):
        return ""
    words = unicodedata.name(sign, "LATIN").split()
    return "LATIN" if words[0] in COMMON or "LATIN" in words else words[0]


def other_script(texts: Iterable[str]) -> str | None:
    """The name of the script of most letters in the texts; None for the Latin script.

    Args:
        texts: For example the reference captions of a data set; ASCII is not examined in detail.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        if text.isascii():
            counts["LATIN"] += sum(map(str.isalpha, text))
        else:
            counts.update(script for script in map(_script, text) if script != "COMBINING")
    counts.pop("", None)
    kana = sum(counts[each] for each in UNSPACED if UNSPACED[each] == "Japanese")
    if not counts or 2 * counts["LATIN"] >= counts.total():
        return None
    del counts["LATIN"]
    most = "HIRAGANA" if kana and counts["CJK"] else counts.most_common(1)[0][0]
    return UNSPACED.get(most, most.capitalize())


def split_other(text: str) -> list[str] | None:
    """The tokens of a text in another script; None if it has only Latin letters.

    Args:
        text: Lower-case text in NFC.

    Returns:
        Words split at spaces; in scripts without spaces, characters, each with its marks.
    """
    if text.isascii() or not any(_script(sign) not in ("", "LATIN", "COMBINING") for sign in text):
        return None
    parts: list[str] = []
    joined = False  # whether the next mark belongs to the last part
    for sign in text:
        category = unicodedata.category(sign)
        if category.startswith("M") and joined:
            parts[-1] += sign
        elif _script(sign) in UNSPACED:
            parts.append(f" {sign}")
            joined = True
        elif sign == "`" or (category.startswith(("P", "Z", "C")) and sign not in "'-\u200c\u200d"):
            parts.append(" ")
            joined = False
        else:
            after = joined and parts[-1].strip() != "" and _script(parts[-1].strip()[0]) in UNSPACED
            parts.append(f" {sign}" if after else sign)
            joined = True
    return [token for token in "".join(parts).split() if token.strip("'-")]
