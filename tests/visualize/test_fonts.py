"""Letters of any script: a font that has them is found; where there is none, that is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from showattend.visualize import fonts
from showattend.visualize.figure import draw_figure
from showattend.visualize.fonts import BASE, lettering, right_to_left
from showattend.visualize.sheet import Sheet, pixels_of
from tests.visualize.drawing import caption_of, plain

LETTER = "\U00012000"  # cuneiform: no machine of ours has a font for it
OTHER = "\U00012001"


@pytest.fixture
def cuneiform(tmp_path: Path) -> Iterator[Path]:
    """A font of one letter, a black square, that the machine gets for one test."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from matplotlib.font_manager import fontManager

    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 1000), (1000, 1000), (1000, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(LETTER): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": "Test Cuneiform", "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    path = tmp_path / "cuneiform.ttf"
    builder.save(path)
    before = list(fontManager.ttflist)
    fonts._lettering.cache_clear()
    yield path
    fontManager.ttflist[:] = before
    fontManager._findfont_cached.cache_clear()
    fonts._lettering.cache_clear()


def install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the system had the font, since after matplotlib looked."""
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [str(path)])


def test_common_scripts_need_nothing_more() -> None:
    for text in ("a dog's café", "Собака бежит", "σκύλος", "كلب يجري", "כלב רץ", "β 0.5 · 7×7 …"):
        found = lettering(text)
        assert found.families == (BASE,), text
        assert found.shortage == "", text
        assert found.shown(text) == text


def test_a_font_that_has_the_letter_is_found(
    cuneiform: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lettering(f"a {LETTER}").missing == {LETTER}
    fonts._lettering.cache_clear()
    install(cuneiform, monkeypatch)
    found = lettering(f"a {LETTER}")
    assert found.families == (BASE, "Test Cuneiform")
    assert not found.missing
    assert lettering(f"a {LETTER}{OTHER}").missing == {OTHER}


def test_the_letter_is_drawn_with_it(cuneiform: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full square, not an outline and not a question mark."""
    install(cuneiform, monkeypatch)
    sheet = Sheet(200, LETTER)
    sheet.set_height(100)
    sheet.text(50, 80, LETTER, 40, "#000000")
    (rows, columns) = np.nonzero(pixels_of(sheet.figure).mean(2) < 128)
    assert len(rows) > 0.95 * np.ptp(rows) * np.ptp(columns)
    assert np.ptp(rows) == pytest.approx(40, abs=2)
    assert rows.max() == pytest.approx(80, abs=2)


def test_what_no_font_has_is_said_in_one_line() -> None:
    found = lettering(f"a {LETTER}{OTHER} dog")
    assert found.shown(f"a {LETTER}{OTHER} dog") == "a ?? dog"
    assert "\n" not in found.shortage
    assert "no font on this machine has U+12000, U+12001 (Cuneiform)" in found.shortage
    many = lettering("".join(chr(0x12000 + k) for k in range(10)))
    assert "and 6 more" in many.shortage


def test_figures_say_it_and_draw_no_boxes() -> None:
    caption = caption_of(plain(90, 60), [(0, 0), (3, 3)], words=f"dog {LETTER}")
    texts = [text.get_text() for text in draw_figure(caption).texts]
    assert "?" in texts, "over the panel"
    assert "U+12000 (Cuneiform)" in " ".join(texts)
    assert not any(LETTER in text for text in texts)
    plain_texts = [text.get_text() for text in draw_figure(caption_of(plain(9, 6), [(0, 0)])).texts]
    assert "font" not in " ".join(plain_texts)


def test_fonts_of_boxes_and_marks_that_are_not_seen() -> None:
    assert "Last Resort" not in " ".join(lettering(LETTER).families)
    assert not lettering("a\u200db\ufe0f\u00a0c\n").missing, "joiners, selectors, blanks"


def test_direction() -> None:
    assert right_to_left("كلب")
    assert right_to_left("12 כלב dog")
    assert not right_to_left("dog كلب")
    assert not right_to_left("犬 123")
    assert not right_to_left("")


def test_captions_from_the_right_begin_there() -> None:
    caption = caption_of(plain(90, 60), [(0, 0), (3, 3)], words="كلب يجري")
    figure = draw_figure(caption, layout="grid")
    headline = next(text for text in figure.texts if text.get_text() == caption.text)
    box = headline.get_window_extent()
    width = figure.canvas.get_width_height()[0]
    assert box.x0 > width / 2
    assert box.x1 < width
