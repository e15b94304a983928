"""Words by words: a square for each pair, as light as its weight."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from showattend.caption import Caption
from showattend.caption_forms import SelfAttention
from showattend.exceptions import UserError
from showattend.visualize import figure_bytes
from showattend.visualize.figure import draw_figure
from showattend.visualize.raw import json_bytes, npz_bytes
from tests.visualize.drawing import CELLS, caption_of, shaded


def attending(layers: int = 2, heads: int = 3) -> Caption:
    """Two words whose heads look back by random weights."""
    weights = np.random.default_rng(0).random((layers, heads, 3, 3)) * np.tril(np.ones((3, 3)))
    weights = (weights / weights.sum(-1, keepdims=True)).astype(np.float32)
    found = SelfAttention(("<start>", "dog", "ball"), weights, None)
    return replace(caption_of(shaded(320, 200), CELLS[:2], words="dog ball"), self_attention=found)


@pytest.mark.parametrize("width", [None, 500])
def test_each_square_is_as_light_as_its_weight(width: int | None) -> None:
    caption = attending()
    assert caption.self_attention is not None
    weights = caption.self_attention.words
    assert weights is not None
    figure = draw_figure(caption, layout="words", width=width)
    assert width is None or figure.get_figwidth() * figure.dpi <= width + 1
    pictures = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    assert len(pictures) == 7
    for picture, wanted in zip(
        pictures, [weights[-1].mean(0), *weights.reshape(6, 3, 3)], strict=True
    ):
        side = len(picture) // 3
        middle = picture[side // 2 :: side, side // 2 :: side, 0] / 255
        np.testing.assert_allclose(middle[:3, :3], wanted, atol=1 / 255)
    for suffix in (".png", ".svg"):
        assert figure_bytes(caption, suffix, layout="words")


def test_many_words_and_heads_stay_within_the_width() -> None:
    words = " ".join(f"w{n}" for n in range(40))
    caption = caption_of(shaded(320, 200), [CELLS[0]] * 40, words=words)
    tokens = ("<start>", *caption.words)
    weights = np.full((3, 8, 41, 41), 1 / 41, np.float32)
    caption = replace(caption, self_attention=SelfAttention(tokens, weights, None))
    figure = draw_figure(caption, layout="words")
    assert figure.get_figwidth() * figure.dpi <= 1600
    for axes in figure.axes:
        x0, y0, x1, y1 = axes.get_position().extents
        assert min(x0, y0) >= 0
        assert max(x1, y1) <= 1


def test_a_model_without_it_is_refused() -> None:
    caption = caption_of(shaded(320, 200), CELLS[:2], words="dog ball")
    with pytest.raises(UserError, match=r"no self-attention among words; decoder\.kind"):
        draw_figure(caption, layout="words")
    grid_only = replace(caption, self_attention=SelfAttention(("<start>",), None, None))
    with pytest.raises(UserError, match="no self-attention among words"):
        draw_figure(grid_only, layout="words")


def test_the_weights_are_saved() -> None:
    caption = attending()
    assert caption.self_attention is not None
    saved = np.load(io.BytesIO(npz_bytes(caption)))
    assert saved["tokens"].tolist() == ["<start>", "dog", "ball"]
    np.testing.assert_array_equal(saved["word_attention"], caption.self_attention.words)
    assert "grid_attention" not in saved
    plain = json.loads(json_bytes(caption))
    np.testing.assert_allclose(plain["word_attention"], caption.self_attention.words)
    without = replace(caption, self_attention=None)
    assert "tokens" not in np.load(io.BytesIO(npz_bytes(without)))
