"""The summary: a caption with its words in the colours of their outlines on the photo.

The photo is drawn once, with an outline for each coloured word around the area that holds half of
its attention; next to it, small panels for the same words light the photo where the model looked.
Grey words looked everywhere (`focus`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.text.tokenizer import pieces
from showattend.visualize.arrangement import Plan, arrange_summary
from showattend.visualize.focus import (
    ATTENTION,
    SOMEWHERE,
    bright_of,
    everywhere,
    label_of,
    looked,
    map_of,
    sharpest,
    shown_of,
)
from showattend.visualize.fonts import right_to_left
from showattend.visualize.heat import (
    SENTINEL,
    chance_of,
    details_of,
    heat_for,
    photo_of,
    positions_of,
)
from showattend.visualize.layout import DEFAULT_WIDTH, LONGEST_SIDE, check_width
from showattend.visualize.outlines import half_outline
from showattend.visualize.sheet import Sheet
from showattend.visualize.theme import ON_COLOUR, WORD_COLOURS, theme_named

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

MOST = len(WORD_COLOURS)
"""Words in colour: more outlines on a photo cannot be distinguished."""

# All lengths are pixels of a figure 1600 wide, and scale with it.
MARGIN, GAP = 44, 18
HEADLINE, LABEL, ON_PHOTO, NOTE = 34, 21, 17, 15  # font sizes
LABEL_STRIP, DETAILS_LINE = 38, 21  # above each panel, for its word and its numbers
SPACING = 1.55  # of the headline's lines
SHARE = 14  # font size of the sentinel's share, below each word
HIGHEST = 780  # photo and panels together
NARROWEST_FIGURE, NARROWEST_PANEL = 560, 120
OUTLINE = 4.0  # thickness


def draw_summary(
    caption: Caption,
    *,
    words: Sequence[str] | None = None,
    places: Sequence[int] | None = None,
    scale: str = "word",
    style: str = "light",
    theme: str = "light",
    details: bool = False,
    width: int | None = None,
    colormap: str = "inferno",
    alpha: float = 0.55,
) -> Figure:
    """Draw a caption's summary.

    Args:
        caption: The caption, with its image.
        words: The words to colour, instead of the sharpest.
        places: The same by position in the caption, since a word may occur twice.
        scale: See `draw_figure`.
        style: See `draw_figure`.
        theme: "light" or "dark".
        details: Show each panel's gate and entropy.
        width: The maximum width of the figure in pixels; 1600 by default.
        colormap: See `draw_figure`.
        alpha: See `draw_figure`.

    Raises:
        UserError: See `draw_figure`.
    """
    check_width(width)
    colours = theme_named(theme)
    asked = positions_of(caption, words)
    if places is not None:
        shown = list(places)
    else:
        shown = sharpest(caption, asked, MOST) if words is None else asked[: 2 * MOST]
    photo = photo_of(caption)
    unit = (width or DEFAULT_WIDTH) / DEFAULT_WIDTH
    written = f"{everywhere(caption)} {label_of(caption)} unsure {SENTINEL}"
    told = f"{caption.text} {caption.raw} 0123456789%·βH.? {written}"
    most = round((width or DEFAULT_WIDTH) - 2 * MARGIN * unit)
    strip = (LABEL_STRIP + (DETAILS_LINE if details else 0)) * unit
    plan = arrange_summary(
        len(shown), photo.width / photo.height, most, HIGHEST * unit, strip, GAP * unit,
        NARROWEST_PANEL * unit,
    )  # fmt: skip
    content = max(plan.size[0], min(round(NARROWEST_FIGURE * unit), most))
    sheet = Sheet(content + 2 * round(MARGIN * unit), told, unit, colours)
    return _Summary(sheet, caption, plan, shown, photo, details, content).draw(
        scale, {"style": style, "colormap": colormap, "alpha": alpha}
    )


class _Summary:
    """A summary being drawn."""

    def __init__(
        self,
        sheet: Sheet,
        caption: Caption,
        plan: Plan,
        shown: Sequence[int],
        photo: Image.Image,
        details: bool,
        content: int,
    ) -> None:
        self.sheet, self.caption, self.plan, self.shown = sheet, caption, plan, shown
        self.photo, self.details, self.content = photo, details, content
        self.margin = self.px(MARGIN)
        self.from_right = right_to_left(caption.text)
        self.label = label_of(caption)
        self.lead = self.px(NOTE * 2) if self.label else 0
        self.spacing = SPACING if caption.sentinel is None else SPACING + SHARE * 1.3 / HEADLINE
        self.looked, self.unsure = looked(caption), caption.unsure
        # A word that looked everywhere never has a colour: it has no outline either.
        coloured = [t for t in shown if self.looked[t]]
        numbered = shown if len(shown) <= MOST else coloured  # explanations share their colours
        colours = dict(zip(numbered, WORD_COLOURS, strict=False))
        self.colour = {t: colours[t] for t in coloured if t in colours}

    def px(self, length: float) -> int:
        return round(length * self.sheet.unit)

    def draw(self, scale: str, look: dict[str, Any]) -> Figure:
        sheet, plan = self.sheet, self.plan
        lines = self._headline()
        notes = sheet.wrapped(self._note(), NOTE, self.content)
        above = self.lead + self.px(MARGIN * 0.8 + len(lines) * HEADLINE * self.spacing + GAP * 0.5)
        below = self.px(GAP + len(notes) * NOTE * 1.5 + MARGIN * 0.6)
        sheet.set_height(above + plan.size[1] + below)
        if sheet.height > LONGEST_SIDE:
            raise UserError(
                f"the figure would be {sheet.height} pixels high, more than {LONGEST_SIDE}; "
                "choose a smaller width"
            )
        self._write_headline(lines)
        x = self._left(0, plan.photo[0])
        sheet.photo(x, above, self.photo, plan.photo)
        self._outline_words(x, above)
        for t, (left, top) in zip(self.shown, plan.corners, strict=True):
            self._panel(t, self._left(left, plan.panel[0]), above + top, scale, look)
        for number, line in enumerate(notes):
            y = above + plan.size[1] + self.px(GAP + (number * 1.5 + 0.9) * NOTE)
            side: dict[str, Any] = {"ha": "right"} if self.from_right else {}
            sheet.text(self._left(0, 0), y, line, NOTE, sheet.theme.quiet, **side)
        return sheet.figure

    def _left(self, x: float, wide: float) -> int:
        """The left edge of an item ``x`` pixels from the side where reading begins."""
        if self.from_right:
            return round(self.sheet.width - self.margin - x - wide)
        return round(self.margin + x)

    # --- the headline ---------------------------------------------------------------------------

    def _headline(self) -> list[list[tuple[int, str, str, float, float]]]:
        """The lines of the headline: position in the caption, word, full stop, offset and width."""
        sheet = self.sheet
        blank = 0.32 * HEADLINE * sheet.unit
        lines: list[list[tuple[int, str, str, float, float]]] = [[]]
        x = 0.0
        for t, piece in enumerate(pieces(self.caption.words)):
            said = piece.strip()
            stop = "." if t == len(self.caption.words) - 1 and not self._ends(t) else ""
            said = said.removesuffix(stop) if stop else said
            wide = sheet.text_width(said, HEADLINE, bold=t in self.colour)
            if lines[-1] and piece.startswith(" "):
                x += blank
                if t in self.colour and t - 1 in self.colour:
                    x += 0.28 * HEADLINE * sheet.unit  # two colours do not touch
            share = sheet.text_width(self._share(t), SHARE)
            if lines[-1] and x + max(wide, share) > self.content:
                lines.append([])
                x = 0.0
            if not x and t in self.colour:  # its colour begins where the lines do
                x = 0.16 * HEADLINE * sheet.unit
            lines[-1].append((t, said, stop, x, wide))
            x += max(wide, share)
        return lines

    def _share(self, t: int) -> str:
        """The sentinel's share of word ``t``; empty if the model has none."""
        kept = self.caption.sentinel
        return "" if kept is None else f"{kept[t]:.0%}"

    def _ends(self, t: int) -> bool:
        return self.caption.words[t].endswith(".")

    def _write_headline(self, lines: list[list[tuple[int, str, str, float, float]]]) -> None:
        sheet, theme = self.sheet, self.sheet.theme
        if self.label:
            y = self.px(MARGIN * 0.6 + NOTE * 1.2)
            begin: dict[str, Any] = {"ha": "right"} if self.from_right else {}
            sheet.text(self._left(0, 0), y, self.label, NOTE * 1.1, theme.quiet, True, **begin)
        if not self.caption.words:
            y = self.lead + self.px(MARGIN * 0.8 + HEADLINE)
            sheet.text(self.margin, y, "(no words)", HEADLINE, theme.quiet)
        for number, line in enumerate(lines):
            y = self.lead + self.px(MARGIN * 0.8 + (number * self.spacing + 1.0) * HEADLINE)
            for t, said, stop, offset, wide in line:
                room = min(1.0, self.content / wide) if wide else 1.0
                x = self._left(offset, wide * room)
                ink = theme.ink if self.looked[t] else theme.quiet
                if t in self.colour:
                    ink = ON_COLOUR if not self.unsure[t] else theme.ink
                    self._word_pill(t, x, y, wide * room, HEADLINE)
                elif self.unsure[t]:
                    under = y + self.px(HEADLINE * 0.22)
                    sheet.line(x, x + wide * room, under, theme.quiet, dotted=True)
                sheet.text(x, y, said, HEADLINE * room, ink, bold=t in self.colour)
                more: dict[str, Any] = {"ha": "right"} if self.from_right else {}
                if share := self._share(t):
                    edge = x + wide * room if self.from_right else x
                    under = y + self.px(HEADLINE * 0.4 + SHARE)
                    sheet.text(edge, under, share, SHARE, theme.quiet, **more)
                if stop:
                    after = x - self.px(6) if self.from_right else x + wide * room + self.px(6)
                    after = after if t in self.colour else (x if self.from_right else x + wide)
                    sheet.text(after, y, stop, HEADLINE, theme.quiet, **more)

    def _word_pill(self, t: int, x: float, y: float, wide: float, size: float) -> None:
        """The colour behind a word; for an unsure one, a dashed border."""
        side = 0.16 * size * self.sheet.unit
        up, down = 0.98 * size * self.sheet.unit, 0.34 * size * self.sheet.unit
        box = x - side, y - up, x + wide + side, y + down
        self.sheet.pill(box, self.colour[t], filled=not self.unsure[t])

    # --- the photo ------------------------------------------------------------------------------

    def _outline_words(self, left: int, top: int) -> None:
        width, height = self.plan.photo
        geometry = self.caption.geometry.resized(self.plan.photo)
        inside = left, top, left + width, top + height
        corner = np.array([left, top])
        curves = {
            t: [curve + corner for curve in half_outline(self.caption.attention[t], geometry)]
            for t in self.colour
        }
        for t, mine in curves.items():
            self.sheet.outline(mine, self.colour[t], OUTLINE * min(1, self._small()), inside)
        taken: list[tuple[float, float, float, float]] = []
        lines = np.concatenate([np.zeros((0, 2)), *(c for mine in curves.values() for c in mine)])
        for t, mine in curves.items():
            place = self._label_place(self.caption.words[t], mine, inside, taken, lines)
            if place is not None:
                taken.append(place)
                self.sheet.pill(place, self.colour[t], order=2.5)
                x = place[0] + self.px(6)
                y = place[1] + self.px(ON_PHOTO * 1.08)
                self.sheet.text(x, y, self.caption.words[t], ON_PHOTO, ON_COLOUR, bold=True)

    def _small(self) -> float:
        """The factor by which lines are thinner on a small picture."""
        return math.sqrt(self.plan.photo[0] * self.plan.photo[1]) / (400 * self.sheet.unit)

    def _label_place(
        self,
        word: str,
        curves: Sequence[np.ndarray],
        inside: tuple[float, float, float, float],
        taken: Sequence[tuple[float, float, float, float]],
        lines: np.ndarray,
    ) -> tuple[float, float, float, float] | None:
        """The place next to its outline where a word's label hides least; None without room."""
        if not curves:
            return None
        wide = self.sheet.text_width(word, ON_PHOTO, bold=True) + 2 * self.px(6)
        high = self.px(ON_PHOTO * 1.45)
        near, border = self.px(6), self.px(5)
        largest = max(curves, key=lambda curve: np.prod(np.ptp(curve, axis=0)))
        (x0, y0), (x1, y1) = largest.min(0), largest.max(0)
        middle = (x0 + x1 - wide) / 2
        level = (y0 + y1 - high) / 2
        crest = largest[largest[:, 1].argmin(), 0] - wide / 2
        foot = largest[largest[:, 1].argmax(), 0] - wide / 2
        wanted = [
            (crest, y0 - high - near), (middle, y0 - high - near), (foot, y1 + near),
            (middle, y1 + near), (x1 + near, level), (x0 - wide - near, level),
            (middle, y0 + near), (middle, y1 - high - near), (middle, level),
        ]  # fmt: skip
        found: tuple[float, tuple[float, float, float, float]] | None = None
        for rank, (x, y) in enumerate(wanted):
            x = min(max(x, inside[0] + border), inside[2] - border - wide)
            y = min(max(y, inside[1] + border), inside[3] - border - high)
            box = x, y, x + wide, y + high
            if x < inside[0] or y < inside[1] or any(_overlap(box, other) for other in taken):
                continue
            within = (lines >= [x - 2, y - 2]).all(1) & (lines <= [x + wide + 2, y + high + 2]).all(
                1
            )
            cost = within.sum() + 0.1 * rank
            if found is None or cost < found[0]:
                found = cost, box
        return None if found is None else found[1]

    # --- the panels -----------------------------------------------------------------------------

    def _panel(self, t: int, x: int, y: int, scale: str, look: dict[str, Any]) -> None:
        sheet, theme, size = self.sheet, self.sheet.theme, self.plan.panel
        caption = self.caption
        sheet.photo(x, y, self.photo, size, heat_for(caption, t, scale), **look)
        if t in self.colour:
            geometry = caption.geometry.resized(size)
            curves = [
                curve + np.array([x, y]) for curve in half_outline(caption.attention[t], geometry)
            ]
            inside = x, y, x + size[0], y + size[1]
            thick = OUTLINE * 0.6 * min(1, self._small())
            sheet.outline(curves, self.colour[t], thick, inside)
        base = y - self.px(13 + (DETAILS_LINE if self.details else 0))
        word, doubt = caption.words[t], chance_of(caption, t)
        if self.unsure[t]:
            doubt += "  unsure"
        if not self.looked[t]:
            doubt += f"  {everywhere(caption)}"
        side, between = (self.px(5) if t in self.colour else 0), self.px(14)
        bold = t in self.colour
        widths = sheet.text_width(word, LABEL, bold), sheet.text_width(doubt, LABEL * 0.85)
        shrink = min(1.0, self.plan.slot / (sum(widths) + 2 * side + between))
        wide, more = widths[0] * shrink, widths[1] * shrink
        reading = -1 if self.from_right else 1
        start = x + size[0] if self.from_right else x
        left = start + reading * side - (wide if self.from_right else 0)
        if t in self.colour:
            self._word_pill(t, left, base, wide, LABEL * shrink)
        ink = ON_COLOUR if t in self.colour and not self.unsure[t] else theme.ink
        sheet.text(left, base, word, LABEL * shrink, ink, bold=bold)
        number = start + reading * (2 * side + wide + between * shrink)
        number -= more if self.from_right else 0
        weak = self.unsure[t] or not self.looked[t]
        tint = theme.quiet if weak else theme.ink
        sheet.text(number, base, doubt, LABEL * 0.85 * shrink, tint)
        if self.details:
            figures = details_of(caption, t)
            room = min(1.0, self.plan.slot / max(sheet.text_width(figures, NOTE), 1))
            at = x + size[0] if self.from_right else x
            begin: dict[str, Any] = {"ha": "right"} if self.from_right else {}
            sheet.text(at, y - self.px(9), figures, NOTE * room, theme.quiet, **begin)

    def _note(self) -> str:
        """The meaning of the colours, and notes on this photo."""
        told = []
        shown = shown_of(self.caption)
        if self.colour:
            told.append(f"Outline: the area that holds half of a word's {map_of(self.caption)}.")
        elif self.caption.words and shown == ATTENTION:
            told.append("No content word looked at one place.")
        elif self.caption.words:
            told.append("No content word has its map at one place.")
        if shown != ATTENTION:
            told.append(bright_of(self.caption))
        if any(chance_of(self.caption, t) for t in self.shown):
            told.append("%: the word's probability.")
        if not all(self.looked):
            told.append(
                f"Grey: {everywhere(self.caption)}; half of the {map_of(self.caption)} takes "
                f"more than {SOMEWHERE:.0%} of the photo."
            )
        if any(self.unsure):
            told.append("Dashed or dotted: unsure.")
        if self.caption.sentinel is not None and self.caption.words:
            told.append(f"Small numbers below the caption: {SENTINEL[0].lower()}{SENTINEL[1:]}")
        if self.details:
            if self.caption.betas is not None:
                told.append("β: how much the image counted for the word, 0 to 1.")
            cells = math.log2(self.caption.attention[0].size) if len(self.caption.words) else 0
            told.append(f"H: entropy of the map, 0 (one cell) to {cells:.1f} bits (even).")
        if self.caption.note:
            told.append(f"This photo is {self.caption.note}.")
        if shortage := self.sheet.letters.shortage:
            told.append(f"{shortage[0].upper()}{shortage[1:]}.")
        return " ".join(told)


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
