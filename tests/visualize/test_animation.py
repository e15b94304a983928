"""Animations: a frame a word, the heat where the cell is, never more than 2 MB."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.visualize import animation
from showattend.visualize.animation import BUDGET, animation_bytes, few_colours
from showattend.visualize.heat import STYLES, fitted
from showattend.visualize.sheet import Sheet
from tests.visualize.drawing import CELLS, caption_of, landing, plain, shaded

FORMS = [".gif", ".webp"]


def frames_of(content: bytes) -> tuple[list[np.ndarray], list[int]]:
    """The frames [height, width, 3] and their milliseconds, as a viewer would show them."""
    frames, times = [], []
    with Image.open(io.BytesIO(content)) as opened:
        for page in ImageSequence.Iterator(opened):
            frames.append(np.asarray(page.convert("RGB")))
            times.append(page.info["duration"])
        assert len(frames) == 1 or opened.info["loop"] == 0, "for ever"
    return frames, times


def pictures_of(content: bytes, size: tuple[int, int], longest: int = 640) -> list[np.ndarray]:
    """The photo's part of each frame, for a photo of (width, height): at the top, in the middle."""
    frames, _ = frames_of(content)
    factor = longest / max(size)
    width, height = (max(round(side * factor), 6) for side in size)
    left = (frames[0].shape[1] - width) // 2
    return [frame[:height, left : left + width] for frame in frames]


@pytest.mark.parametrize("suffix", FORMS)
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("size", "longest"), [((320, 200), 640), ((120, 640), 640), ((1, 1), 300), ((900, 100), 500)]
)
def test_the_heat_is_where_the_cell_is(
    suffix: str, style: str, size: tuple[int, int], longest: int
) -> None:
    caption = caption_of(shaded(*size), CELLS)
    content = animation_bytes(caption, suffix, style=style, size=longest)
    photo, *pictures = pictures_of(content, size, longest)
    assert len(pictures) == len(CELLS)
    wanted = fitted(Image.fromarray(shaded(*size)), photo.shape[1::-1]).astype(int)
    assert np.abs(photo - wanted).mean() < 3, "the photo itself comes first"
    for cell, picture in zip(CELLS, pictures, strict=True):
        assert np.abs(landing(photo, picture, cell, style=style)).max() <= 1


@pytest.mark.parametrize("suffix", FORMS)
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_after_crop_and_padding(suffix: str, fit: str) -> None:
    size = (320, 240)  # padded by whole pixels of the network's input of 56
    content = animation_bytes(caption_of(plain(*size), [(2, 4)], fit), suffix)
    photo, picture = pictures_of(content, size)
    found = landing(photo, picture, (2, 4), style="heat", fit=fit, aspect=size[0] / size[1])
    assert np.abs(found).max() <= 1


def test_the_sentinel_is_beside_every_word(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    draw = Sheet.text

    def text(self: Sheet, x: float, y: float, text: str, *more: Any, **other: Any) -> None:
        written.append(text)
        draw(self, x, y, text, *more, **other)

    monkeypatch.setattr(Sheet, "text", text)
    caption = caption_of(plain(200, 100), [(3, 3), (1, 1)], words="a dog")
    plain_frames, _ = frames_of(animation_bytes(caption))
    assert "sentinel" not in " ".join(written).lower()
    frames, _ = frames_of(animation_bytes(replace(caption, sentinel=np.array([0.12, 0.34]))))
    assert any("1 of 2 · 37% · sentinel 12%" in each for each in written)
    assert any("2 of 2 · 37% · sentinel 34%" in each for each in written)
    assert "what the model knew without looking" in " ".join(written)
    assert frames[0].shape[0] > plain_frames[0].shape[0], "with a line that says what it is"


@pytest.mark.parametrize("suffix", FORMS)
def test_it_walks_through_the_caption(suffix: str) -> None:
    """The words are drawn pale but the one that is shown, from left to right."""
    caption = caption_of(plain(200, 100), [(3, 3)] * 3, words="dog dog dog")
    frames, times = frames_of(animation_bytes(caption, suffix))
    assert len(frames) == 4
    assert times[0] > times[1] == times[2] < times[3]
    bars = [frame[320 : 320 + 40].astype(int).mean(2) for frame in frames]
    dark = [np.nonzero((bar < 90).any(0))[0] for bar in bars]
    assert dark[0].min() < dark[1].max() < dark[2].min() < dark[2].max() < dark[3].min()
    assert (bars[0][-1] > 250).all(), "white between the words and the figures"


def test_words_choose_frames() -> None:
    caption = caption_of(plain(90, 60), CELLS, words="a dog chases a ball")
    frames, _ = frames_of(animation_bytes(caption, words=["a", "ball"]))
    assert len(frames) == 4
    with pytest.raises(UserError, match="not in the caption: cat"):
        animation_bytes(caption, words=["cat"])
    for suffix in FORMS:
        alone, _ = frames_of(animation_bytes(caption_of(plain(90, 60), []), suffix))
        assert len(alone) == 1, "no words: the photo"


@pytest.mark.parametrize("suffix", FORMS)
@pytest.mark.parametrize("words", [12, pytest.param(30, marks=pytest.mark.slow)])
def test_photographs_keep_the_budget(suffix: str, words: int, photos: list[Path]) -> None:
    with Image.open(photos[0]) as opened:
        photo = np.asarray(opened.convert("RGB").resize((640, 640)))
    content = animation_bytes(_looking_about(photo, words), suffix)
    assert len(content) <= BUDGET == 2_000_000
    frames, _ = frames_of(content)
    assert len(frames) == words + 1
    if words == 12 or suffix == ".webp":
        assert frames[0].shape[1] == 640, "at its full size"


def test_what_does_not_fit_gets_coarser_then_smaller_then_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    caption = _looking_about(noise, 4)
    whole = len(animation_bytes(caption, size=320))
    for share in (0.95, 0.3):
        monkeypatch.setattr(animation, "BUDGET", int(share * whole))
        content = animation_bytes(caption, size=320)
        assert len(content) <= share * whole
        with Image.open(io.BytesIO(content)) as opened:
            assert (opened.width == 320) == (share == 0.95)
    monkeypatch.setattr(animation, "BUDGET", 500)
    with pytest.raises(UserError, match="choose fewer words"):
        animation_bytes(caption, size=64)


@pytest.mark.parametrize("suffix", FORMS)
def test_repeatable_and_of_the_size_that_is_asked(suffix: str) -> None:
    caption = caption_of(shaded(90, 60), [(0, 0), (3, 3)])
    content = animation_bytes(caption, suffix, size=400)
    assert content == animation_bytes(caption, suffix, size=400)
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.width == 400
    for size in (31, 2049):
        with pytest.raises(UserError, match="32 to 2048"):
            animation_bytes(caption, suffix, size=size)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (40, 900), (900, 40)])
def test_odd_photos_and_long_words(size: tuple[int, int]) -> None:
    words = "supercalifragilisticexpialidocious" * 3 + " dog" * 30
    frames, _ = frames_of(animation_bytes(caption_of(plain(*size), [(3, 3)] * 31, words=words)))
    assert {frame.shape for frame in frames} == {frames[0].shape}
    assert frames[0].shape[1] >= 320
    assert frames[0].shape[0] <= 640 + 500
    for frame in frames:  # nothing of the bar is cut off at the sides or below
        assert (frame[-2:] > 250).all()
        bar = frame[-100:]
        assert (bar[:, :2] > 250).all()
        assert (bar[:, -2:] > 250).all()


# The colours of a GIF ---------------------------------------------------------------------------


def test_few_colours_are_all_kept() -> None:
    picture = np.random.default_rng(0).choice([0, 100, 255], (9, 8, 3)).astype(np.uint8)
    table, (numbers,) = few_colours([picture], 64)
    assert (np.reshape(table, (-1, 3))[numbers] == picture).all()


def test_every_pixel_gets_the_nearest_colour_or_one_hardly_farther() -> None:
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(3)]
    flat, matched = few_colours(pictures, 30)
    table = np.reshape(flat, (-1, 3))
    assert 20 <= len(table) <= 30
    for picture, numbers in zip(pictures, matched, strict=True):
        squares = ((picture[:, :, None].astype(int) - table) ** 2).sum(-1)
        chosen = np.take_along_axis(squares, numbers[:, :, None].astype(int), 2)[:, :, 0]
        # Pillow matches boxes of 4³ colours: two of one box differ by at most 3 in each channel.
        assert (np.sqrt(chosen) <= np.sqrt(squares.min(2)) + 2 * 3 * np.sqrt(3)).all()
        assert (chosen == squares.min(2)).mean() > 0.8


def test_a_small_glow_is_not_forgotten() -> None:
    """A few bright pixels among many dark ones of many colours."""
    picture = np.random.default_rng(2).integers(0, 60, (200, 300, 3), dtype=np.uint8)
    picture[100:104, 150:154] = (250, 190, 60)
    table, (numbers,) = few_colours([picture], 100)
    glow = np.reshape(table, (-1, 3))[numbers][101, 151]
    assert np.abs(glow - (250, 190, 60)).max() <= 12


def _looking_about(photo: np.ndarray, words: int) -> Caption:
    """A caption whose maps are as a model's: several places, different for every word."""
    caption = caption_of(photo, [(0, 0)] * words)
    maps = np.random.default_rng(0).dirichlet(np.full(49, 0.5), words)
    caption.attention[:] = maps.reshape(words, 7, 7)
    return caption
