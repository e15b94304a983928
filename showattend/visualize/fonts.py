"""Letters of any script: which of the machine's fonts have them, and which are missing."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

BASE = "DejaVu Sans"
"""Included in matplotlib: Latin, Greek, Cyrillic, Hebrew, Arabic and more, on every machine."""

STAND_IN = "?"
_NOT_A_FONT_FOR_TEXT = ("Last Resort", ".")  # boxes for every letter; the system's hidden ones


@dataclass(frozen=True)
class Lettering:
    """The fonts to write a text with.

    Attributes:
        families: Names of fonts; a letter is taken from the first that has it.
        missing: The letters that no font of this machine has.
    """

    families: tuple[str, ...]
    missing: frozenset[str]

    def shown(self, text: str) -> str:
        """The text with a question mark for each letter that would be an empty box."""
        return "".join(STAND_IN if letter in self.missing else letter for letter in text)

    @property
    def shortage(self) -> str:
        """A line on the missing letters; empty if there are none."""
        if not self.missing:
            return ""
        scripts = sorted({_script(letter) for letter in self.missing})
        letters = sorted(f"U+{ord(letter):04X}" for letter in self.missing)
        more = f" and {len(letters) - 4} more" if len(letters) > 4 else ""
        return (
            f"no font on this machine has {', '.join(letters[:4])}{more} "
            f"({', '.join(scripts)}); {STAND_IN} stands for each, "
            "install a font for that script, such as Noto Sans"
        )


def lettering(text: str) -> Lettering:
    """Find fonts for all letters of a text: DejaVu Sans, and as few others as possible."""
    return _lettering(frozenset(text))


def right_to_left(text: str) -> bool:
    """Whether a line of the text begins at the right, as in Arabic or Hebrew."""
    for letter in text:
        kind = unicodedata.bidirectional(letter)
        if kind in ("L", "R", "AL"):
            return kind != "L"
    return False


@functools.lru_cache(maxsize=256)
def _lettering(letters: frozenset[str]) -> Lettering:
    from matplotlib.font_manager import fontManager

    wanted = {letter for letter in letters if _needs_a_glyph(letter)}
    families = [BASE]
    missing = wanted - _covered(BASE, wanted)
    prefer = functools.partial(_preference, region=_region(missing))
    for known in (True, False):
        if not missing:
            break
        if not known:  # matplotlib remembers the fonts of its first start
            _register_new_fonts()
        names = {entry.name for entry in fontManager.ttflist if _is_regular(entry)}
        for name in sorted(names - set(families), key=prefer):
            found = _covered(name, missing)
            if found:
                families.append(name)
                missing -= found
            if not missing:
                break
    return Lettering(tuple(families), frozenset(missing))


def _covered(family: str, letters: Iterable[str]) -> set[str]:
    """Those of the letters that a family's regular font can draw."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    if family.startswith(_NOT_A_FONT_FOR_TEXT):
        return set()
    try:
        font: Any = get_font(findfont(FontProperties(family=[family]), fallback_to_default=False))
    except (ValueError, OSError, RuntimeError):  # missing, damaged, or not supported
        return set()
    if not font.scalable:
        return set()
    return {letter for letter in letters if font.get_char_index(ord(letter))}


def _is_regular(entry: Any) -> bool:
    """Whether a font is upright and of regular weight; matplotlib warns about others."""
    return entry.style == "normal" and entry.weight in (400, "normal", "regular", "book")


def _register_new_fonts() -> None:
    from matplotlib.font_manager import findSystemFonts, fontManager

    known = {entry.fname for entry in fontManager.ttflist}
    for path in sorted(set(findSystemFonts()) - known):
        try:
            fontManager.addfont(path)
        except Exception:  # any error of a damaged font file: it is not used
            continue


def _preference(name: str, region: str) -> tuple[bool, bool, bool, bool, str]:
    """Plain text faces first, with the region's Han forms; the same order at every start."""
    low = name.lower()
    odd = any(sign in low for sign in ("mono", "emoji", "symbol", "stix", "display", "condensed"))
    return (odd, "noto sans" not in low, "sans" not in low, not name.endswith(region), name)


def _region(letters: Iterable[str]) -> str:
    """The region of Han letters to draw: Japan's with kana, Korea's with Hangul."""
    scripts = {_script(letter) for letter in letters}
    if scripts & {"Hiragana", "Katakana"}:
        return "JP"
    return "KR" if "Hangul" in scripts else "SC"


def _needs_a_glyph(letter: str) -> bool:
    """Whether a letter is visible: not a space, a joiner or a variation selector."""
    kind = unicodedata.category(letter)
    return not (letter.isspace() or kind in ("Cc", "Cf") or 0xFE00 <= ord(letter) <= 0xFE0F)


def _script(letter: str) -> str:
    """The first word of a letter's name: its script, for nearly all letters."""
    name = unicodedata.name(letter, "unnamed").split()[0].split("-")[0]
    return name if name == "CJK" else name.capitalize()
