"""The drawing surface: bold letters where the fonts have them."""

from __future__ import annotations

import logging

import pytest
from matplotlib.font_manager import fontManager

from showattend.visualize.sheet import Sheet

NOT_IN_BOLD = "\U0001ee00"  # DejaVu Sans has it in its regular face only
NO_BOLD_FACE = "\u2322"  # in DejaVu Math TeX Gyre, which matplotlib brings in one weight


def weights(*texts: str) -> list[str]:
    """The weight that each of the texts of one sheet is written in, when asked in bold."""
    sheet = Sheet(200, "".join(texts))
    for text in texts:
        sheet.text(10, 10, text, 20, "black", bold=True)
    return [text.get_fontproperties().get_weight() for text in sheet.figure.texts]


def test_bold_is_wider() -> None:
    sheet = Sheet(200, "a dog")
    assert sheet.text_width("a dog", 20, bold=True) > sheet.text_width("a dog", 20)
    sheet.text(10, 10, "a dog", 20, "black")
    assert sheet.figure.texts[0].get_fontproperties().get_weight() == "normal"


@pytest.mark.parametrize("letter", [NOT_IN_BOLD, NO_BOLD_FACE])
def test_a_letter_without_a_bold_form_is_drawn_in_the_regular_one(
    letter: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert not Sheet(200, letter).letters.missing
    fontManager._findfont_cached.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert weights(f"a {letter}", "a dog", "\U00012000") == ["normal", "bold", "bold"]
        sheet = Sheet(200, f"a {letter}")
        assert sheet.text_width(f"a {letter}", 20, bold=True) > 0
    assert not caplog.records, "matplotlib says nothing of weights that it has not"
