"""A sheet of photographs with captions, their errors, and human captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from showattend.exceptions import ImageError, UserError
from showattend.images.upright import open_image
from showattend.system.files import write_bytes
from showattend.visualize.layout import LONGEST_SIDE
from showattend.visualize.sheet import INK, QUIET, Sheet, content_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

FORMS = (".png", ".pdf")
WRONG = "#a8201a"
UNOPENED = "cannot be opened"

# Pixels.
WIDTH, COLUMNS, MARGIN, GAP = 1600, 2, 44, 32
PHOTO = 240  # the longer side
TITLE, SAID, NOTE = 26, 19, 15  # font sizes
SPACING = 1.4  # of lines

MOST_ROWS = (LONGEST_SIDE - 2 * MARGIN - round(TITLE * SPACING)) // (PHOTO + GAP)
MOST_CARDS = COLUMNS * MOST_ROWS
"""The most cards on a sheet, if no card has more words than fit next to its photograph."""


@dataclass(frozen=True)
class Card:
    """One photograph of the sheet.

    Attributes:
        image: Its file, or the picture itself.
        caption: The caption under test.
        references: Human captions for comparison.
        tags: Short labels of its errors, such as "count: two / three".
        score: The score of the caption, such as "CIDEr 0.03"; empty for none.
    """

    image: Path | Image.Image
    caption: str
    references: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    score: str = ""


@dataclass(frozen=True)
class _Line:
    text: str
    size: int
    color: str
    bold: bool = False


def check_gallery(path: Path) -> str:
    """Check the suffix that selects the sheet's form, before any time is spent.

    Raises:
        UserError: It is neither .png nor .pdf.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMS:
        raise UserError(f"{path}: a gallery takes a name that ends in {' or '.join(FORMS)}")
    return suffix


def load_photos(cards: Sequence[Card]) -> tuple[list[Card], list[str]]:
    """Open the cards' photographs at the size at which they are drawn.

    Returns:
        The cards with their photographs in memory, and a line for each that cannot be opened, whose
        card is unchanged.
    """
    loaded, problems = [], []
    for card in cards:
        try:
            loaded.append(replace(card, image=_as_drawn(card.image)))
        except ImageError as error:
            loaded.append(card)
            problems.append(str(error))
    return loaded, problems


def draw_gallery(cards: Sequence[Card], title: str, advice: str = "show fewer") -> Figure:
    """Draw the sheet: two cards per row, each with the photograph on the left and the words next to
    it.

    A photograph that cannot be opened leaves a labelled grey field; letters missing from the
    machine's fonts become question marks, and a line below the headline says so.

    Args:
        cards: The cards, in order.
        title: The headline.
        advice: What to do if the sheet is too long, for the message.

    Raises:
        UserError: There are no cards, or so many that the sheet would be too long.
    """
    return _drawn(cards, title, advice).figure


def save_gallery(
    cards: Sequence[Card],
    path: Path,
    title: str = "The worst captions",
    advice: str = "show fewer",
) -> str:
    """Write the sheet to a file.

    Args:
        cards: The cards, in order.
        path: A .png or .pdf file.
        title: The headline.
        advice: See ``draw_gallery``.

    Returns:
        A line on letters missing from this machine's fonts; empty if there are none.

    Raises:
        UserError: Another suffix, a file that cannot be written, or see ``draw_gallery``.
    """
    suffix = check_gallery(path)
    sheet = _drawn(cards, title, advice)
    write_bytes(path, content_of(sheet.figure, suffix, title))
    return sheet.letters.shortage


def _drawn(cards: Sequence[Card], title: str, advice: str) -> Sheet:
    if not cards:
        raise UserError("there is nothing to draw in the gallery")
    told = [_told(card) for card in cards]
    sheet = Sheet(WIDTH, "".join((title, UNOPENED, *(line.text for card in told for line in card))))
    shortage = sheet.letters.shortage
    head = [_Line(title, TITLE, INK, bold=True)]
    if shortage:
        head.append(_Line(f"{shortage[0].upper()}{shortage[1:]}.", NOTE, QUIET))
    head = _wrapped(sheet, head, WIDTH - 2 * MARGIN)
    wide = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) // COLUMNS
    texts = [_wrapped(sheet, lines, wide - PHOTO - GAP // 2) for lines in told]
    heights = [max(PHOTO, _height(lines)) for lines in texts]
    rows = [max(heights[at : at + COLUMNS]) for at in range(0, len(cards), COLUMNS)]
    top = MARGIN + _height(head) + GAP
    height = top + sum(rows) + GAP * (len(rows) - 1) + MARGIN
    if height > LONGEST_SIDE:
        raise UserError(
            f"the gallery would be {height} pixels high, more than {LONGEST_SIDE}; {advice}"
        )
    sheet.set_height(height)
    _write(sheet, MARGIN, MARGIN, head)
    for index, (card, lines) in enumerate(zip(cards, texts, strict=True)):
        row, column = divmod(index, COLUMNS)
        x = MARGIN + column * (wide + GAP)
        y = top + sum(rows[:row]) + GAP * row
        _place_photo(sheet, x, y, card.image)
        _write(sheet, x + PHOTO + GAP // 2, y, lines)
    return sheet


def _told(card: Card) -> list[_Line]:
    """A card's words, before they are broken into lines."""
    return [
        _Line(card.caption or "(no words)", SAID, INK, bold=True),
        *(_Line(tag, NOTE, WRONG) for tag in card.tags),
        *(_Line(f"“{each}”", NOTE, QUIET) for each in card.references),
        *([_Line(card.score, NOTE, QUIET)] if card.score else []),
    ]


def _wrapped(sheet: Sheet, lines: Sequence[_Line], room: int) -> list[_Line]:
    """The lines, wrapped to ``room`` pixels."""
    return [
        replace(line, text=text)
        for line in lines
        for text in sheet.wrapped(line.text, line.size, room, line.bold)
    ]


def _height(lines: Sequence[_Line]) -> int:
    return sum(round(line.size * SPACING) for line in lines)


def _write(sheet: Sheet, x: int, y: int, lines: Sequence[_Line]) -> None:
    """Write lines from ``y`` down."""
    for line in lines:
        sheet.text(x, y + line.size, line.text, line.size, line.color, line.bold)
        y += round(line.size * SPACING)


def _as_drawn(image: Path | Image.Image) -> Image.Image:
    """The photograph with a longer side of ``PHOTO`` pixels."""
    photo = open_image(image)
    scale = PHOTO / max(photo.size)
    return photo.resize((max(round(photo.width * scale), 1), max(round(photo.height * scale), 1)))


def _place_photo(sheet: Sheet, x: int, y: int, image: Path | Image.Image) -> None:
    """Place a photograph by its upper left corner; its longer side is ``PHOTO`` pixels."""
    try:
        photo = _as_drawn(image)
    except ImageError:
        sheet.picture(x, y, np.full((PHOTO, PHOTO, 3), 225, np.uint8), (PHOTO, PHOTO))
        _write(sheet, x + 12, y + PHOTO // 2, [_Line(UNOPENED, NOTE, QUIET)])
        return
    sheet.picture(x, y, np.asarray(photo), photo.size)
