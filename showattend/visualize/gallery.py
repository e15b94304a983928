"""A sheet of photographs with their captions, what is wrong with them, and what people say."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from showattend.errors import ImageError, UserError
from showattend.images import open_image
from showattend.quiet import quiet
from showattend.visualize.figure import DPI, INK, LONGEST_SIDE, QUIET

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

FORMS = (".png", ".pdf")
WRONG = "#a8201a"

# Pixels.
WIDTH, COLUMNS, MARGIN, GAP = 1600, 2, 44, 32
PHOTO = 240  # the longer side
TITLE, SAID, NOTE = 26, 19, 15  # font sizes
SPACING = 1.4  # of lines


@dataclass(frozen=True)
class Card:
    """One photograph of the sheet.

    Attributes:
        image: Its file, or the picture itself.
        caption: The caption under test.
        references: Human captions to set beside it.
        tags: Short labels of what is wrong, such as "count: two / three".
        score: Of the caption, such as "CIDEr 0.03"; empty for none.
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
    weight: str = "normal"


def check_gallery(path: Path) -> str:
    """The suffix that chooses the sheet's form; asked early, a mistake costs no waiting.

    Raises:
        UserError: It is neither .png nor .pdf.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMS:
        raise UserError(f"{path}: a gallery takes a name that ends in {' or '.join(FORMS)}")
    return suffix


def draw_gallery(cards: Sequence[Card], title: str) -> Figure:
    """Draw the sheet: two cards a row, the photograph at the left of each and the words beside it.

    A photograph that cannot be opened leaves a grey field that says so.

    Args:
        cards: What to show, in order.
        title: The headline.

    Raises:
        UserError: There are no cards, or so many that the sheet would be too long.
    """
    if not cards:
        raise UserError("there is nothing to draw in the gallery")
    sheet = _Sheet()
    wide = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) // COLUMNS
    texts = [sheet.lines_of(card, wide - PHOTO - GAP // 2) for card in cards]
    headline = sheet.wrapped(title, TITLE, WIDTH - 2 * MARGIN, "bold")
    heights = [max(PHOTO, _height(lines)) for lines in texts]
    rows = [max(heights[at : at + COLUMNS]) for at in range(0, len(cards), COLUMNS)]
    top = MARGIN + _height([_Line(line, TITLE, INK) for line in headline]) + GAP
    height = top + sum(rows) + GAP * (len(rows) - 1) + MARGIN
    if height > LONGEST_SIDE:
        raise UserError(
            f"the gallery would be {height} pixels high, more than {LONGEST_SIDE}; show fewer"
        )
    sheet.set_height(height)
    sheet.write(MARGIN, MARGIN, [_Line(line, TITLE, INK, "bold") for line in headline])
    for index, (card, lines) in enumerate(zip(cards, texts, strict=True)):
        row, column = divmod(index, COLUMNS)
        x = MARGIN + column * (wide + GAP)
        y = top + sum(rows[:row]) + GAP * row
        sheet.picture(x, y, card.image)
        sheet.write(x + PHOTO + GAP // 2, y, lines)
    return sheet.figure


def save_gallery(cards: Sequence[Card], path: Path, title: str = "The worst captions") -> None:
    """Write the sheet to a file.

    Args:
        cards: What to show, in order.
        path: A .png or .pdf file.
        title: The headline.

    Raises:
        UserError: Another suffix, a file that cannot be written, or as ``draw_gallery``.
    """
    suffix = check_gallery(path)
    figure = draw_gallery(cards, title)
    content = io.BytesIO()
    with quiet():
        if suffix == ".pdf":
            from matplotlib.backends.backend_pdf import FigureCanvasPdf

            metadata = {"Title": title, "CreationDate": None}
            FigureCanvasPdf(figure).print_pdf(content, metadata=metadata)
        else:
            from PIL import Image

            Image.fromarray(pixels_of(figure)).save(content, "PNG")
    try:
        path.write_bytes(content.getvalue())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None


def pixels_of(figure: Figure) -> np.ndarray:
    """A figure as an array [height, width, 3] uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with quiet():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def _height(lines: Sequence[_Line]) -> int:
    return sum(round(line.size * SPACING) for line in lines)


class _Sheet:
    """A figure addressed in pixels from its top left corner."""

    def __init__(self) -> None:
        # The object-oriented interface: pyplot's state is the user's, and not safe in threads.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure = Figure(dpi=DPI, facecolor="white")
        self.figure.set_layout_engine("none")
        self.canvas = FigureCanvasAgg(self.figure)

    def set_height(self, height: int) -> None:
        self.height = height
        self.figure.set_size_inches(WIDTH / DPI, height / DPI)

    def lines_of(self, card: Card, room: int) -> list[_Line]:
        """A card's words, broken into lines no wider than ``room`` pixels."""
        blocks = [
            _Line(card.caption or "(no words)", SAID, INK, "bold"),
            *(_Line(tag, NOTE, WRONG) for tag in card.tags),
            *(_Line(f"“{each}”", NOTE, QUIET) for each in card.references),
            *([_Line(card.score, NOTE, QUIET)] if card.score else []),
        ]
        return [
            _Line(text, block.size, block.color, block.weight)
            for block in blocks
            for text in self.wrapped(block.text, block.size, room, block.weight)
        ]

    def wrapped(self, text: str, size: int, room: int, weight: str = "normal") -> list[str]:
        """Break a text into lines; a word too long for one is broken too."""
        lines: list[str] = []
        for word in text.split():
            if lines and self._width(f"{lines[-1]} {word}", size, weight) <= room:
                lines[-1] += f" {word}"
                continue
            lines.append("")
            for sign in word:
                if lines[-1] and self._width(lines[-1] + sign, size, weight) > room:
                    lines.append("")
                lines[-1] += sign
        return lines

    def write(self, x: int, y: int, lines: Sequence[_Line]) -> None:
        """Write lines from ``y`` down."""
        for line in lines:
            self.figure.text(
                x / WIDTH,
                1 - (y + line.size) / self.height,
                line.text,
                fontproperties=self._font(line.size, line.weight),
                color=line.color,
                parse_math=False,  # a word may hold a dollar sign
                usetex=False,
                va="baseline",
            )
            y += round(line.size * SPACING)

    def picture(self, x: int, y: int, image: Path | Image.Image) -> None:
        """Put a photograph's upper left corner there; its longer side is ``PHOTO`` pixels."""
        try:
            photo = open_image(image)
        except ImageError:
            pixels = np.full((PHOTO, PHOTO, 3), 225, np.uint8)
            self._show(x, y, pixels)
            self.write(x + 12, y + PHOTO // 2, [_Line("cannot be opened", NOTE, QUIET)])
            return
        scale = PHOTO / max(photo.size)
        size = (max(round(photo.width * scale), 1), max(round(photo.height * scale), 1))
        self._show(x, y, np.asarray(photo.resize(size)))

    def _show(self, x: int, y: int, pixels: np.ndarray) -> None:
        h, w = pixels.shape[:2]
        box = (x / WIDTH, 1 - (y + h) / self.height, w / WIDTH, h / self.height)
        axes = self.figure.add_axes(box)
        axes.set_axis_off()
        axes.imshow(pixels, interpolation="none", origin="upper", aspect="auto", resample=False)

    def _width(self, text: str, size: int, weight: str) -> float:
        with quiet():
            renderer = self.canvas.get_renderer()
            font = self._font(size, weight)
            return renderer.get_text_width_height_descent(text, font, False)[0]

    def _font(self, size: float, weight: str) -> Any:
        from matplotlib.font_manager import FontProperties

        return FontProperties(family="DejaVu Sans", size=size * 72 / DPI, weight=weight)
