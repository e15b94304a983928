"""Where the panels of a figure stand, for photos of any shape: arithmetic, no drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from showattend.exceptions import UserError

LAYOUTS = ("grid", "strip", "word")
LONGEST_SIDE = 16000  # of a figure, in pixels; WebP ends soon after
DEFAULT_WIDTH = 1600

# All lengths are pixels of a grid 1600 wide, and scale with it.
MARGIN, GAP = 44, 18
HEADLINE, LABEL, NOTE = 30, 19, 15  # font sizes
LABEL_STRIP = 34  # above each panel, for its word
NOTE_LINE = 21  # more of it, where the figures do not fit beside the word
THINNEST = 6  # side of a photo that is a line
WIDEST_PANEL = 430
STRIP_PANEL = 250  # height of a strip's panels
COLUMN_PANEL = 672  # width of the panels of a strip that is a column
PANORAMA = 2.2  # from this aspect ratio on, a strip is a column
ROOM_FOR_TEXT = 400  # above and below the panels, at most, where space must be guessed
SMALLEST_WORD, LARGEST_WORD = 480, 4096  # longer side of a single word's picture
LARGEST_UNIT = 3.0  # of its texts
SMALLEST_UNIT = 0.55  # of a grid's


@dataclass(frozen=True)
class Layout:
    """Where the panels stand; lengths in pixels of the figure, rows counted from the top.

    Attributes:
        unit: Pixels of the figure for one of a grid 1600 wide.
        columns: Panels in a row.
        rows: Rows of panels.
        panel: Width and height that each panel has to itself.
        photo: Width and height of the picture within, at the panel's upper left corner, or at
            the upper right one if the panels go from right to left.
        width: Of the figure.
        strip: Height above each panel for its word, in units.
        from_right: The panels go from right to left, as the caption's letters do.
    """

    unit: float
    columns: int
    rows: int
    panel: tuple[int, int]
    photo: tuple[int, int]
    width: int
    strip: int = LABEL_STRIP
    from_right: bool = False

    def corner(self, index: int) -> tuple[int, int]:
        """Left and top of panel ``index``, below the top of the first row."""
        row, col = divmod(index, self.columns)
        x = self.px(MARGIN) + col * (self.panel[0] + self.px(GAP))
        if self.from_right:
            x = self.width - x - self.panel[0]
        return x, row * self.row_height + self.px(self.strip)

    def photo_corner(self, index: int) -> tuple[int, int]:
        """Left and top of the photo in panel ``index``: on the side where reading begins."""
        x, y = self.corner(index)
        return (x + self.panel[0] - self.photo[0] if self.from_right else x), y

    @property
    def row_height(self) -> int:
        """From one row's top to the next."""
        return self.px(self.strip) + self.panel[1] + self.px(GAP)

    def px(self, length: float) -> int:
        """A length in units as pixels."""
        return round(length * self.unit)


def arrange(
    layout: str, panels: int, size: tuple[int, int], width: int | None, columns: int | None
) -> Layout:
    """Arrange panels of a photo of the given (width, height) in pixels.

    Args:
        layout: "grid": as a page; "strip": one row (a column, if the photo is a panorama);
            "word": each panel at the photo's own size, below each other.
        panels: How many.
        size: The photo's.
        width: Of the figure, at most; None for what suits the layout.
        columns: Panels in a row; None for what suits the photo. Of a grid only.

    Raises:
        UserError: There is no such layout, or a number out of its range.
    """
    if layout not in LAYOUTS:
        raise UserError(f"no layout {layout!r}; choose of {', '.join(LAYOUTS)}")
    if width is not None and not 200 <= width <= LONGEST_SIDE:
        raise UserError(f"the width is {width} pixels; it must lie in 200 to {LONGEST_SIDE}")
    if columns is not None and columns < 1:
        raise UserError(f"columns is {columns}; there must be at least one")
    if columns is not None and layout != "grid":
        raise UserError(f"a {layout} has no columns to choose; leave them out, or draw a grid")
    aspect = size[0] / size[1]
    if layout == "grid":
        return lay_out(panels, aspect, width or DEFAULT_WIDTH, columns)
    if layout == "strip":
        return _strip(panels, aspect, width)
    return _words(panels, size, width)


def lay_out(panels: int, aspect: float, width: int, columns: int | None) -> Layout:
    """Arrange a grid for a photo with the given aspect ratio (width by height).

    Without ``columns``, as many as give the figure the shape of a page lying on its side without
    leaving much of the last row empty.
    """
    unit = width / DEFAULT_WIDTH
    if columns is None:  # at most seven: letters can be read in a small figure too
        unit = max(unit, SMALLEST_UNIT)
    shape = _panel_shape(aspect)

    def badness(count: int) -> float:
        rows = math.ceil(panels / count)
        ratio = count / (rows * (1 / shape + 0.14 * count / 5))
        return abs(math.log(ratio / 1.7)) + 0.8 * (rows * count - panels) / count

    columns = columns or min(range(1, min(panels, 7) + 1), key=badness)
    columns = min(columns, panels)
    margin, gap = round(MARGIN * unit), round(GAP * unit)
    room = (width - 2 * margin - (columns - 1) * gap) // columns
    panel_w = max(1, min(room, round(WIDEST_PANEL * unit)))
    return _layout(panels, columns, panel_w, aspect, unit, min(width, round(760 * unit)))


def _strip(panels: int, aspect: float, width: int | None) -> Layout:
    column = aspect >= PANORAMA
    columns = 1 if column else panels
    panel_w = COLUMN_PANEL if column else max(150, round(STRIP_PANEL * _panel_shape(aspect)))
    natural = 2 * MARGIN + columns * panel_w + (columns - 1) * GAP
    unit = width / natural if width else min(1.0, LONGEST_SIDE / natural)
    if column:
        height = panels * (panel_w / _panel_shape(aspect) + LABEL_STRIP + NOTE_LINE + GAP)
        if width is None:
            unit = min(unit, LONGEST_SIDE / (height + ROOM_FOR_TEXT))
    # What margins and gaps leave, rounded down: never wider than asked.
    room = int(natural * unit) - 2 * round(MARGIN * unit) - (columns - 1) * round(GAP * unit)
    panel_w = max(1, room // columns)
    return _layout(panels, columns, panel_w, aspect, unit, min(width or 10**6, round(760 * unit)))


def _words(panels: int, size: tuple[int, int], width: int | None) -> Layout:
    unit = 0.0 if width is None else min(width / 1000, LARGEST_UNIT)
    if width is None:
        factor = min(max(max(size), SMALLEST_WORD), LARGEST_WORD) / max(size)
    else:
        factor = (width - 2 * round(MARGIN * unit)) / size[0]
    text = (LABEL_STRIP + NOTE_LINE + GAP) * LARGEST_UNIT
    room = (LONGEST_SIDE - 2 * ROOM_FOR_TEXT) / max(panels, 1) - text
    factor = min(factor, max(room, 1) / size[1])
    photo = (max(round(size[0] * factor), THINNEST), max(round(size[1] * factor), THINNEST))
    unit = unit or min(max(math.sqrt(photo[0] * photo[1]) / 800, 0.85), LARGEST_UNIT)
    used = photo[0] + 2 * round(MARGIN * unit)
    return Layout(unit, 1, panels, photo, photo, max(used, round(600 * unit)))


def _layout(
    panels: int, columns: int, panel_w: int, aspect: float, unit: float, narrowest: int
) -> Layout:
    shape = _panel_shape(aspect)
    panel_h = max(1, round(panel_w / shape))
    if aspect >= shape:
        photo = (panel_w, max(round(panel_w / aspect), round(THINNEST * unit), 1))
    else:
        photo = (max(round(panel_h * aspect), round(THINNEST * unit), 1), panel_h)
    used = 2 * round(MARGIN * unit) + columns * panel_w + (columns - 1) * round(GAP * unit)
    rows = math.ceil(panels / columns)
    return Layout(unit, columns, rows, (panel_w, panel_h), photo, max(used, narrowest))


def _panel_shape(aspect: float) -> float:
    """The panel's aspect ratio: beyond these, the photo is a strip within it."""
    return min(max(aspect, 0.4), 10.0)
