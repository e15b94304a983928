"""Characters that words may contain: terminals execute some of what is printed."""

from __future__ import annotations

import unicodedata

from showattend.exceptions import CONTROLS, escaped


def is_word(text: object) -> bool:
    """Whether this is a word: text without blanks, control characters or direction marks."""
    return (
        isinstance(text, str)
        and text != ""
        and not CONTROLS.search(text)
        and not any(sign.isspace() or unicodedata.category(sign) == "Cs" for sign in text)
    )


def printable(text: object) -> str:
    """A value as a line for a terminal: control characters and direction marks are escaped.

    A file name that is not UTF-8 keeps its bytes, so that a script can open what it reads.
    """
    return escaped(str(text))


def visible(text: str) -> str:
    """Like `printable`, with lone surrogates and odd blanks escaped too."""
    return "".join(
        sign if sign == " " or is_word(sign) else sign.encode("unicode_escape").decode("ascii")
        for sign in text
    )
