"""The paper's figure: the photo, then one panel per word with its attention over the photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.visualize.fonts import right_to_left
from showattend.visualize.heat import (
    entropy_of,
    fitted,
    full_heat,
    heat_of,
    paint,
    photo_of,
    positions_of,
)
from showattend.visualize.layout import (
    GAP,
    HEADLINE,
    LABEL,
    LABEL_STRIP,
    LONGEST_SIDE,
    MARGIN,
    NOTE,
    NOTE_LINE,
    Layout,
    arrange,
    lay_out,
)
from showattend.visualize.sheet import DPI, INK, QUIET, Sheet, content_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DPI", "INK", "LONGEST_SIDE", "QUIET", "draw_figure", "figure_bytes", "lay_out"]

KEY = (150, 11)  # width and height of the key to the heat, in units


def draw_figure(
    caption: Caption,
    *,
    words: Sequence[str] | None = None,
    layout: str = "grid",
    columns: int | None = None,
    scale: str = "word",
    style: str = "heat",
    width: int | None = None,
    colormap: str = "inferno",
    alpha: float = 0.55,
) -> Figure:
    """Draw a caption's figure, one panel per word behind the photo.

    Args:
        caption: The caption, with its image.
        words: Only these words' panels.
        layout: "grid": the photo, then a panel per word, as a page; "strip": the same in one row
            (one column, if the photo is a panorama); "word": the panels alone, each at the size
            of the photo itself.
        columns: Panels in a row of a grid; chosen by the photo's shape when left out.
        scale: "word": each map is as bright as it can be; "common": all maps share one scale,
            so that a spread-out map looks dim beside a pointed one.
        style: "heat": a colour map over the photo; "light": the photo brightens where the model
            looks.
        width: Of the figure, in pixels, at most; when left out, 1600 for a grid, and what suits
            the photo otherwise.
        colormap: One of matplotlib's colour maps, for the style "heat".
        alpha: How much its colour covers the photo, in [0, 1].

    Raises:
        UserError: An unknown word, layout, scale, style or colour map, a number out of its range,
            or a caption that does not know its image.
    """
    positions = positions_of(caption, words)
    # The photo comes first, but for single words; and where there are none, it is all there is.
    shown: list[int | None] = [*([] if layout == "word" and positions else [None]), *positions]
    photo = photo_of(caption)
    plan = arrange(layout, len(shown), photo.size, width, columns)
    plan = replace(plan, from_right=right_to_left(caption.text))
    figures = {t: figures_of(caption, t) for t in positions}
    note = _note(caption, positions, scale)
    sheet = Sheet(plan.width, f"{caption.text} {caption.raw} {note} {_SIGNS}", plan.unit)
    plan = _with_room_for_figures(plan, sheet, caption, figures)

    room = plan.width - 2 * plan.px(MARGIN)
    headline = sheet.wrapped(caption.text or "(no words)", HEADLINE, room)
    if sheet.letters.shortage:
        note += f" {sheet.letters.shortage[0].upper()}{sheet.letters.shortage[1:]}."
    notes = sheet.wrapped(note, NOTE, room)
    key = plan.px(NOTE * 1.7) if positions else 0
    top = plan.px(MARGIN + len(headline) * HEADLINE * 1.35 + GAP * 0.6)
    bottom = top + plan.rows * plan.row_height
    sheet.set_height(bottom + key + plan.px(len(notes) * NOTE * 1.5 + MARGIN * 0.8))
    if sheet.height > LONGEST_SIDE:
        raise UserError(
            f"the figure would be {sheet.height} pixels high, more than {LONGEST_SIDE}; "
            "choose more columns, fewer words or a smaller width"
        )
    _write_headline(sheet, plan, headline)
    for number, line in enumerate(notes):
        y = bottom + key + plan.px((number * 1.5 + 1.3) * NOTE)
        sheet.text(plan.px(MARGIN), y, line, NOTE, QUIET)

    base = fitted(photo, plan.photo)
    look = {"style": style, "colormap": colormap, "alpha": alpha}
    for index, t in enumerate(shown):
        x, y = plan.photo_corner(index)
        if t is None:
            sheet.picture(x, top + y, base, plan.photo)
            continue
        heat = heat_of(caption, t, plan.photo, scale)
        sheet.picture(x, top + y, paint(base, heat, **look), plan.photo)  # type: ignore[arg-type]
        corner = plan.corner(index)[0], top + y
        _write_label(sheet, plan, corner, caption.words[t], figures[t])
    if positions:
        _draw_key(sheet, plan, bottom + plan.px(NOTE * 1.3), _full(caption, scale), look)
    return sheet.figure


def figure_bytes(caption: Caption, suffix: str = ".png", **options: Any) -> bytes:
    """A caption's figure as the content of a file: .png, .jpg, .pdf or .svg.

    Args:
        caption: The caption, with its image.
        suffix: Of the file.
        options: Those of ``draw_figure``.

    Raises:
        UserError: As ``draw_figure``.
    """
    return content_of(draw_figure(caption, **options), suffix, caption.text)


def figures_of(caption: Caption, t: int) -> str:
    """The gate, if there is one, and the entropy of word ``t``, as they stand beside it."""
    gate = "" if caption.betas is None else f"β {caption.betas[t]:.2f} · "
    return f"{gate}H {entropy_of(caption.attention[t]):.1f}"


_SIGNS = "0123456789.,%×"


def _note(caption: Caption, positions: Sequence[int], scale: str) -> str:
    if not positions:
        return ""
    rows, cols = caption.attention.shape[1:]
    if scale == "word":
        shared = "Scale: per word, each map is as bright as its own maximum."
    else:
        most = full_heat(caption, 0, scale)
        cell = f"one cell of {rows}×{cols}"
        shared = f"Scale: common, full brightness is {most:.0%} of the attention in {cell}."
    gate = "" if caption.betas is None else "β: how much the image counted for the word, 0 to 1. "
    return (
        f"Bright: where the model looked when it said the word. {shared} {gate}"
        f"H: entropy of the map, 0 (one cell) to {math.log2(rows * cols):.1f} bits (all alike)."
    )


def _full(caption: Caption, scale: str) -> str:
    """What the bright end of the key stands for."""
    return "the map's maximum" if scale == "word" else f"{full_heat(caption, 0, scale):.0%}"


def _with_room_for_figures(
    plan: Layout, sheet: Sheet, caption: Caption, figures: dict[int, str]
) -> Layout:
    """The plan with a second line above each panel, if a word and its figures do not fit on one."""
    for t, figure in figures.items():
        used = sheet.text_width(caption.words[t], LABEL) + sheet.text_width(figure, NOTE)
        if used + plan.px(10) > plan.panel[0]:
            return replace(plan, strip=plan.strip + NOTE_LINE)
    return plan


def _write_headline(sheet: Sheet, plan: Layout, lines: Sequence[str]) -> None:
    margin = plan.px(MARGIN)
    for number, line in enumerate(lines):
        y = plan.px(MARGIN + (number * 1.35 + 0.8) * HEADLINE)
        if plan.from_right:
            sheet.text(plan.width - margin, y, line, HEADLINE, INK, ha="right")
        else:
            sheet.text(margin, y, line, HEADLINE, INK)


def _write_label(
    sheet: Sheet, plan: Layout, corner: tuple[int, int], word: str, figures: str
) -> None:
    """A word over its panel, smaller if it is long; its figures beside it or below."""
    y = corner[1] - plan.px(9)
    room = float(plan.panel[0])
    # Where a line begins, and where it ends.
    ends = (corner[0] + room, corner[0]) if plan.from_right else (corner[0], corner[0] + room)
    begin, end = ("right", "left") if plan.from_right else ("left", "right")
    smaller = min(1.0, room / max(sheet.text_width(figures, NOTE), 1))
    if plan.strip > LABEL_STRIP:  # two lines
        sheet.text(ends[0], y, figures, NOTE * smaller, QUIET, ha=begin)
        y -= plan.px(NOTE_LINE)
    else:
        sheet.text(ends[1], y, figures, NOTE, QUIET, ha=end)
        room -= sheet.text_width(figures, NOTE) + plan.px(10)
    shrink = min(1.0, room / max(sheet.text_width(word, LABEL), 1))
    sheet.text(ends[0], y, word, LABEL * max(shrink, 0.3), INK, ha=begin)


def _draw_key(sheet: Sheet, plan: Layout, y: int, full: str, look: dict[str, Any]) -> None:
    """The scale as a bar, over a photo of middle grey: from no attention to the most."""
    width, height = max(plan.px(KEY[0]), 2), max(plan.px(KEY[1]), 1)
    grey = np.full((1, 256, 3), 140, np.uint8)
    ramp = paint(grey, np.linspace(0, 1, 256, dtype=np.float32)[None], **look)
    x = plan.px(MARGIN)
    sheet.text(x, y, "0", NOTE, QUIET)
    x += round(sheet.text_width("0", NOTE)) + plan.px(8)
    sheet.picture(x, y - height, ramp, (width, height))
    sheet.text(x + width + plan.px(8), y, full, NOTE, QUIET)
