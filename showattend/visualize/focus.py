"""Whether a word looked somewhere: the measure shared by figures, pages and the server.

``half_area`` is the smallest share of the grid that holds half of a map's attention: close to 0
for a single cell, 0.5 for an even map. It is the area within the outlines of a figure, so that the
picture and the decision cannot disagree, and it means the same on any grid.

A word "looked somewhere" if that share is at most `SOMEWHERE`, a fifth; otherwise it "looked
everywhere". The fifth separates content from function words best in the shipped models
(docs/maps.md has the figures and the command).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from showattend.caption import Caption
from showattend.text.tokenizer import FUNCTION_WORDS

SOMEWHERE = 0.2
"""The largest `half_area` of a word that looked somewhere."""

EVERYWHERE = "looked everywhere"
SPREAD = "spread everywhere"
ATTENTION = "attention"


def half_area(map_HW: np.ndarray) -> float:
    """The smallest share of the grid that holds half of a map's attention, 0 to 0.5.

    The last cell counts in part, as much as it takes to reach half. A map without any attention
    counts as even.

    Args:
        map_HW: Non-negative weights [H, W], or of any other shape; their sum does not matter.
    """
    shares = np.sort(np.asarray(map_HW, dtype=np.float64).ravel())[::-1]
    total = shares.sum()
    if not total > 0:
        return 0.5
    reached = np.cumsum(shares) / total
    full = int(np.searchsorted(reached, 0.5))  # cells that are needed whole
    before = reached[full - 1] if full else 0.0
    return float((full + (0.5 - before) * total / shares[full]) / len(shares))


def shown_of(caption: Caption) -> str:
    """The kind of a caption's maps: "attention", or the name of another explanation."""
    return caption.explanation or ATTENTION


def map_of(caption: Caption) -> str:
    """The noun for a map in a sentence: "attention", or "map" for another explanation."""
    return ATTENTION if shown_of(caption) == ATTENTION else "map"


def everywhere(caption: Caption) -> str:
    """The text next to a word whose map is close to even."""
    return EVERYWHERE if shown_of(caption) == ATTENTION else SPREAD


def label_of(caption: Caption) -> str:
    """The line above a figure that names its maps; empty if no explanation was requested."""
    return f"Explained by {caption.explanation}" if caption.explanation else ""


def bright_of(caption: Caption) -> str:
    """A sentence on the meaning of bright places."""
    if shown_of(caption) == ATTENTION:
        return "Bright: where the model looked for the word."
    return f"Bright: evidence for the word by {shown_of(caption)}, not where the model looked."


def full_share(map_HW: np.ndarray) -> float:
    """The share of attention in one cell that is drawn at full brightness.

    The map's maximum if the word looked somewhere. Otherwise it grows with the square of
    `half_area`, so the more even a map, the dimmer it is: an even one has a sixth of full
    brightness everywhere.
    """
    return float(map_HW.max()) * max(half_area(map_HW) / SOMEWHERE, 1.0) ** 2


def looked(caption: Caption) -> tuple[bool, ...]:
    """Which of a caption's words [T] looked somewhere."""
    return tuple(half_area(each) <= SOMEWHERE for each in caption.attention)


def sharpest(caption: Caption, positions: Sequence[int], most: int) -> list[int]:
    """The sharpest of the given content words that looked somewhere, in the caption's order.

    Function words are used only if no content word looked somewhere.

    Args:
        caption: The caption.
        positions: The positions of the words to choose from.
        most: The most words to return.
    """
    areas = {t: half_area(caption.attention[t]) for t in positions}
    there = [t for t in positions if areas[t] <= SOMEWHERE]
    content = [t for t in there if caption.words[t] not in FUNCTION_WORDS]
    return sorted(sorted(content or there, key=lambda t: areas[t])[:most])
