"""The layout of a figure's panels, for photos of any shape: arithmetic, no drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from showattend.exceptions import UserError

PLANNED = ("grid", "strip", "word")
LAYOUTS = ("summary", *PLANNED, "parts", "matrix", "words")
LONGEST_SIDE = 16000  # of a figure, in pixels; WebP ends soon after
DEFAULT_WIDTH = 1600

# All lengths are pixels of a grid 1600 wide, and scale with it.
MARGIN, GAP = 44, 18
HEADLINE, LABEL, NOTE = 30, 19, 15  # font sizes
LABEL_STRIP = 34  # above each panel, for its word
NOTE_LINE = 21  # more of it, if the figures do not fit next to the word
THINNEST = 6  # side of a photo that is a line
WIDEST_PANEL, TALLEST_PANEL = 480, 520
NARROWEST_PANEL = 120  # that a word has above a narrow photo
MOST_ROOM = 88  # width below which a grid takes no more columns
NARROWEST_FIGURE = 560  # that the caption has
STRIP_PANEL = 160  # height of a strip's panels
COLUMN_PANEL = 672  # width of the panels of a strip that is a column
PANORAMA = 2.2  # from this aspect ratio on, a strip is a column
ROOM_FOR_TEXT = 400  # above and below the panels, at most, where space must be guessed
SMALLEST_WORD, LARGEST_WORD = 480, 4096  # longer side of a single word's picture
LARGEST_UNIT = 3.0  # of its texts
SMALLEST_UNIT = 0.55  # of a grid's


@dataclass(frozen=True)
class Layout:
    """The places of the panels; lengths in pixels of the figure, rows counted from the top.

    Attributes:
        unit: Pixels of the figure per pixel of a grid 1600 wide.
        columns: Panels in a row.
        rows: Rows of panels.
        panel: The width and height reserved for each panel.
        photo: Width and height of the picture within, at the panel's upper left corner, or at
            the upper right one if the panels go from right to left.
        width: The width of the figure.
        strip: Height above each panel for its word, in units.
        from_right: Whether panels run from right to left, like the caption's letters.
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
        """The distance from one row's top to the next."""
        return self.px(self.strip) + self.panel[1] + self.px(GAP)

    def px(self, length: float) -> int:
        """A length in units as pixels."""
        return round(length * self.unit)


def arrange(
    layout: str, panels: int, size: tuple[int, int], width: int | None, columns: int | None
) -> Layout:
    """Arrange panels of a photo of the given (width, height) in pixels.

    Args:
        layout: "grid": as a page; "strip": rows of small panels; "word": each panel at the
            photo's own size, below each other if a width is given.
        panels: The number of panels.
        size: The photo's size.
        width: The maximum width of the figure; None for what suits the layout.
        columns: Panels in a row of a grid; None for what suits the photo.

    Raises:
        UserError: There is no such layout, or a number out of its range.
    """
    if layout not in PLANNED:
        raise UserError(f"no layout {layout!r}; choose from {', '.join(PLANNED)}")
    check_width(width)
    if columns is not None and columns < 1:
        raise UserError(f"columns is {columns}; there must be at least one")
    if columns is not None and layout != "grid":
        raise UserError(f"a {layout} has no columns to choose; leave them out, or draw a grid")
    aspect = size[0] / size[1]
    if layout == "grid":
        return lay_out(panels, aspect, width or DEFAULT_WIDTH, columns)
    if layout == "strip":
        return _strip(panels, aspect, width or DEFAULT_WIDTH)
    return _words(panels, size, width)


def check_width(width: int | None) -> None:
    """Refuse a width out of its range.

    Raises:
        UserError: It is.
    """
    if width is not None and not 200 <= width <= LONGEST_SIDE:
        raise UserError(f"the width is {width} pixels; it must lie in 200 to {LONGEST_SIDE}")


def lay_out(panels: int, aspect: float, width: int, columns: int | None) -> Layout:
    """Arrange a grid for a photo with the given aspect ratio (width by height).

    Without ``columns``, as many as give the figure a landscape shape without leaving much of the
    last row empty.
    """
    unit = width / DEFAULT_WIDTH
    if columns is None:  # letters are legible in a small figure too
        unit = max(unit, SMALLEST_UNIT)
    margin, gap = round(MARGIN * unit), round(GAP * unit)

    def room(count: int) -> int:
        """The width of each of this many panels."""
        return max((width - 2 * margin - (count - 1) * gap) // count, 1)

    def panel(count: int) -> tuple[int, int]:
        return _fitting(aspect, min(room(count), WIDEST_PANEL * unit), TALLEST_PANEL * unit, unit)

    def badness(count: int) -> float:
        rows = math.ceil(panels / count)
        wide, high = panel(count)
        slot = max(wide, round(NARROWEST_PANEL * unit))
        ratio = count * (slot + gap) / (rows * (high + gap + LABEL_STRIP * unit))
        small = math.log(math.sqrt(wide * high) / (WIDEST_PANEL * unit))
        return _badness(ratio, rows * count - panels, count) - 0.35 * small

    most = max(count for count in range(1, 15) if count == 1 or room(count) >= MOST_ROOM * unit)
    columns = columns or min(range(1, min(panels, most) + 1), key=badness)
    columns = min(columns, panels)
    return _layout(panels, columns, panel(columns), room(columns), unit, width)


def _strip(panels: int, aspect: float, width: int) -> Layout:
    """Rows of panels of one height: a single row if all fit in the width."""
    unit = max(width / DEFAULT_WIDTH, SMALLEST_UNIT)
    margin, gap = round(MARGIN * unit), round(GAP * unit)
    inside = width - 2 * margin
    if aspect >= PANORAMA:
        panel = _fitting(aspect, min(inside, COLUMN_PANEL * unit), STRIP_PANEL * unit, unit)
    else:
        panel = _fitting(aspect, inside, STRIP_PANEL * unit, unit)
    slot = max(panel[0], round(NARROWEST_PANEL * unit))
    columns = max(min((inside + gap) // (slot + gap), panels), 1)
    rows = math.ceil(panels / columns)
    columns = math.ceil(panels / rows)  # rows of even length
    room = max((inside - (columns - 1) * gap) // columns, 1)
    return _layout(panels, columns, panel, room, unit, width)


def _fitting(aspect: float, width: float, height: float, unit: float) -> tuple[int, int]:
    """The largest picture of a shape within a width and a height."""
    wide = min(width, height * aspect)
    least = max(round(THINNEST * unit), 1)
    return max(round(wide), least), max(round(wide / aspect), least)


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
    margin, gap, strip = (round(each * unit) for each in (MARGIN, GAP, LABEL_STRIP))

    def used(columns: int) -> int:
        return 2 * margin + columns * photo[0] + (columns - 1) * gap

    def badness(columns: int) -> float:
        rows = math.ceil(panels / columns)
        shape = used(columns) / (rows * (photo[1] + gap + strip))
        return _badness(shape, rows * columns - panels, columns)

    most = panels if width is None else 1
    fitting = [n for n in range(1, most + 1) if n == 1 or used(n) <= LONGEST_SIDE]
    columns = min(fitting or [1], key=badness)
    rows = math.ceil(panels / columns)
    return Layout(unit, columns, rows, photo, photo, max(used(columns), round(600 * unit)))


def _badness(shape: float, empty: int, columns: int) -> float:
    """How far a figure is from a landscape page, and how much of its last row is empty."""
    return abs(math.log(shape / 1.7)) + 0.8 * empty / columns


def _layout(
    panels: int, columns: int, photo: tuple[int, int], room: int, unit: float, width: int
) -> Layout:
    """Columns no wider than the photo or its word, so that no part of the figure is empty."""
    panel = max(photo[0], min(room, round(NARROWEST_PANEL * unit))), photo[1]
    used = 2 * round(MARGIN * unit) + columns * panel[0] + (columns - 1) * round(GAP * unit)
    narrowest = min(width, round(NARROWEST_FIGURE * unit))
    return Layout(unit, columns, math.ceil(panels / columns), panel, photo, max(used, narrowest))
