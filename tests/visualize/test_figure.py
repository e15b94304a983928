"""The paper's grid and its kin: heat on the right pixels, the right panels, what they say."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.images.upright import open_image
from showattend.system.quiet import quiet
from showattend.visualize import figure_bytes
from showattend.visualize.figure import draw_figure
from showattend.visualize.heat import STYLES, fitted
from showattend.visualize.layout import LAYOUTS
from tests.visualize.drawing import (
    CELLS,
    SIZES,
    brightness,
    caption_of,
    landing,
    plain,
    shaded,
)


def panels_of(caption: Caption, **options: object) -> list[np.ndarray]:
    """The pictures of a drawn figure, read back from its pixels by the axes' places."""
    figure = draw_figure(caption, **{"layout": "grid", **options})  # type: ignore[arg-type]
    figure.canvas.draw()
    page = np.asarray(figure.canvas.buffer_rgba())[:, :, :3]  # type: ignore[attr-defined]
    height, width = page.shape[:2]
    pictures = []
    for axes in figure.axes:
        x0, y0, x1, y1 = axes.get_position().extents
        top, bottom = round((1 - y1) * height), round((1 - y0) * height)
        pictures.append(page[top:bottom, round(x0 * width) : round(x1 * width)])
    return pictures


# --- geometry ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("style", STYLES)
def test_panels_show_the_heat_where_the_cell_is(size: tuple[int, int], style: str) -> None:
    photo, *panels = panels_of(caption_of(shaded(*size), CELLS), style=style)
    assert photo.shape[1] / photo.shape[0] == pytest.approx(size[0] / size[1], rel=0.02)
    for cell, panel in zip(CELLS, panels, strict=True):
        assert panel.shape == photo.shape
        assert landing(photo, panel, cell, style=style) == (0, 0)


@pytest.mark.parametrize("layout", ["strip", "word"])
@pytest.mark.parametrize("size", [(320, 200), (60, 400), (600, 90)])
def test_other_layouts_show_it_there_too(layout: str, size: tuple[int, int]) -> None:
    photo = shaded(*size)
    pictures = panels_of(caption_of(photo, CELLS), layout=layout)
    if layout == "strip":
        photo, *pictures = pictures
    else:
        assert pictures[0].shape[0] / size[1] == pytest.approx(pictures[0].shape[1] / size[0], 0.02)
        photo = fitted(Image.fromarray(photo), pictures[0].shape[1::-1])
    for cell, panel in zip(CELLS, pictures, strict=True):
        assert landing(photo, panel, cell) == (0, 0)


def test_the_photo_is_the_photo() -> None:
    photo, _ = panels_of(caption_of(plain(320, 200), [(3, 3)]))
    assert (photo == 128).all(), "to the last pixel"
    (word,) = panels_of(caption_of(plain(700, 500), [(3, 3)]), layout="word")
    assert word.shape[:2] == (500, 700), "a single word is as large as the photo"


@pytest.mark.parametrize("size", [(1, 1), (3, 2)])
def test_panels_of_tiny_images(size: tuple[int, int]) -> None:
    photo, panel = panels_of(caption_of(shaded(*size), [(2, 4)]))
    assert landing(photo, panel, (2, 4)) == (0, 0)


def test_panels_of_a_turned_file(tmp_path: Path) -> None:
    """A phone's portrait: stored lying, shown upright; a red patch tells which way is up."""
    stored = plain(300, 200)
    stored[150:200, 0:60] = (255, 0, 0)  # stored at the lower left: upright, at the upper left
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "phone.png"
    Image.fromarray(stored).save(path, exif=exif)
    photo, panel = panels_of(caption_of(path, [(0, 0)]))
    height, width = photo.shape[:2]
    assert height > width
    red = (photo[:, :, 0] > 200) & (photo[:, :, 1] < 50)
    y, x = np.nonzero(red)
    assert x.max() / width == pytest.approx(0.25, abs=0.02)
    assert y.max() / height == pytest.approx(0.2, abs=0.02)
    change = brightness(panel)
    assert change[: height // 8, : width // 8].mean() > change[height // 2 :, :].mean() + 30


@pytest.mark.parametrize("size", [(320, 240), (200, 400)])
def test_panels_after_crop_and_padding(size: tuple[int, int]) -> None:
    """Sizes that are padded by whole pixels of the network's input, which is 56 pixels wide."""
    for fit in ("crop", "pad"):
        photo, panel = panels_of(caption_of(shaded(*size), [(2, 4)], fit))
        found = landing(photo, panel, (2, 4), fit=fit, aspect=size[0] / size[1])
        assert np.abs(found).max() <= 0.5, fit
    # What a crop left out stays cold.
    panel = brightness(panels_of(caption_of(plain(*size), [(3, 0), (0, 3)], "crop"))[1])
    assert panel[0, 0] == panel.min()


# --- content -----------------------------------------------------------------------------------


def test_words_choose_panels() -> None:
    caption = caption_of(plain(90, 60), [(0, 0), (3, 3), (6, 6), (1, 1)], words="a dog chases a")
    assert len(panels_of(caption)) == 5
    assert len(panels_of(caption, words=["A "])) == 3, "every place where the word stands"
    photo, panel = panels_of(caption, words=["dog"])
    assert landing(photo, panel, (3, 3)) == (0, 0)
    with pytest.raises(UserError, match="not in the caption: ball, cat; its words are: a, dog, ch"):
        draw_figure(caption, words=["dog", "cat", "ball"])


def texts_of(caption: Caption, **options: object) -> list[str]:
    figure = draw_figure(caption, **{"layout": "grid", **options})  # type: ignore[arg-type]
    return [text.get_text() for text in figure.texts]


def test_texts_of_the_figure() -> None:
    caption = caption_of(plain(90, 60), [(0, 0), (3, 3)], words="$5_a dog")
    caption.attention[0] = 1 / 49
    texts = texts_of(caption)
    assert {caption.text, "$5_a", "dog", "37% · looked everywhere", "37%"} <= set(texts)
    assert "half of the attention takes more than 20% of the photo" in " ".join(texts)
    assert not {"β", "H"} & set(" ".join(texts)), "only where they are asked for"
    texts = texts_of(caption, details=True)
    assert {"37% · looked everywhere · β 0.50 · H 5.6", "37% · β 0.50 · H 0.0"} <= set(texts)
    assert "0 (one cell) to 5.6 bits" in " ".join(texts)
    assert "most" in texts, "beside the key"
    common = texts_of(caption, scale="common")
    assert "100% of the map in one cell of 7×7" in " ".join(common)
    assert "100%" in common


def test_unsure_words_are_said_to_be() -> None:
    caption = replace(caption_of(plain(90, 60), [(0, 0), (3, 3)], words="a dog"), unsure_below=0.5)
    assert {"37%", "37% · unsure"} <= set(texts_of(caption))


def test_a_model_without_a_gate_has_none_in_its_figure() -> None:
    caption = caption_of(plain(90, 60), [(0, 0), (3, 3)], words="a dog")
    texts = texts_of(replace(caption, betas=None), details=True)
    assert "37% · H 0.0" in texts
    assert "β" not in " ".join(texts)
    assert "β" in " ".join(texts_of(caption, details=True))


@pytest.mark.parametrize("layout", [each for each in LAYOUTS if each != "words"])
def test_the_sentinel_is_beside_every_word(layout: str) -> None:
    """Also of words that have no panel: the model looks least for "of" and "the"."""
    caption = caption_of(plain(320, 200), [(0, 0), (3, 3), (5, 1)], words="a big dog")
    parts = caption.attention[:, None]
    caption = replace(caption, parts=parts, part_names=("head 1",))
    shares = {"12%": 0.12, "34%": 0.34, "56%": 0.56}
    kept = replace(caption, sentinel=np.array(list(shares.values()), np.float32))
    chosen = {"words": caption.words} if layout == "parts" else {}
    texts = [text.get_text() for text in draw_figure(kept, layout=layout, **chosen).texts]
    if layout == "matrix":  # as squares
        assert "sentinel" in texts
    else:
        assert all(any(share in text for text in texts) for share in shares)
    note = " ".join(texts)
    assert "what the model knew without looking" in note
    without = [text.get_text() for text in draw_figure(caption, layout=layout, **chosen).texts]
    assert "sentinel" not in " ".join(without).lower()
    assert "12%" not in " ".join(without)


@pytest.mark.parametrize("text", ["a of in on a of in on the man", "גדול כלב של ילד על"])
def test_shares_below_short_words_do_not_touch(text: str) -> None:
    words = text.split()
    caption = caption_of(plain(320, 200), [(3, 3)] * len(words), words=text)
    caption = replace(caption, sentinel=np.ones(len(words), np.float32))
    figure = draw_figure(caption)
    renderer = figure.canvas.get_renderer()
    boxes = [each.get_window_extent(renderer) for each in figure.texts if each.get_text() == "100%"]
    assert len(boxes) == len(words)
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


def test_one_scale_leaves_a_flat_map_dim() -> None:
    caption = caption_of(plain(77, 77), [(3, 3), (3, 3)])
    caption.attention[1] = 1 / 49
    for style in STYLES:
        _, _, own = panels_of(caption, scale="word", style=style)
        _, pointed, shared = panels_of(caption, scale="common", style=style)
        assert brightness(shared).max() < brightness(pointed).max() - 60
        dark, light = brightness(shared).min(), brightness(pointed).max()
        assert brightness(own).max() < dark + 0.4 * (light - dark), "not stretched"


def test_columns_and_width() -> None:
    caption = caption_of(plain(90, 60), [(0, 0)] * 5)
    figure = draw_figure(caption, layout="grid", columns=2, width=800)
    lefts = {round(axes.get_position().x0, 4) for axes in figure.axes}
    assert len(lefts) == 2
    assert round(figure.get_size_inches()[0] * figure.dpi) <= 800
    for options in (
        {"columns": 0, "layout": "grid"},
        {"columns": 2, "layout": "strip"},
        {"width": 10},
        {"alpha": 2.0, "style": "heat"},
        {"colormap": "rainbowish", "style": "heat"},
        {"style": "dark"},
        {"theme": "grey"},
        {"columns": 2, "layout": "summary"},
        {"columns": 2, "layout": "matrix"},
        {"layout": "parts"},
        {"layout": "heap"},
        {"scale": "log"},
    ):
        with pytest.raises(UserError):
            draw_figure(caption, **options)  # type: ignore[arg-type]


def test_what_stands_below_a_word_breaks_between_its_parts() -> None:
    """In a strip: "99%" and "looked everywhere", not "99% · looked" and "everywhere"."""
    even = np.full((7, 7), 1 / 49, np.float32)
    caption = replace(caption_of(plain(320, 320), [(0, 0)] * 3), attention=np.stack([even] * 3))
    texts = [text.get_text() for text in draw_figure(caption, layout="strip").texts]
    assert texts.count("looked everywhere") == 3
    assert not any("·" in text for text in texts)


@pytest.mark.parametrize("layout", ["summary", "grid", "strip"])
def test_a_photo_that_melts_into_the_page_has_a_frame(layout: str) -> None:
    """A white one on white, or a dark one on the dark theme; its own pixels stay as they are."""
    from matplotlib.patches import Rectangle

    def frames(light: int, theme: str) -> int:
        photo = np.full((200, 320, 3), light, np.uint8)
        figure = draw_figure(caption_of(photo, CELLS[:2]), layout=layout, theme=theme)
        return sum(isinstance(each, Rectangle) for each in figure.artists)

    assert frames(254, "light") == frames(20, "dark") == 3
    assert frames(254, "dark") == frames(20, "light") == frames(128, "light") == 0
    white = caption_of(np.full((200, 320, 3), 254, np.uint8), CELLS[:2])
    assert (panels_of(white, layout=layout)[0] == 254).mean() > 0.7


def test_figures_too_high_are_refused() -> None:
    caption = caption_of(plain(40, 100), [(0, 0)] * 20)
    with pytest.raises(UserError, match="more columns"):
        draw_figure(caption, layout="grid", columns=1, width=3000)


@pytest.mark.parametrize("layout", [each for each in LAYOUTS if each not in ("parts", "words")])
@pytest.mark.parametrize(
    ("size", "details"),
    [((60, 360), True), ((360, 60), False), ((40, 30), True), ((400, 300), False)],
)
def test_long_and_strange_captions_draw(layout: str, details: bool, size: tuple[int, int]) -> None:
    words = "supercalifragilisticexpialidocious " * 3 + "犬 $x^2$ \\frac " * 6
    caption = caption_of(plain(*size), [(1, 1)] * 21, words=words)
    assert figure_bytes(caption, layout=layout), "without a warning of the glyph that is missing"
    figure = draw_figure(caption, layout=layout, details=details)
    width, height = figure.canvas.get_width_height()
    assert width <= 1600 or layout == "word"
    for text in figure.texts:
        with quiet():
            box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= width + 1
        assert box.y0 >= 0
        assert box.y1 <= height


@pytest.mark.parametrize("layout", ["grid", "strip"])
@pytest.mark.parametrize("size", [(320, 200), (40, 400)])
def test_captions_from_the_right_have_their_panels_from_the_right(
    layout: str, size: tuple[int, int]
) -> None:
    words = "كلب يركض في حديقة كبيرة"
    caption = caption_of(shaded(*size), CELLS, words=words)
    figure = draw_figure(caption, layout=layout)
    photo, *panels = panels_of(caption, layout=layout)
    for cell, panel in zip(CELLS, panels, strict=True):
        assert landing(photo, panel, cell) == (0, 0)
    boxes = [axes.get_position() for axes in figure.axes]
    first_row = [box for box in boxes if box.y0 == boxes[0].y0]
    assert len(first_row) > 1
    assert [box.x0 for box in first_row] == sorted((box.x0 for box in first_row), reverse=True)
    width = figure.get_size_inches()[0] * figure.dpi
    with quiet():
        labels = {
            text.get_text(): text.get_window_extent()
            for text in figure.texts
            if text.get_text() in words.split()
        }
    # A word begins where its panel does, at the right, also if the photo is narrow.
    for word, box in zip(words.split(), boxes[1:], strict=True):
        assert labels[word].x1 == pytest.approx(box.x1 * width, abs=3)
    wide = draw_figure(caption_of(shaded(*size), CELLS), layout=layout).axes[0].get_position()
    assert wide.x0 < 0.1 < 0.8 < boxes[0].x1


# --- surroundings ---------------------------------------------------------------------------------


def test_images_that_are_gone_or_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(plain(90, 60)).save(path)
    caption = caption_of(path, [(0, 0)])
    Image.fromarray(plain(60, 90)).save(path)
    with pytest.raises(UserError, match="60×90 pixels now, the captioned one had 90×60"):
        figure_bytes(caption)
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        figure_bytes(caption)


def test_users_matplotlib_settings_do_not_matter() -> None:
    import matplotlib

    caption = caption_of(plain(90, 60), [(2, 3), (3, 3)])
    expected = {suffix: figure_bytes(caption, suffix) for suffix in (".png", ".svg", ".pdf")}
    changed = {
        "savefig.bbox": "tight",
        "savefig.dpi": 30,
        "figure.dpi": 40,
        "image.origin": "lower",
        "font.size": 30,
        "figure.facecolor": "black",
        "text.color": "red",
        "image.interpolation": "bilinear",
        "svg.fonttype": "none",
        "svg.hashsalt": "mine",
        "pdf.fonttype": 42,
        "pdf.compression": 0,
        "figure.autolayout": True,
    }
    with matplotlib.rc_context(changed):
        for suffix, content in expected.items():
            assert figure_bytes(caption, suffix) == content, suffix
        assert matplotlib.rcParams["svg.hashsalt"] == "mine"


def test_free_photographs_are_small_and_sourced() -> None:
    photos = Path(__file__).parents[2] / "assets/photos"
    for path in photos.glob("*.jpg"):
        assert path.stat().st_size < 100_000
        assert max(open_image(path).size) <= 512
        assert path.name in (photos / "SOURCES.md").read_text(encoding="utf-8")
