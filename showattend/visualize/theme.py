"""The colours of figures: light and dark, and word colours that everyone can tell apart."""

from __future__ import annotations

from dataclasses import dataclass

from showattend.exceptions import UserError


@dataclass(frozen=True)
class Theme:
    """The colours of a figure around its photographs.

    Attributes:
        back: The background.
        ink: Text.
        quiet: Less important text; 4.5 : 1 against the background, as WCAG 2.2 requires.
    """

    back: str
    ink: str
    quiet: str


THEMES = {
    "light": Theme("#ffffff", "#1c1c1e", "#6c6c72"),
    "dark": Theme("#161514", "#f1eeea", "#a29c94"),
}

WORD_COLOURS = ("#f0e442", "#56b4e9", "#d55e00", "#cc79a7")
"""The colours of words and their outlines: the four of Okabe and Ito's colours for colour-blind
readers that are farthest apart for everyone, among those bright enough for black letters (tested
with simulated protanopia, deuteranopia and tritanopia).
"""

ON_COLOUR = "#161514"
"""The colour of letters on a word's colour."""


def theme_named(name: str) -> Theme:
    """A theme by its name.

    Raises:
        UserError: There is no such theme.
    """
    if name not in THEMES:
        raise UserError(f"no theme {name!r}; choose from {', '.join(THEMES)}")
    return THEMES[name]
