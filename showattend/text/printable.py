"""Characters that words may contain: terminals execute some of what is printed."""

from __future__ import annotations

import unicodedata

_CONTROLS = ("Cc", "Cs", "Zl", "Zp")
"""Control characters, halves of surrogate pairs, line and paragraph separators."""
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that reverse the order in which the text around them is shown."""


def is_word(text: object) -> bool:
    """Whether this is a word: text without blanks, control characters or direction marks."""
    return (
        isinstance(text, str)
        and text != ""
        and not any(
            sign.isspace() or sign in _DIRECTIONS or unicodedata.category(sign) in _CONTROLS
            for sign in text
        )
    )


def visible(text: str) -> str:
    r"""Text in which control characters and direction marks are escape sequences: ``\x1b``."""
    return "".join(
        sign if sign == " " or is_word(sign) else sign.encode("unicode_escape").decode("ascii")
        for sign in text
    )
