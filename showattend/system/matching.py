"""When two texts are the same: the only place where texts and names are normalised.

Unicode has several spellings of one text: é is one character, or e and an accent (macOS writes file
names in the second way). They look alike, and are compared in the first, NFC.
"""

from __future__ import annotations

import unicodedata


def normal(text: str) -> str:
    """The text in NFC, in which equal texts have equal characters."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def name_key(name: str) -> str:
    r"""The form in which file names and paths are compared.

    Case (``.JPG``), the encoding of accents, spaces around the parts, ``./`` and the direction of
    slashes make no difference.
    """
    parts = normal(name).replace("\\", "/").split("/")
    kept = [part.strip() for i, part in enumerate(parts) if part.strip() not in (".", "") or i == 0]
    kept = kept[1:] if kept[0] == "." and len(kept) > 1 else kept
    return normal("/".join(kept).casefold())
