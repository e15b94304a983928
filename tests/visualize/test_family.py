"""Heads side by side, and the attention matrix: the right numbers at the right places."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.visualize import figure_bytes
from showattend.visualize.family import region_shares
from showattend.visualize.figure import draw_figure
from showattend.visualize.heat import fitted
from tests.visualize.drawing import CELLS, GRID, caption_of, landing, plain, shaded


def of_heads(size: tuple[int, int], heads: int, **more: Any) -> Caption:
    """A caption of two words, each head of which looks at a cell of its own."""
    parts = np.zeros((2, heads, *GRID), np.float32)
    for p in range(heads):
        parts[:, p][:, CELLS[p % 5][0], CELLS[p % 5][1]] = 1
    names = tuple(f"head {p + 1}" for p in range(heads))
    caption = caption_of(shaded(*size), CELLS[:2], words="dog ball")
    return replace(caption, parts=parts, part_names=names, **more)


def shown(figure: Any) -> list[np.ndarray]:
    figure.canvas.draw()
    page = np.asarray(figure.canvas.buffer_rgba())[:, :, :3]
    height, width = page.shape[:2]
    pictures = []
    for axes in figure.axes:
        x0, y0, x1, y1 = axes.get_position().extents
        rows = slice(round((1 - y1) * height), round((1 - y0) * height))
        pictures.append(page[rows, round(x0 * width) : round(x1 * width)])
    return pictures


@pytest.mark.parametrize("size", [(320, 200), (100, 600), (600, 100), (40, 40)])
@pytest.mark.parametrize("heads", [2, 5])
def test_each_head_has_its_panel(size: tuple[int, int], heads: int) -> None:
    figure = draw_figure(of_heads(size, heads), layout="parts")
    pictures = shown(figure)
    assert len(pictures) == 2 * (1 + heads)
    photo = fitted(Image.fromarray(shaded(*size)), pictures[0].shape[1::-1])
    for t in range(2):
        together, *others = pictures[t * (1 + heads) : (t + 1) * (1 + heads)]
        for panel, cell in zip([together, *others], [CELLS[t], *CELLS], strict=False):
            assert np.abs(landing(photo, panel, cell)).max() <= 1
    texts = [text.get_text() for text in figure.texts]
    assert texts.count("head 2") == 2
    width, height = figure.canvas.get_width_height()
    assert width <= 1600
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 <= box.y0
        assert box.x1 <= width + 1
        assert box.y1 <= height


def test_many_heads_wrap_and_the_sentinel_is_said() -> None:
    caption = of_heads((320, 200), 16, sentinel=np.array([0.2, 0.9]))
    figure = draw_figure(caption, layout="parts", words=["ball"], theme="dark", style="heat")
    assert len(figure.axes) == 17
    assert len({round(axes.get_position().y0, 4) for axes in figure.axes}) == 3
    assert any("sentinel 90%" in text.get_text() for text in figure.texts)
    assert figure_bytes(caption, ".svg", layout="parts").count(b"<image") == 1


def test_one_map_a_word_has_no_parts() -> None:
    with pytest.raises(UserError, match="one map per word"):
        draw_figure(caption_of(plain(9, 6), CELLS), layout="parts")


def test_regions_keep_the_attention() -> None:
    maps = np.random.default_rng(0).random((3, 14, 10))
    shares, (down, across) = region_shares(maps)
    assert shares.shape == (3, 6, 6)
    np.testing.assert_allclose(shares.sum((1, 2)), maps.sum((1, 2)))
    assert down[0] == across[0] == 0
    small, starts = region_shares(maps[:, :2, :3])
    np.testing.assert_array_equal(small, maps[:, :2, :3])
    assert starts == ([0, 1], [0, 1, 2])
    wanted = maps[0, down[1] : down[2], across[4] : across[5]].sum()
    assert shares[0, 1, 4] == pytest.approx(wanted)


@pytest.mark.parametrize("sentinel", [False, True])
def test_the_matrix_has_a_square_for_each_word_and_region(sentinel: bool) -> None:
    from matplotlib.patches import Rectangle

    share = np.array([0.25, 0.75]) if sentinel else None
    caption = replace(caption_of(shaded(320, 200), CELLS[:2], words="dog ball"), sentinel=share)
    caption.attention[1] = 1 / 49
    figure = draw_figure(caption, layout="matrix")
    pieces = shown(figure)
    shares, _ = region_shares(caption.attention)
    assert len(pieces) == 36
    squares = [each for each in figure.artists if isinstance(each, Rectangle)]
    lights = np.array([each.get_facecolor()[0] for each in squares]).reshape(2, -1)
    assert lights.shape == (2, 37 if sentinel else 36)
    np.testing.assert_allclose(lights[:, :36], shares.reshape(2, 36) / shares.max(), atol=1e-6)
    if share is not None:
        np.testing.assert_allclose(lights[:, 36], share)
    # The pieces above the columns are the photo's, from the upper left.
    photo = shaded(320, 200)
    assert np.abs(pieces[0].mean((0, 1)) - photo[:28, :45].mean((0, 1))).max() < 8
    assert np.abs(pieces[-1].mean((0, 1)) - photo[-28:, -45:].mean((0, 1))).max() < 8
    assert pieces[0].shape[0] / pieces[0].shape[1] == pytest.approx(200 / 320, rel=0.05)
    for suffix in (".png", ".svg", ".pdf", ".jpg"):
        assert figure_bytes(caption, suffix, layout="matrix")
