"""The figure of self-attention among words: a triangle of words by words for each layer's heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.visualize.family import write_headline
from showattend.visualize.layout import (
    DEFAULT_WIDTH,
    GAP,
    HEADLINE,
    LABEL,
    LONGEST_SIDE,
    MARGIN,
    NOTE,
    check_width,
)
from showattend.visualize.sheet import Sheet
from showattend.visualize.theme import Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL = 30  # side of a square in the mean
SMALL = 9  # of a head
TITLE = NOTE * 1.8


def draw_words_by_words(caption: Caption, *, theme: Theme, width: int | None) -> Figure:
    """The words that each word of a caption attends to, in the layers of a Transformer.

    Each row is a word that the model has read, each column a word that it attends to; a square is
    white if it has all of the weight, black if none. First comes the mean of the last layer's
    heads, labelled with the words; below it each layer and head.

    Args:
        caption: A caption with `Caption.self_attention`.
        theme: The colours.
        width: The greatest width of the figure in pixels; the squares shrink with it.

    Raises:
        UserError: The model has no self-attention among words, or a width is out of range.
    """
    check_width(width)
    found = caption.self_attention
    if found is None or found.words is None:
        raise UserError(
            "this model has no self-attention among words; decoder.kind transformer and masked have"
        )
    layers, heads, count, _ = found.words.shape
    tokens = [token.strip("<>") if n == 0 else token for n, token in enumerate(found.tokens)]
    told = f"{caption.text} {' '.join(tokens)} layer head mean of 0123456789.,"
    measure = Sheet(100, told, 1.0, theme)
    side = max(measure.text_width(token, LABEL) for token in tokens) + 14
    large, small = count * CELL, count * SMALL
    across = max(min(heads, (DEFAULT_WIDTH - 2 * MARGIN) // (small + GAP)), 1)
    lines = math.ceil(heads / across)
    natural = 2 * MARGIN + max(side + large + side, across * (small + GAP) - GAP, 600)
    unit = min((width or DEFAULT_WIDTH) / natural, 1.0)

    def px(length: float) -> int:
        return round(length * unit)

    sheet = Sheet(max(math.floor(natural * unit), 200), told, unit, theme)
    room = sheet.width - 2 * px(MARGIN)
    headline = sheet.wrapped(caption.text or "(no words)", HEADLINE, room)
    notes = sheet.wrapped(
        "Each row is a word that was read, each column one that it attends to, in the same order. "
        f"White: all of its weight; black: none. Large: the mean of layer {layers}, whose output "
        "predicts the next word. Small: each layer and head.",
        NOTE,
        room,
    )
    top = px(MARGIN + len(headline) * HEADLINE * 1.35 + GAP)
    below = top + px(large) + px(GAP * 2)
    block = px(TITLE) + px(small) + px(GAP)
    end = below + layers * lines * block
    sheet.set_height(end + px(len(notes) * NOTE * 1.5 + MARGIN * 0.7))
    if sheet.height > LONGEST_SIDE:
        raise UserError(
            f"the figure would be {sheet.height} pixels high, more than {LONGEST_SIDE}; "
            "give a shorter sentence"
        )
    write_headline(sheet, headline, unit)
    left = px(MARGIN + side)
    causal = not np.triu(found.words, 1).any()
    _matrix(sheet, left, top, found.words[-1].mean(0), px(CELL))
    for n, token in enumerate(tokens):
        y = round(top + (n + 0.68) * px(CELL))
        sheet.text(left - px(14), y, token, LABEL, theme.ink, ha="right")
        if n and causal:  # the column's word, at the end of its diagonal
            sheet.text(left + (n + 1) * px(CELL) + px(8), y, token, NOTE, theme.quiet)
    for layer in range(layers):
        for head in range(heads):
            down, col = divmod(head, across)
            x = px(MARGIN) + col * (px(small) + px(GAP))
            y = below + (layer * lines + down) * block
            name = f"layer {layer + 1}, head {head + 1}"
            shrink = min(1.0, px(small) / max(sheet.text_width(name, NOTE), 1))
            sheet.text(x, y + px(TITLE) - px(7), name, NOTE * shrink, theme.quiet)
            _matrix(sheet, x, y + px(TITLE), found.words[layer, head], px(SMALL))
    for number, line in enumerate(notes):
        y = end + px((number * 1.5 + 1.0) * NOTE)
        sheet.text(px(MARGIN), y, line, NOTE, theme.quiet)
    return sheet.figure


def _matrix(sheet: Sheet, x: int, y: int, weights: np.ndarray | Sequence, side: int) -> None:
    """Draw weights [T, T] in [0, 1] as squares of grey with ``side`` pixels each."""
    grey = np.round(255 * np.clip(np.asarray(weights, np.float64), 0, 1)).astype(np.uint8)
    pixels = np.repeat(np.repeat(grey, side, 0), side, 1)
    size = pixels.shape[1], pixels.shape[0]
    sheet.picture(x, y, np.repeat(pixels[..., None], 3, 2), size)
