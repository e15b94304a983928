"""A caption as a figure: the summary, or the paper's grid of one panel per word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.visualize.among import draw_words_by_words
from showattend.visualize.family import draw_matrix, draw_parts
from showattend.visualize.focus import (
    SOMEWHERE,
    bright_of,
    everywhere,
    label_of,
    looked,
    map_of,
)
from showattend.visualize.fonts import right_to_left
from showattend.visualize.heat import (
    SENTINEL,
    chance_of,
    details_of,
    full_heat,
    heat_for,
    paint,
    photo_of,
    positions_of,
    sentinel_of,
)
from showattend.visualize.layout import (
    GAP,
    HEADLINE,
    LABEL,
    LABEL_STRIP,
    LAYOUTS,
    LONGEST_SIDE,
    MARGIN,
    NOTE,
    NOTE_LINE,
    Layout,
    arrange,
)
from showattend.visualize.sheet import Sheet, content_of
from showattend.visualize.summary import draw_summary
from showattend.visualize.theme import theme_named

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEY = (150, 11)  # width and height of the key to the heat, in units
KEY_STEPS = 48
SEPARATOR = " · "
LABEL_LINE = 28  # units, above the headline: what the maps are


def draw_figure(
    caption: Caption,
    *,
    words: Sequence[str] | None = None,
    layout: str = "summary",
    columns: int | None = None,
    scale: str = "word",
    style: str = "light",
    theme: str = "light",
    details: bool = False,
    width: int | None = None,
    colormap: str = "inferno",
    alpha: float = 0.55,
) -> Figure:
    """Draw a caption's figure.

    Args:
        caption: The caption, with its image.
        words: Only these words' panels.
        layout: "summary": the caption with its sharpest words in colour, the photo with their
            outlines, and a panel for each of them; "grid": the photo, then a panel per word, as in
            the paper; "strip": the same, smaller; "word": only the panels, each at the size of the
            photo; "parts": the maps of each word's heads, hops or levels; "matrix": words down the
            side, regions of the photo across; "words": the words that each word attends to, for
            models with self-attention.
        columns: Panels in a row of a grid; by default chosen for the photo's shape.
        scale: "word": each map is as bright as possible, but an even one stays dim; "common": all
            maps share one scale, so that a diffuse map looks dim next to a sharp one.
        style: "light": the photo brightens where the model looks; "heat": a colour map over it.
        theme: "light" or "dark": the colours around the photos.
        details: Show each panel's gate β and entropy.
        width: The maximum width of the figure in pixels; by default 1600, or for "word" what suits
            the photo.
        colormap: One of matplotlib's colour maps, for the style "heat".
        alpha: How much its colour covers the photo, in [0, 1].

    Raises:
        UserError: An unknown word, layout, scale, style, theme or colour map, a number out of its
            range, or a caption that does not know its image.
    """
    look = {"style": style, "colormap": colormap, "alpha": alpha}
    if columns is not None and layout not in ("grid", "strip", "word"):
        raise UserError(f"a {layout} has no columns to choose; leave them out, or draw a grid")
    if layout == "parts":
        return draw_parts(
            caption, words=words, scale=scale, theme=theme_named(theme), width=width, look=look
        )
    if layout == "matrix":
        return draw_matrix(caption, words=words, theme=theme_named(theme), width=width)
    if layout == "words":
        return draw_words_by_words(caption, theme=theme_named(theme), width=width)
    if layout == "summary":
        return draw_summary(
            caption, words=words, scale=scale, theme=theme, details=details, width=width,
            **look,  # type: ignore[arg-type]
        )  # fmt: skip
    if layout not in LAYOUTS:
        raise UserError(f"no layout {layout!r}; choose from {', '.join(LAYOUTS)}")
    positions = positions_of(caption, words)
    # The photo comes first, except for single words; without words, it is all there is.
    shown: list[int | None] = [*([] if layout == "word" and positions else [None]), *positions]
    photo = photo_of(caption)
    plan = arrange(layout, len(shown), photo.size, width, columns)
    plan = replace(plan, from_right=right_to_left(caption.text))
    seen = looked(caption)
    figures = {t: _beside(caption, t, seen[t], details) for t in positions}
    note = _note(caption, positions, seen, scale, details)
    label = label_of(caption)
    told = f"{caption.text} {caption.raw} {note} {label} {_SIGNS}"
    sheet = Sheet(plan.width, told, plan.unit, theme_named(theme))
    plan = _with_room_for_figures(plan, sheet, caption, figures)

    room = plan.width - 2 * plan.px(MARGIN)
    headline = sheet.wrapped(caption.text or "(no words)", HEADLINE, room)
    if sheet.letters.shortage:
        note += f" {sheet.letters.shortage[0].upper()}{sheet.letters.shortage[1:]}."
    notes = sheet.wrapped(note, NOTE, room)
    with_key = bool(positions) and (details or style == "heat" or scale == "common")
    key = plan.px(NOTE * 1.7) if with_key else 0
    lead = plan.px(LABEL_LINE) if label else 0
    top = lead + plan.px(MARGIN + len(headline) * HEADLINE * 1.35 + GAP * 0.6)
    bottom = top + plan.rows * plan.row_height
    sheet.set_height(bottom + key + plan.px(len(notes) * NOTE * 1.5 + MARGIN * 0.8))
    if sheet.height > LONGEST_SIDE:
        raise UserError(
            f"the figure would be {sheet.height} pixels high, more than {LONGEST_SIDE}; "
            "choose more columns, fewer words or a smaller width"
        )
    _write_headline(sheet, plan, headline, label, lead)
    for number, line in enumerate(notes):
        y = bottom + key + plan.px((number * 1.5 + 1.3) * NOTE)
        sheet.text(plan.px(MARGIN), y, line, NOTE, sheet.theme.quiet)

    for index, t in enumerate(shown):
        x, y = plan.photo_corner(index)
        if t is None:
            sheet.photo(x, top + y, photo, plan.photo)
            continue
        sheet.photo(x, top + y, photo, plan.photo, heat_for(caption, t, scale), **look)
        corner = plan.corner(index)[0], top + y
        _write_label(sheet, plan, corner, caption.words[t], figures[t], seen[t])
    if with_key:
        _draw_key(sheet, plan, bottom + plan.px(NOTE * 1.3), _full(caption, scale), look)
    return sheet.figure


def figure_bytes(caption: Caption, suffix: str = ".png", **options: Any) -> bytes:
    """A caption's figure as the content of a file: .png, .jpg, .pdf or .svg.

    Args:
        caption: The caption, with its image.
        suffix: The suffix of the file.
        options: Those of ``draw_figure``.

    Raises:
        UserError: See ``draw_figure``.
    """
    return content_of(draw_figure(caption, **options), suffix, caption.text)


_SIGNS = "0123456789.,%×"


def _beside(caption: Caption, t: int, somewhere: bool, details: bool) -> str:
    """Return the text next to a word: its numbers, and whether to trust word and map."""
    told = [chance_of(caption, t), sentinel_of(caption, t)]
    if caption.unsure[t]:
        told.append("unsure")
    if not somewhere:
        told.append(everywhere(caption))
    if details:
        told.append(details_of(caption, t))
    return SEPARATOR.join(filter(None, told))


def _note(
    caption: Caption,
    positions: Sequence[int],
    seen: Sequence[bool],
    scale: str,
    details: bool,
) -> str:
    if not positions:
        return ""
    rows, cols = caption.attention.shape[1:]
    told = [bright_of(caption)]
    if caption.sentinel is not None:
        told.append(SENTINEL)
    if scale == "common":
        most = full_heat(caption, 0, scale)
        cell = f"one cell of {rows}×{cols}"
        told.append(f"Scale: common, full brightness is {most:.0%} of the map in {cell}.")
    if not all(seen[t] for t in positions):
        told.append(
            f"{everywhere(caption).capitalize()}: half of the {map_of(caption)} takes more than "
            f"{SOMEWHERE:.0%} of the photo."
        )
    if details:
        if scale == "word":
            told.append("Scale: per word; maps that are spread out are dimmer.")
        if caption.betas is not None:
            told.append("β: how much the image counted for the word, 0 to 1.")
        cells = math.log2(rows * cols)
        told.append(f"H: entropy of the map, 0 (one cell) to {cells:.1f} bits (even).")
    if caption.note:
        told.append(f"This photo is {caption.note}.")
    return " ".join(told)


def _full(caption: Caption, scale: str) -> str:
    """The meaning of the key's bright end."""
    return "most" if scale == "word" else f"{full_heat(caption, 0, scale):.0%}"


def _with_room_for_figures(
    plan: Layout, sheet: Sheet, caption: Caption, figures: dict[int, str]
) -> Layout:
    """The plan with more lines above each panel, if a word and its figures do not fit on one."""
    for t, figure in figures.items():
        used = sheet.text_width(caption.words[t], LABEL) + sheet.text_width(figure, NOTE)
        if used + plan.px(10) > plan.panel[0]:
            lines = max(len(_lines(sheet, each, plan.panel[0])) for each in figures.values())
            return replace(plan, strip=plan.strip + lines * NOTE_LINE)
    return plan


def _lines(sheet: Sheet, figures: str, room: float) -> list[str]:
    """The text below a word, broken between its parts if possible."""
    lines: list[str] = []
    for part in figures.split(SEPARATOR):
        if lines and sheet.text_width(lines[-1] + SEPARATOR + part, NOTE) <= room:
            lines[-1] += SEPARATOR + part
        else:
            lines += sheet.wrapped(part, NOTE, room)
    return lines


def _write_headline(
    sheet: Sheet, plan: Layout, lines: Sequence[str], label: str, lead: int
) -> None:
    margin = plan.px(MARGIN)
    side: dict[str, Any] = {"ha": "right"} if plan.from_right else {}
    x = plan.width - margin if plan.from_right else margin
    if label:
        y = plan.px(MARGIN * 0.7 + LABEL_LINE * 0.5)
        sheet.text(x, y, label, NOTE * 1.1, sheet.theme.quiet, bold=True, **side)
    for number, line in enumerate(lines):
        y = lead + plan.px(MARGIN + (number * 1.35 + 0.8) * HEADLINE)
        sheet.text(x, y, line, HEADLINE, sheet.theme.ink, **side)


def _write_label(
    sheet: Sheet,
    plan: Layout,
    corner: tuple[int, int],
    word: str,
    figures: str,
    somewhere: bool,
) -> None:
    """A word over its panel, smaller if it is long; its figures next to it or below."""
    y = corner[1] - plan.px(9)
    ink = sheet.theme.ink if somewhere else sheet.theme.quiet
    room = float(plan.panel[0])
    # The start and the end of a line.
    ends = (corner[0] + room, corner[0]) if plan.from_right else (corner[0], corner[0] + room)
    begin, end = ("right", "left") if plan.from_right else ("left", "right")
    below = (plan.strip - LABEL_STRIP) // NOTE_LINE  # lines under the word
    if below:
        lines = _lines(sheet, figures, room)
        y -= plan.px(NOTE_LINE) * below
        for number, line in enumerate(lines, 1):
            beneath = y + plan.px(NOTE_LINE) * number
            sheet.text(ends[0], beneath, line, NOTE, sheet.theme.quiet, ha=begin)
    else:
        sheet.text(ends[1], y, figures, NOTE, sheet.theme.quiet, ha=end)
        room -= sheet.text_width(figures, NOTE) + plan.px(10)
    shrink = min(1.0, room / max(sheet.text_width(word, LABEL), 1))
    sheet.text(ends[0], y, word, LABEL * max(shrink, 0.3), ink, ha=begin)


def _draw_key(sheet: Sheet, plan: Layout, y: int, full: str, look: dict[str, Any]) -> None:
    """The scale as a bar over mid-grey, from no attention to the most."""
    width, height = max(plan.px(KEY[0]), 2), max(plan.px(KEY[1]), 1)
    grey = np.full((1, KEY_STEPS, 3), 140, np.uint8)
    ramp = paint(grey, np.linspace(0, 1, KEY_STEPS, dtype=np.float32)[None], **look)[0] / 255
    x = plan.px(MARGIN)
    sheet.text(x, y, "0", NOTE, sheet.theme.quiet)
    x += round(sheet.text_width("0", NOTE)) + plan.px(8)
    sheet.ramp(x, y - height, ramp, (width, height))
    sheet.text(x + width + plan.px(8), y, full, NOTE, sheet.theme.quiet)
