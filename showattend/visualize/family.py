"""Figures of several maps per word: heads, hops and levels side by side; the attention matrix.

The matrix is the figure of Bahdanau et al. 2015 (figure 3) for photographs: words down the side,
regions of the photograph across, each headed by its own piece of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.visualize.focus import full_share, sharpest, shown_of
from showattend.visualize.heat import (
    SCALES,
    SENTINEL,
    Heat,
    chance_of,
    photo_of,
    positions_of,
    sentinel_of,
)
from showattend.visualize.layout import (
    DEFAULT_WIDTH,
    GAP,
    HEADLINE,
    LABEL,
    LONGEST_SIDE,
    MARGIN,
    NARROWEST_PANEL,
    NOTE,
    SMALLEST_UNIT,
    check_width,
)
from showattend.visualize.sheet import Sheet
from showattend.visualize.theme import Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOGETHER = "all together"
WORDS = 4  # words shown by default
ACROSS = 7  # panels in a row, at most
TALLEST = 300  # panel
REGIONS = 6  # of a matrix, along each side of the grid, at most
CELL = 40  # side of a region's square in the matrix
TALLEST_PIECE = 2.5  # of the photo above it: height by width, and width by height


def draw_parts(
    caption: Caption,
    *,
    words: Sequence[str] | None,
    scale: str,
    theme: Theme,
    width: int | None,
    look: dict[str, Any],
) -> Figure:
    """For each word its map, followed by the map of each head, hop or level.

    For arguments and errors see `draw_figure`; by default, the words with the sharpest maps are
    shown.

    Raises:
        UserError: The caption has one map per word.
    """
    check_width(width)
    if caption.parts is None:
        raise UserError("this attention has one map per word: there are no heads, hops or levels")
    if scale not in SCALES:
        raise UserError(f"no scale {scale!r}; choose from {', '.join(SCALES)}")
    positions = positions_of(caption, words)
    if words is None:
        positions = sharpest(caption, positions, WORDS) or positions[:WORDS]
    photo = photo_of(caption)
    unit = max((width or DEFAULT_WIDTH) / DEFAULT_WIDTH, SMALLEST_UNIT)
    names = [TOGETHER, *caption.part_names]
    lines = math.ceil(len(names) / ACROSS)
    columns = math.ceil(len(names) / lines)  # rows of even length
    told = f"{caption.text} {caption.raw} {' '.join(names)} 0123456789%·{SENTINEL}"

    def px(length: float) -> int:
        return round(length * unit)

    inside = (width or DEFAULT_WIDTH) - 2 * px(MARGIN)
    room = (inside - (columns - 1) * px(GAP)) // columns
    aspect = photo.width / photo.height
    wide = max(min(room, round(px(TALLEST) * aspect)), 1)
    panel = wide, max(round(wide / aspect), 1)
    slot = max(wide, min(room, px(NARROWEST_PANEL)))
    sheet = Sheet(2 * px(MARGIN) + columns * slot + (columns - 1) * px(GAP), told, unit, theme)
    headline = sheet.wrapped(caption.text, HEADLINE, sheet.width - 2 * px(MARGIN))
    strip, row = px(NOTE * 1.7), panel[1] + px(GAP * 0.7)
    block = px(LABEL * 2) + lines * (strip + row) + px(GAP)
    top = px(MARGIN + len(headline) * HEADLINE * 1.35)
    note = "" if caption.sentinel is None else SENTINEL
    notes = sheet.wrapped(note, NOTE, sheet.width - 2 * px(MARGIN))
    bottom = top + len(positions) * block
    sheet.set_height(bottom + px(len(notes) * NOTE * 1.5 + MARGIN * 0.6))
    if sheet.height > LONGEST_SIDE:
        raise UserError(
            f"the figure would be {sheet.height} pixels high, more than {LONGEST_SIDE}; "
            "choose fewer words"
        )
    write_headline(sheet, headline, unit)
    common = float(caption.parts.max())
    for number, t in enumerate(positions):
        y = top + number * block
        sheet.text(px(MARGIN), y + px(LABEL * 1.2), caption.words[t], LABEL, theme.ink, bold=True)
        beside = px(MARGIN) + sheet.text_width(caption.words[t], LABEL, bold=True) + px(12)
        said = " · ".join(filter(None, (chance_of(caption, t), sentinel_of(caption, t))))
        sheet.text(beside, y + px(LABEL * 1.2), said, NOTE, theme.quiet)
        maps = [caption.attention[t], *caption.parts[t]]
        for index, (name, each) in enumerate(zip(names, maps, strict=True)):
            down, across = divmod(index, columns)
            x = px(MARGIN) + across * (slot + px(GAP))
            at = y + px(LABEL * 2) + down * (strip + row) + strip
            shrink = min(1.0, slot / max(sheet.text_width(name, NOTE), 1))
            sheet.text(x, at - px(6), name, NOTE * shrink, theme.quiet)
            full = common if scale == "common" else full_share(each)
            sheet.photo(x, at, photo, panel, Heat(each, caption.geometry, full), **look)
    for number, line in enumerate(notes):
        y = bottom + px((number * 1.5 + 0.8) * NOTE)
        sheet.text(px(MARGIN), y, line, NOTE, theme.quiet)
    return sheet.figure


def draw_matrix(
    caption: Caption, *, words: Sequence[str] | None, theme: Theme, width: int | None
) -> Figure:
    """The attention matrix: words down the side, regions of the photograph across.

    A region is a block of cells, so that there are no more than `REGIONS` along a side of the grid;
    a square is white for the largest share of all, and black for none.

    Args:
        caption: The caption, with its image.
        words: Only these words' rows.
        theme: The colours.
        width: The maximum width of the figure; the squares shrink with it.

    Raises:
        UserError: An unknown word, or a width out of range.
    """
    check_width(width)
    positions = positions_of(caption, words)
    rows, cols = caption.attention.shape[1:]
    shares, blocks = region_shares(caption.attention[positions])
    down, across = len(blocks[0]), len(blocks[1])
    labels = [caption.words[t] for t in positions]
    told = f"{caption.text} {caption.raw} {shown_of(caption)} {SENTINEL} 0123456789.%×"
    measure = Sheet(100, told, 1.0, theme)
    side = max((measure.text_width(each, LABEL) for each in labels), default=0) + 14
    sentinel = caption.sentinel
    extra = CELL * 1.6 if sentinel is not None else 0
    chance = measure.text_width("100%", NOTE) + 12
    natural = 2 * MARGIN + side + down * across * CELL + (down - 1) * 6 + extra + chance
    unit = min((width or DEFAULT_WIDTH) / natural, 1.0)

    def px(length: float) -> int:
        return round(length * unit)

    sheet = Sheet(max(math.floor(natural * unit), 200), told, unit, theme)
    room = sheet.width - 2 * px(MARGIN)
    headline = sheet.wrapped(caption.text or "(no words)", HEADLINE, room)
    most = float(shares.max(initial=0))
    note = (
        f"Each row is a word, each column a region of the photograph, from the upper left, "
        f"{down} rows of {across}. White: {most:.0%} of the word's {shown_of(caption)}; "
        "black: none."
    )
    if sentinel is not None:
        note += f" The last column, white for all of it: {SENTINEL[0].lower()}{SENTINEL[1:]}"
    notes = sheet.wrapped(note, NOTE, room)
    top = px(MARGIN + len(headline) * HEADLINE * 1.35 + GAP * 0.4)
    cell = px(CELL)
    square = max(cell - 1, 1)
    piece = square, _height_of_pieces(caption, square)
    head = piece[1] + 1 + px(10)
    sheet.set_height(
        top + head + len(labels) * px(CELL) + px(len(notes) * NOTE * 1.5 + NOTE + MARGIN * 0.7)
    )
    write_headline(sheet, headline, unit)
    left = px(MARGIN) + px(side)
    pieces = _pieces(caption, blocks, (rows, cols), piece)
    for index in range(down * across):
        x = left + index * cell + (index // across) * px(6)
        sheet.picture(x, top, pieces[index], piece)
    for number, t in enumerate(positions):
        y = top + head + number * cell
        sheet.text(left - px(14), y + cell * 0.66, labels[number], LABEL, theme.ink, ha="right")
        for index, share in enumerate(shares[number].ravel()):
            x = left + index * cell + (index // across) * px(6)
            sheet.square(x, y, square, float(share) / max(most, 1e-9))
        end = left + down * across * cell + (down - 1) * px(6) + px(12)
        if sentinel is not None:
            sheet.square(end, y, square, float(sentinel[t]))
            end += px(CELL * 1.6)
        sheet.text(end, y + cell * 0.64, chance_of(caption, t), NOTE, theme.quiet)
    if sentinel is not None and positions:
        end = left + down * across * cell + (down - 1) * px(6) + px(12)
        sheet.text(end, top + piece[1] - px(CELL * 0.1), "sentinel", NOTE * 0.75, theme.quiet)
    bottom = top + head + len(labels) * cell
    for number, line in enumerate(notes):
        sheet.text(px(MARGIN), bottom + px((number * 1.5 + 1.6) * NOTE), line, NOTE, theme.quiet)
    return sheet.figure


def write_headline(sheet: Sheet, lines: Sequence[str], unit: float) -> None:
    """Write a caption over a figure of several maps per word, line by line."""
    for number, line in enumerate(lines):
        y = round((MARGIN + (number * 1.35 + 0.8) * HEADLINE) * unit)
        sheet.text(round(MARGIN * unit), y, line, HEADLINE, sheet.theme.ink)


def region_shares(maps: np.ndarray) -> tuple[np.ndarray, tuple[list[int], list[int]]]:
    """Attention summed over blocks of cells.

    Args:
        maps: The maps [T, H, W].

    Returns:
        The shares [T, rows of blocks, columns of blocks], and the start of each block along each
        side of the grid.
    """
    starts = tuple(
        np.unique(np.linspace(0, size, min(size, REGIONS) + 1).round().astype(int)[:-1]).tolist()
        for size in maps.shape[1:]
    )
    summed = np.add.reduceat(np.add.reduceat(maps, starts[0], axis=1), starts[1], axis=2)
    return summed, (starts[0], starts[1])


def _height_of_pieces(caption: Caption, width: int) -> int:
    """The aspect of the photo's regions: to the network, the photo is a square of squares."""
    left, top, right, bottom = caption.geometry.box
    height = width * (bottom - top) / (right - left)
    return round(min(max(height, width / TALLEST_PIECE), width * TALLEST_PIECE))


def _pieces(
    caption: Caption,
    blocks: tuple[list[int], list[int]],
    grid: tuple[int, int],
    size: tuple[int, int],
) -> list[np.ndarray]:
    """The piece of the photo in each region, at a (width, height)."""
    photo = photo_of(caption)
    ends = [[*starts[1:], size] for starts, size in zip(blocks, grid, strict=True)]
    pieces = []
    for top, bottom in zip(blocks[0], ends[0], strict=True):
        for left, right in zip(blocks[1], ends[1], strict=True):
            first = caption.geometry.cell_box(top, left, grid)
            last = caption.geometry.cell_box(bottom - 1, right - 1, grid)
            box = tuple(round(value) for value in (*first[:2], *last[2:]))
            box = (box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1))
            piece = photo.crop(box).resize(size, Image.Resampling.BICUBIC)
            pieces.append(np.asarray(piece))
    return pieces
