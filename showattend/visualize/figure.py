"""The paper's figure: the photo, then one panel per word with its attention over the photo."""

from __future__ import annotations

import io
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from showattend.caption import Caption
from showattend.errors import UserError
from showattend.quiet import quiet
from showattend.visualize.maps import (
    fitted,
    full_heat,
    heat_of,
    overlay,
    photo_of,
    positions_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, QUIET = "#1c1c1e", "#77777c"
DPI = 100
LONGEST_SIDE = 16000  # of a figure, in pixels; WebP ends soon after

# All lengths are pixels of a figure 1600 wide, and scale with it.
MARGIN, GAP = 44, 18
HEADLINE, LABEL, NOTE = 30, 19, 15  # font sizes
LABEL_STRIP = 34  # above each panel, for its word
WIDEST_PANEL = 430


@dataclass(frozen=True)
class Layout:
    """Where the panels stand; lengths in pixels of the figure, rows counted from the top."""

    unit: float
    columns: int
    rows: int
    panel: tuple[int, int]
    photo: tuple[int, int]
    width: int

    def corner(self, index: int) -> tuple[int, int]:
        """Left and top of the photo in panel ``index``, below the top of the first row."""
        row, col = divmod(index, self.columns)
        x = self.px(MARGIN) + col * (self.panel[0] + self.px(GAP))
        y = row * self.row_height + self.px(LABEL_STRIP)
        return x, y

    @property
    def row_height(self) -> int:
        return self.px(LABEL_STRIP) + self.panel[1] + self.px(GAP)

    def px(self, length: float) -> int:
        return round(length * self.unit)


def lay_out(panels: int, aspect: float, width: int, columns: int | None) -> Layout:
    """Arrange panels of a photo with the given aspect ratio (width by height).

    Without ``columns``, as many as give the figure the shape of a page lying on its side without
    leaving much of the last row empty.
    """
    unit = width / 1600
    shape = min(max(aspect, 0.4), 10.0)  # of the panel: beyond, the photo is a strip within it

    def badness(count: int) -> float:
        rows = math.ceil(panels / count)
        ratio = count / (rows * (1 / shape + 0.14 * count / 5))
        return abs(math.log(ratio / 1.7)) + 0.8 * (rows * count - panels) / count

    columns = columns or min(range(1, min(panels, 7) + 1), key=badness)
    columns = min(columns, panels)
    margin, gap = round(MARGIN * unit), round(GAP * unit)
    room = (width - 2 * margin - (columns - 1) * gap) // columns
    panel_w = max(1, min(room, round(WIDEST_PANEL * unit)))
    panel_h = max(1, round(panel_w / shape))
    if aspect >= shape:
        photo = (panel_w, max(round(panel_w / aspect), round(6 * unit), 1))
    else:
        photo = (max(round(panel_h * aspect), round(6 * unit), 1), panel_h)
    used = 2 * margin + columns * panel_w + (columns - 1) * gap
    return Layout(
        unit, columns, math.ceil(panels / columns), (panel_w, panel_h), photo,
        max(used, min(width, round(760 * unit))),
    )  # fmt: skip


def draw_figure(
    caption: Caption,
    *,
    words: Sequence[str] | None = None,
    columns: int | None = None,
    scale: str = "word",
    width: int = 1600,
    colormap: str = "inferno",
    alpha: float = 0.55,
) -> Figure:
    """Draw a caption's figure, one panel per word behind the photo.

    Args:
        caption: The caption, with its image.
        words: Only these words' panels.
        columns: Panels in a row; chosen by the photo's shape when left out.
        scale: "word": each map is as bright as it can be; "common": all maps share one scale,
            so that a spread-out map looks dim beside a pointed one.
        width: Of the figure, in pixels, at most.
        colormap: One of matplotlib's colour maps.
        alpha: How much the heat covers the photo, in [0, 1].

    Raises:
        UserError: An unknown word, scale or colour map, a number out of its range, or a caption
            that does not know its image.
    """
    if not 200 <= width <= LONGEST_SIDE:
        raise UserError(f"the width is {width} pixels; it must lie in 200 to {LONGEST_SIDE}")
    if columns is not None and columns < 1:
        raise UserError(f"columns is {columns}; there must be at least one")
    positions = positions_of(caption, words)
    photo = photo_of(caption)
    layout = lay_out(1 + len(positions), photo.width / photo.height, width, columns)
    page = _Page(layout)

    headline = page.wrapped(caption.text or "(no words)", HEADLINE, layout.width)
    notes = page.wrapped(_note(caption, scale), NOTE, layout.width)
    top = layout.px(MARGIN + len(headline) * HEADLINE * 1.35 + GAP * 0.6)
    bottom = top + layout.rows * layout.row_height
    page.set_height(bottom + layout.px(len(notes) * NOTE * 1.5 + MARGIN * 0.8))
    if page.height > LONGEST_SIDE:
        raise UserError(
            f"the figure would be {page.height} pixels high, more than {LONGEST_SIDE}; "
            "choose more columns, fewer words or a smaller width"
        )
    for number, line in enumerate(headline):
        y = layout.px(MARGIN + (number * 1.35 + 0.8) * HEADLINE)
        page.text(layout.px(MARGIN), y, line, HEADLINE, INK)
    for number, line in enumerate(notes):
        y = bottom + layout.px((number * 1.5 + 1.3) * NOTE)
        page.text(layout.px(MARGIN), y, line, NOTE, QUIET)

    base = fitted(photo, layout.photo)
    for index, t in enumerate([None, *positions]):
        x, y = layout.corner(index)
        if t is None:
            page.picture(x, top + y, base)
            continue
        heat = heat_of(caption, t, layout.photo, scale)
        page.picture(x, top + y, overlay(base, heat, colormap=colormap, alpha=alpha))
        page.label(x, top + y - layout.px(9), caption.words[t], f"β {caption.betas[t]:.2f}")
    return page.figure


def figure_bytes(caption: Caption, suffix: str = ".png", **options: Any) -> bytes:
    """A caption's figure as the content of a file: .png, .jpg, .webp, .pdf or .svg.

    Args:
        caption: The caption, with its image.
        suffix: Of the file.
        options: Those of ``draw_figure``.

    Raises:
        UserError: As ``draw_figure``.
    """
    figure = draw_figure(caption, **options)
    content = io.BytesIO()
    with quiet():
        # Not savefig: its result would depend on the user's matplotlibrc.
        if suffix == ".pdf":
            from matplotlib.backends.backend_pdf import FigureCanvasPdf

            metadata = {"Title": caption.text, "CreationDate": None}
            FigureCanvasPdf(figure).print_pdf(content, metadata=metadata)
        elif suffix == ".svg":
            from matplotlib.backends.backend_svg import FigureCanvasSVG

            metadata = {"Title": caption.text, "Date": None}
            FigureCanvasSVG(figure).print_svg(content, metadata=metadata)
        else:
            _save_pixels(figure, content, suffix, caption.text)
    return content.getvalue()


def _save_pixels(figure: Figure, file: io.BytesIO, suffix: str, title: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3])
    if suffix == ".png":
        info = PngInfo()
        info.add_itxt("Title", title)
        picture.save(file, "PNG", pnginfo=info)
    elif suffix == ".webp":
        picture.save(file, "WEBP", quality=90)
    else:
        picture.save(file, "JPEG", quality=90, subsampling=0)


def _note(caption: Caption, scale: str) -> str:
    looked = "Bright: where the model looked when it said the word."
    if not caption.words:
        return ""
    rows, cols = caption.attention.shape[1:]
    if scale == "word":
        shared = "Each map is as bright as its own maximum."
    else:
        most = full_heat(caption, 0, scale)
        cell = f"one cell of {rows}×{cols}"
        shared = f"One scale: full brightness is {most:.0%} of the attention in {cell}."
    return f"{looked} {shared} β: how much the image counted for the word, 0 to 1."


class _Page:
    """A figure addressed in pixels from its top left corner."""

    def __init__(self, layout: Layout) -> None:
        # The object-oriented interface: pyplot's state is the user's, and not safe in threads.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.layout = layout
        self.figure = Figure(dpi=DPI, facecolor="white")
        self.figure.set_layout_engine("none")
        self.canvas = FigureCanvasAgg(self.figure)

    def set_height(self, height: int) -> None:
        self.width, self.height = self.layout.width, height
        self.figure.set_size_inches(self.width / DPI, height / DPI)

    def picture(self, x: int, y: int, pixels: np.ndarray) -> None:
        """Put a picture over exactly the pixels of the layout's photo."""
        w, h = self.layout.photo
        left, bottom = x / self.width, 1 - (y + h) / self.height
        axes = self.figure.add_axes((left, bottom, w / self.width, h / self.height))
        axes.set_axis_off()
        axes.imshow(pixels, interpolation="none", origin="upper", aspect="auto", resample=False)

    def text(self, x: float, y: float, text: str, size: float, color: str, **more: Any) -> None:
        """Write one line on the base line ``y``."""
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            text,
            fontproperties=self._font(size),
            color=color,
            parse_math=False,  # a word may hold a dollar sign
            usetex=False,
            va="baseline",
            **more,
        )

    def label(self, x: int, y: int, word: str, gate: str) -> None:
        """A word over its panel at the left, smaller if it is long, and its gate at the right."""
        right = x + self.layout.panel[0]
        room = self.layout.panel[0] - self.text_width(gate, NOTE) - self.layout.px(10)
        shrink = min(1.0, room / max(self.text_width(word, LABEL), 1))
        self.text(x, y, word, LABEL * max(shrink, 0.3), INK)
        self.text(right, y, gate, NOTE, QUIET, ha="right")

    def wrapped(self, text: str, size: float, width: int) -> list[str]:
        """Break a text into lines no wider than the page of ``width`` pixels."""
        room = width - 2 * self.layout.px(MARGIN)
        lines: list[str] = []
        for word in text.split():
            if lines and self.text_width(f"{lines[-1]} {word}", size) <= room:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return lines

    def text_width(self, text: str, size: float) -> float:
        with quiet():
            renderer = self.canvas.get_renderer()
            return renderer.get_text_width_height_descent(text, self._font(size), False)[0]

    def _font(self, size: float) -> Any:
        from matplotlib.font_manager import FontProperties

        return FontProperties(family="DejaVu Sans", size=size * self.layout.unit * 72 / DPI)


FORMS: dict[str, Callable[..., bytes]] = {
    ".png": figure_bytes,
    ".jpg": figure_bytes,
    ".jpeg": figure_bytes,
    ".webp": figure_bytes,
    ".pdf": figure_bytes,
    ".svg": figure_bytes,
}
"""What makes a file's content of a caption, by the file's suffix: (caption, suffix, **options)."""


def check_output(path: str | Path) -> str:
    """The suffix that chooses a file's form; asked early, a mistake costs no waiting.

    Raises:
        UserError: There is no such form.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMS:
        asked = f"no form {suffix}" if suffix else "the name has no suffix to choose a form"
        raise UserError(f"{path}: {asked}; use one of {', '.join(FORMS)}")
    return suffix


def save_figure(caption: Caption, path: str | Path, **options: Any) -> None:
    """Show a caption in a file, in the form that its suffix names.

    Missing folders are made; the file appears when it is whole, or not at all.

    Args:
        caption: The caption, with its image.
        path: The file: .png, .jpg, .webp, .pdf or .svg.
        options: ``words``, ``columns``, ``scale``, ``width``, ``colormap`` and ``alpha``, as
            ``draw_figure`` explains them.

    Raises:
        UserError: An unknown suffix, a file that cannot be written, or as ``draw_figure``.
    """
    path = Path(path)
    content = FORMS[check_output(path)](caption, path.suffix.lower(), **options)
    aside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_bytes(content)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
