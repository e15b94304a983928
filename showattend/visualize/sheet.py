"""A drawing surface in pixels, with text of any script, and its content as PNG, SVG, PDF ..."""

from __future__ import annotations

import functools
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from showattend.system.quiet import quiet
from showattend.visualize.fonts import Lettering, lettering

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, QUIET = "#1c1c1e", "#77777c"
DPI = 100

# What the vector formats would read from the user's matplotlibrc, or draw by lot.
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
    """A white figure addressed in pixels from its top left corner.

    Args:
        width: In pixels.
        text: All that will be written: fonts are looked for that have its letters.
        unit: What font sizes are multiplied by.
    """

    def __init__(self, width: int, text: str, unit: float = 1.0) -> None:
        # The object-oriented interface: pyplot's state is the user's, and not safe in threads.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width, self.height, self.unit = width, 1, unit
        self.letters: Lettering = lettering(text)
        self.figure = Figure(dpi=DPI, facecolor="white")
        self.figure.set_layout_engine("none")
        self._canvas = FigureCanvasAgg(self.figure)
        self._fonts: dict[tuple[float, bool], Any] = {}
        self._widths: dict[tuple[str, float, bool], float] = {}

    def set_height(self, height: int) -> None:
        """Set the height in pixels; it must be known before anything is placed."""
        self.height = height
        self.figure.set_size_inches(self.width / DPI, height / DPI)

    def picture(self, x: int, y: int, pixels: np.ndarray, size: tuple[int, int]) -> None:
        """Put a picture [H, W, 3] uint8 over exactly the pixels of a (width, height)."""
        w, h = size
        left, bottom = x / self.width, 1 - (y + h) / self.height
        axes = self.figure.add_axes((left, bottom, w / self.width, h / self.height))
        axes.set_axis_off()
        axes.imshow(pixels, interpolation="none", origin="upper", aspect="auto", resample=False)

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
        """Write one line on the base line ``y``; bold, if fonts have all its letters so."""
        shown = self.letters.shown(text)
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            shown,
            fontproperties=self._font(shown, size, bold),
            color=color,
            parse_math=False,  # a word may hold a dollar sign
            usetex=False,
            va="baseline",
            **more,
        )

    def text_width(self, text: str, size: float, bold: bool = False) -> float:
        """How many pixels a line takes."""
        key = (text, size, bold)
        if key not in self._widths:
            with quiet():
                renderer = self._canvas.get_renderer()
                shown = self.letters.shown(text)
                font = self._font(shown, size, bold)
                self._widths[key] = renderer.get_text_width_height_descent(shown, font, False)[0]
        return self._widths[key]

    def wrapped(self, text: str, size: float, room: float, bold: bool = False) -> list[str]:
        """Break a text into lines no wider than ``room`` pixels; a word too long for one, too."""
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
        """The bold fonts of those families that have one: of others matplotlib complains."""
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
        title: For the file's metadata.
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
            FigureCanvasSVG(figure).print_svg(file, metadata={"Title": title, "Date": None})
    else:
        _save_pixels(figure, file, suffix, title)
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
    """Settle matplotlib's settings for vector formats, for one thread at a time.

    Not ``rc_context``, which would set back what another thread changes meanwhile.
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
