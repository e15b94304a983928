"""A drawing surface in pixels, with text in any script, saved as PNG, SVG, PDF and others."""

from __future__ import annotations

import functools
import io
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from showattend.system.quiet import quiet
from showattend.visualize.fonts import Lettering, lettering
from showattend.visualize.heat import Heat, fitted, paint
from showattend.visualize.theme import THEMES, Theme
from showattend.visualize.vector import Placed, with_pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

INK, QUIET = THEMES["light"].ink, THEMES["light"].quiet
DPI = 100
PALE = 0.3  # share of its colour that a dashed rectangle is filled with
MELTING = 10  # minimum difference of a photo's edge from the page, of 256 levels
PLACED = "showattend_placed"  # attribute of a figure: its photos

# Settings that vector formats would read from the user's matplotlibrc, or draw at random.
_SETTLED = {
    "svg.hashsalt": "showattend",
    "svg.fonttype": "path",
    "svg.id": None,
    "svg.image_inline": True,
    "image.composite_image": False,
    "pdf.fonttype": 3,
    "pdf.compression": 6,
    "pdf.use14corefonts": False,
    "pdf.inheritcolor": False,
}
_settling = threading.Lock()


class Sheet:
    """A figure addressed in pixels from its top left corner.

    Args:
        width: The width in pixels.
        text: All text to be written, to find fonts that have its letters.
        unit: The factor of font sizes.
        theme: Its colours.
    """

    def __init__(
        self, width: int, text: str, unit: float = 1.0, theme: Theme = THEMES["light"]
    ) -> None:
        # The object-oriented interface: pyplot's state is the user's, and is not thread-safe.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width, self.height, self.unit, self.theme = width, 1, unit, theme
        self.letters: Lettering = lettering(text)
        self.figure = Figure(dpi=DPI, facecolor=theme.back)
        self.figure.set_layout_engine("none")
        self._canvas = FigureCanvasAgg(self.figure)
        self._placed: list[Placed] = []
        setattr(self.figure, PLACED, self._placed)  # pictures that an SVG draws itself
        self._fitted: dict[tuple[int, int], np.ndarray] = {}
        self._fonts: dict[tuple[float, bool], Any] = {}
        self._widths: dict[tuple[str, float, bool], float] = {}

    def set_height(self, height: int) -> None:
        """Set the height in pixels, before anything is placed."""
        self.height = height
        self.figure.set_size_inches(self.width / DPI, height / DPI)

    def photo(
        self,
        x: int,
        y: int,
        photo: Image.Image,
        size: tuple[int, int],
        heat: Heat | None = None,
        **look: Any,
    ) -> None:
        """Draw the photo over exactly a (width, height) in pixels, under a map if there is one.

        Args:
            x: Its left edge.
            y: Its top edge.
            photo: The photo, the same for the whole sheet.
            size: Its width and height on the sheet.
            heat: The map over it; None for the plain photo. **look: Options of `paint`.
        """
        if size not in self._fitted:
            self._fitted[size] = fitted(photo, size)
        base = self._fitted[size]
        axes = self.picture(
            x, y, base if heat is None else paint(base, heat.at(size), **look), size
        )
        self._placed.append(Placed(axes, (x, y, *size), photo, heat, look))
        if self._melts(base):
            self._frame(x, y, size)

    def _melts(self, pixels: np.ndarray) -> bool:
        """Whether much of a photo's edge has the page's colour."""
        from matplotlib.colors import to_rgb

        edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).astype(float)
        like = np.abs(edge - 255 * np.array(to_rgb(self.theme.back))).max(1) < MELTING
        return bool(like.mean() > 0.25)

    def _frame(self, x: int, y: int, size: tuple[int, int]) -> None:
        """A fine line around a photo, outside its pixels."""
        from matplotlib.patches import Rectangle

        self.figure.add_artist(
            Rectangle(
                (x - 0.5, y - 0.5),
                size[0] + 1,
                size[1] + 1,
                fill=False,
                edgecolor=self.theme.quiet,
                alpha=0.5,
                linewidth=72 / DPI,
                transform=self._pixels(),
                zorder=0.5,
            )
        )

    def outline(
        self, curves: Sequence[np.ndarray], color: str, thick: float, inside: Sequence[float]
    ) -> None:
        """Draw closed curves [points, 2] in pixels, with dark edges to be visible anywhere.

        Args:
            curves: The curves, each with its first point repeated at the end.
            color: The colour of the line.
            thick: The thickness of the line in units.
            inside: Left, top, right and bottom of the clipping box.
        """
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        if not curves:
            return
        half = thick * self.unit / 2
        low, high = np.array(inside[:2]) + half, np.array(inside[2:]) - half
        kept = [np.clip(curve, low, np.maximum(low, high)) for curve in curves]
        path = Path.make_compound_path(*(Path(curve, closed=True) for curve in kept))
        for tint, more, order in (("#000000", 2.2, 2.0), (color, 0.0, 2.1)):
            self.figure.add_artist(
                PathPatch(
                    path,
                    fill=False,
                    edgecolor=tint,
                    alpha=1.0 if tint == color else 0.55,
                    linewidth=(thick + more) * self.unit * 72 / DPI,
                    joinstyle="round",
                    transform=self._pixels(),
                    zorder=order,
                )
            )

    def pill(
        self,
        box: Sequence[float],
        color: str,
        *,
        filled: bool = True,
        order: float = 1.0,
    ) -> None:
        """A rectangle (left, top, right, bottom) with round corners: filled, or pale and dashed."""
        from matplotlib.colors import to_rgba
        from matplotlib.patches import FancyBboxPatch

        left, top, right, bottom = box
        self.figure.add_artist(
            FancyBboxPatch(
                (left, top),
                right - left,
                bottom - top,
                boxstyle=f"round,pad=0,rounding_size={(bottom - top) * 0.22:.3f}",
                facecolor=to_rgba(color, 1.0 if filled else PALE),
                edgecolor="none" if filled else color,
                linewidth=2 * self.unit * 72 / DPI,
                linestyle="-" if filled else (0, (2, 1.4)),
                transform=self._pixels(),
                zorder=order,
            )
        )

    def line(self, start: float, end: float, y: float, color: str, *, dotted: bool = False) -> None:
        """A horizontal line from one x to another."""
        from matplotlib.lines import Line2D

        self.figure.add_artist(
            Line2D(
                [start, end],
                [y, y],
                color=color,
                linewidth=2 * self.unit * 72 / DPI,
                linestyle=(0, (1, 1.2)) if dotted else "-",
                transform=self._pixels(),
            )
        )

    def square(self, x: int, y: int, side: int, light: float) -> None:
        """A grey square, from black at ``light`` 0 to white at 1."""
        self.ramp(x, y, np.full((1, 3), min(max(light, 0.0), 1.0)), (side, side))

    def ramp(self, x: int, y: int, colours: np.ndarray, size: tuple[int, int]) -> None:
        """Colours [steps, 3] in [0, 1] side by side, in a rectangle of (width, height)."""
        from matplotlib.patches import Rectangle

        step = size[0] / len(colours)
        for number, colour in enumerate(colours):
            self.figure.add_artist(
                Rectangle(
                    (x + number * step, y),
                    step,
                    size[1],
                    facecolor=tuple(colour),
                    edgecolor="none",
                    antialiased=False,
                    transform=self._pixels(),
                )
            )

    def _pixels(self) -> Any:
        """From pixels counted from the top left to matplotlib's coordinates."""
        from matplotlib.transforms import Affine2D

        scaled = Affine2D().scale(1 / self.width, -1 / self.height).translate(0, 1)
        return scaled + self.figure.transFigure

    def picture(self, x: int, y: int, pixels: np.ndarray, size: tuple[int, int]) -> Any:
        """Draw a picture [H, W, 3] uint8 over exactly a (width, height) in pixels."""
        w, h = size
        left, bottom = x / self.width, 1 - (y + h) / self.height
        axes = self.figure.add_axes((left, bottom, w / self.width, h / self.height))
        axes.set_axis_off()
        axes.imshow(pixels, interpolation="none", origin="upper", aspect="auto", resample=False)
        return axes

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        color: str,
        bold: bool = False,
        **more: Any,
    ) -> None:
        """Write one line on the baseline ``y``; bold if a bold font has all its letters."""
        shown = self.letters.shown(text)
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            shown,
            fontproperties=self._font(shown, size, bold),
            color=color,
            parse_math=False,  # a word may contain a dollar sign
            usetex=False,
            va="baseline",
            **more,
        )

    def text_width(self, text: str, size: float, bold: bool = False) -> float:
        """Return the width of a line in pixels."""
        key = (text, size, bold)
        if key not in self._widths:
            with quiet():
                renderer = self._canvas.get_renderer()
                shown = self.letters.shown(text)
                font = self._font(shown, size, bold)
                self._widths[key] = renderer.get_text_width_height_descent(shown, font, False)[0]
        return self._widths[key]

    def wrapped(self, text: str, size: float, room: float, bold: bool = False) -> list[str]:
        """Break a text into lines no wider than ``room`` pixels, within long words too."""
        lines: list[str] = []
        for word in text.split():
            if lines and self.text_width(f"{lines[-1]} {word}", size, bold) <= room:
                lines[-1] += f" {word}"
            elif self.text_width(word, size, bold) <= room:
                lines.append(word)
            else:
                lines += self._cut(word, size, room, bold)
        return lines

    def _cut(self, word: str, size: float, room: float, bold: bool) -> list[str]:
        pieces = [""]
        for letter in word:
            if pieces[-1] and self.text_width(pieces[-1] + letter, size, bold) > room:
                pieces.append("")
            pieces[-1] += letter
        return pieces

    def _font(self, shown: str, size: float, bold: bool) -> Any:
        from matplotlib.font_manager import FontProperties

        bold = bold and all(letter.isspace() or self._has_bold(letter) for letter in shown)
        if (size, bold) not in self._fonts:
            self._fonts[size, bold] = FontProperties(
                family=list(self._bold if bold else self.letters.families),
                size=size * self.unit * 72 / DPI,
                weight="bold" if bold else "normal",
            )
        return self._fonts[size, bold]

    def _has_bold(self, letter: str) -> bool:
        return any(font.get_char_index(ord(letter)) for font in self._bold.values())

    @functools.cached_property
    def _bold(self) -> dict[str, Any]:
        """The families that have a bold font; matplotlib warns about others."""
        from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

        there = {each.name for each in fontManager.ttflist if each.weight in (700, "bold")}
        return {
            family: get_font(findfont(FontProperties(family=[family], weight="bold")))
            for family in self.letters.families
            if family in there
        }


def pixels_of(figure: Figure) -> np.ndarray:
    """A figure as an array [height, width, 3] uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with quiet():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3]


def content_of(figure: Figure, suffix: str, title: str) -> bytes:
    """A figure as a file's content, the same bytes every time.

    Args:
        figure: The figure.
        suffix: .png, .jpg, .jpeg, .pdf or .svg.
        title: The title in the file's metadata.
    """
    file = io.BytesIO()
    # Not savefig: its result would depend on the user's matplotlibrc.
    if suffix == ".pdf":
        from matplotlib.backends.backend_pdf import FigureCanvasPdf

        with quiet(), _settled():
            FigureCanvasPdf(figure).print_pdf(file, metadata={"Title": title, "CreationDate": None})
    elif suffix == ".svg":
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        with quiet(), _settled():
            placed: list[Placed] = getattr(figure, PLACED, [])
            for each in placed:
                each.axes.set_visible(False)
            FigureCanvasSVG(figure).print_svg(file, metadata={"Title": title, "Date": None})
            for each in placed:
                each.axes.set_visible(True)
            return with_pictures(file.getvalue(), placed, 72 / DPI)
    else:
        _save_pixels(figure, file, suffix, title)
    return file.getvalue()


def pages_of(figures: Iterable[Figure], title: str) -> bytes:
    """Figures as the pages of a PDF; see `content_of`."""
    from matplotlib.backends.backend_pdf import FigureCanvasPdf, PdfPages

    file = io.BytesIO()
    with (
        quiet(),
        _settled(),
        PdfPages(file, metadata={"Title": title, "CreationDate": None}) as pages,
    ):
        for figure in figures:
            FigureCanvasPdf(figure).print_pdf(pages)
    return file.getvalue()


def _save_pixels(figure: Figure, file: io.BytesIO, suffix: str, title: str) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    picture = Image.fromarray(pixels_of(figure))
    if suffix == ".png":
        info = PngInfo()
        info.add_itxt("Title", title)
        picture.save(file, "PNG", pnginfo=info, compress_level=3)  # 6 takes three times as long
    else:
        picture.save(file, "JPEG", quality=90, subsampling=0)


@contextmanager
def _settled() -> Iterator[None]:
    """Set matplotlib's options for vector formats, for one thread at a time.

    Not ``rc_context``, which would revert another thread's changes.
    """
    import matplotlib

    settings: Any = matplotlib.rcParams
    with _settling:
        before = {key: settings[key] for key in _SETTLED if key in settings}
        try:
            settings.update({key: _SETTLED[key] for key in before})
            yield
        finally:
            settings.update(before)
