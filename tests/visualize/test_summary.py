"""The summary, read back: outlines, panels and words of one colour, on photos of any shape."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from showattend.caption import Caption
from showattend.visualize.figure import draw_figure
from showattend.visualize.focus import SOMEWHERE
from showattend.visualize.heat import fitted
from showattend.visualize.summary import MOST
from showattend.visualize.theme import THEMES, WORD_COLOURS
from tests.visualize.drawing import (
    CELLS,
    GRID,
    SIZES,
    caption_of,
    landing,
    shaded,
    share_enclosed,
)

WORDS = "dog ball grass boy tree"


def page_of(figure: Any) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[:, :, :3]


def boxes_of(figure: Any) -> list[tuple[float, float, float, float]]:
    """Left, top, width and height of the photo and of each panel, in pixels."""
    width, height = figure.get_size_inches() * figure.dpi
    return [
        (x0 * width, (1 - y1) * height, (x1 - x0) * width, (y1 - y0) * height)
        for x0, y0, x1, y1 in (axes.get_position().extents for axes in figure.axes)
    ]


def outlines_of(figure: Any) -> list[tuple[str, list[np.ndarray]]]:
    """The coloured outlines of a figure as drawn: colour and curves in pixels."""
    from matplotlib.colors import to_hex
    from matplotlib.patches import PathPatch

    found = []
    for patch in figure.get_children():
        if type(patch) is PathPatch and patch.get_zorder() == 2.1:
            path = patch.get_path()
            starts = [*np.nonzero(path.codes == path.MOVETO)[0], len(path.vertices)]
            curves = [path.vertices[a:b] for a, b in itertools.pairwise(starts)]
            found.append((to_hex(patch.get_edgecolor()), curves))
    return found


def blurred(size: tuple[int, int]) -> Caption:
    """A caption of four words that look at areas of several cells."""
    caption = caption_of(shaded(*size), CELLS[:4], words="dog ball grass boy")
    draw = np.random.default_rng(3)
    for t in range(4):
        caption.attention[t] = draw.random(GRID) ** 9
        caption.attention[t] /= caption.attention[t].sum()
    return caption


@pytest.mark.parametrize("size", [*SIZES, (40, 40), (60, 360), (360, 60)])
def test_outlines_hold_half_of_the_attention(size: tuple[int, int]) -> None:
    caption = blurred(size)
    figure = draw_figure(caption)
    photo, *panels = boxes_of(figure)
    outlines = outlines_of(figure)
    assert [colour for colour, _ in outlines] == [*WORD_COLOURS, *WORD_COLOURS]
    places = [photo] * 4 + panels
    for (_, curves), (left, top, width, height), t in zip(
        outlines, places, [*range(4), *range(4)], strict=True
    ):
        if min(width, height) < 120:
            continue  # lines are kept within the picture, which takes of a thin one
        back = [(curve - [left, top]) * size / [width, height] for curve in curves]
        held = share_enclosed(back, caption.attention[t], caption.geometry)
        assert held == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("size", [*SIZES, (40, 40), (60, 360), (360, 60)])
def test_panels_show_the_heat_where_the_cell_is(size: tuple[int, int]) -> None:
    caption = caption_of(shaded(*size), CELLS[:4], words="dog ball grass boy")
    figure = draw_figure(caption)
    for upon in figure.artists:  # what is drawn upon the photos
        upon.set_visible(False)
    for text in figure.texts:
        text.set_visible(False)
    page = page_of(figure)
    _, *boxes = boxes_of(figure)
    assert len(boxes) == 4
    for cell, (left, top, width, height) in zip(CELLS, boxes, strict=False):
        x, y, wide, high = (round(value) for value in (left, top, width, height))
        panel = page[y : y + high, x : x + wide]
        base = fitted(Image.fromarray(shaded(*size)), (wide, high))
        assert np.abs(landing(base, panel, cell)).max() <= 1


def test_words_have_the_colours_of_their_outlines() -> None:
    caption = caption_of(shaded(320, 200), CELLS, words="a dog is chasing balls")
    for t in (0, 2):
        caption.attention[t] = 1 / 49
    figure = draw_figure(caption)
    texts = {text.get_text(): text for text in figure.texts}
    assert texts["A"].get_color() == texts["is"].get_color() == THEMES["light"].quiet
    page = page_of(figure)
    for word, colour in zip(("dog", "chasing", "balls"), WORD_COLOURS, strict=False):
        said = [text for text in figure.texts if text.get_text() == word]
        assert len(said) == 3, "in the headline, at its outline and over its panel"
        for text in said:
            box = text.get_window_extent()
            row = page.shape[0] - round((box.y0 + box.y1) / 2)
            beside = "#" + "".join(f"{part:02x}" for part in page[row, round(box.x0) - 3])
            assert beside == colour
    assert len(figure.axes) == 4
    assert f"more than {SOMEWHERE:.0%} of the photo" in " ".join(texts)


def test_words_that_looked_everywhere_are_never_lit() -> None:
    caption = caption_of(shaded(320, 200), CELLS, words=WORDS)
    caption.attention[:] = 1 / 49
    figure = draw_figure(caption)
    assert len(figure.axes) == 1, "the photo alone"
    assert outlines_of(figure) == []
    assert any("No content word" in text.get_text() for text in figure.texts)
    asked = draw_figure(caption, words=["dog"])
    assert len(asked.axes) == 2
    assert outlines_of(asked) == []
    assert any("looked everywhere" in text.get_text() for text in asked.texts[1:])
    left, top, width, height = (round(value) for value in boxes_of(asked)[1])
    panel = page_of(asked)[top : top + height, left : left + width]
    assert panel.mean() < 0.55 * shaded(320, 200).mean()


def test_probabilities_and_what_is_unsure() -> None:
    caption = replace(
        caption_of(shaded(320, 200), CELLS[:2], words="dog ball"),
        log_probs=(math.log(0.93), math.log(0.37), -0.1),
        unsure_below=0.5,
    )
    texts = [text.get_text() for text in draw_figure(caption).texts]
    assert {"93%", "37%  unsure"} <= set(texts)
    assert not any("β" in text for text in texts)
    detailed = [text.get_text() for text in draw_figure(caption, details=True).texts]
    assert detailed.count("β 0.50 · H 0.0") == 2


def test_no_more_words_than_colours_unless_asked() -> None:
    caption = caption_of(shaded(320, 200), CELLS, words=WORDS)
    assert len(draw_figure(caption).axes) == 1 + MOST
    assert len(draw_figure(caption, words=WORDS.split()).axes) == 1 + 5
    assert len(draw_figure(caption, words=["ball"]).axes) == 2


def test_dark() -> None:
    caption = caption_of(shaded(320, 200), CELLS[:2], words="dog ball")
    page = page_of(draw_figure(caption, theme="dark"))
    assert page[2, 2].max() < 40
    assert page_of(draw_figure(caption))[2, 2].min() == 255


def test_captions_from_the_right_begin_there() -> None:
    caption = caption_of(shaded(320, 200), CELLS[:2], words="كلب كرة")
    photo, first, second = boxes_of(figure := draw_figure(caption))
    assert photo[0] > first[0]
    width = figure.get_size_inches()[0] * figure.dpi
    assert figure.texts[0].get_window_extent().x0 > width / 2
    assert first[0] > second[0] or first[1] < second[1]
