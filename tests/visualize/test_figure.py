"""The figure: heat on the right pixels, panels for the right words, files that are whole."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showattend.caption import Caption
from showattend.errors import UserError
from showattend.images import ImageSource, Preprocessing, open_image
from showattend.quiet import quiet
from showattend.visualize import FORMS, check_output, figure_bytes, overlay, save_figure
from showattend.visualize.figure import draw_figure, lay_out
from showattend.visualize.maps import heat_of

GRID = (7, 7)


def caption_of(
    image: ImageSource, cells: list[tuple[int, int]], fit: str = "squash", words: str | None = None
) -> Caption:
    """A caption whose words look at one cell each."""
    attention = np.zeros((len(cells), *GRID), np.float32)
    for t, cell in enumerate(cells):
        attention[t][cell] = 1
    spoken = words.split() if words is not None else [f"word{t}" for t in range(len(cells))]
    _, geometry = Preprocessing(56, fit).load_pixels(image)
    return Caption(
        words=tuple(spoken),
        log_probs=(-1.0,) * (len(cells) + 1),
        attention=attention,
        betas=np.full(len(cells), 0.5, np.float32),
        geometry=geometry,
        score=-1.0,
        image=image,
    )


def plain(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def brightness(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(float) @ [0.299, 0.587, 0.114]


def bright_centre(pixels: np.ndarray) -> tuple[float, float]:
    """The centre (x, y), as shares of the picture, of what is brighter than the rest."""
    light = brightness(pixels)
    light = np.where(light > (light.max() + light.min()) / 2, 1.0, 0.0)
    y, x = np.mgrid[: light.shape[0], : light.shape[1]] + 0.5
    share_x = float((light * x).sum() / light.sum() / light.shape[1])
    return share_x, float((light * y).sum() / light.sum() / light.shape[0])


def panels_of(caption: Caption, **options: object) -> list[np.ndarray]:
    """The pictures of a drawn figure, read back from its pixels by the axes' places."""
    figure = draw_figure(caption, **options)  # type: ignore[arg-type]
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


@pytest.mark.parametrize("size", [(320, 200), (200, 320), (900, 100), (224, 224)])
@pytest.mark.parametrize("cell", [(3, 3), (1, 5), (5, 2)])
def test_panels_show_the_heat_where_the_cell_is(
    size: tuple[int, int], cell: tuple[int, int]
) -> None:
    photo, panel = panels_of(caption_of(plain(*size), [cell]))
    assert (photo == 128).all(), "the photo's panel is the photo, to the last pixel"
    assert panel.shape == photo.shape
    assert photo.shape[1] / photo.shape[0] == pytest.approx(size[0] / size[1], rel=0.02)
    x, y = bright_centre(panel)
    assert x == pytest.approx((cell[1] + 0.5) / 7, abs=0.01)
    assert y == pytest.approx((cell[0] + 0.5) / 7, abs=0.015)


@pytest.mark.parametrize("size", [(1, 1), (3, 2)])
def test_panels_of_tiny_images(size: tuple[int, int]) -> None:
    _, panel = panels_of(caption_of(plain(*size), [(2, 4)]))
    x, y = bright_centre(panel)
    assert x == pytest.approx(4.5 / 7, abs=0.01)
    assert y == pytest.approx(2.5 / 7, abs=0.01)


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


@pytest.mark.parametrize("size", [(320, 200), (200, 320)])
def test_panels_after_crop_and_padding(size: tuple[int, int]) -> None:
    """The expected places are worked out here from what the two words mean."""
    width, height = size
    cell = (2, 4)
    for fit, side in (("crop", min(size)), ("pad", max(size))):
        _, panel = panels_of(caption_of(plain(*size), [cell], fit))
        x, y = bright_centre(panel)
        expected_x = ((width - side) / 2 + (cell[1] + 0.5) / 7 * side) / width
        expected_y = ((height - side) / 2 + (cell[0] + 0.5) / 7 * side) / height
        assert x == pytest.approx(expected_x, abs=0.02), fit
        assert y == pytest.approx(expected_y, abs=0.02), fit
    # What a crop left out stays cold.
    panel = brightness(panels_of(caption_of(plain(*size), [(3, 0), (0, 3)], "crop"))[1])
    assert panel[0, 0] == panel.min()


def test_overlay_keeps_the_pixels_apart() -> None:
    """One hot pixel changes one pixel; more heat is more light, on any grey."""
    heat = np.zeros((5, 8), np.float32)
    heat[1, 6] = 1
    cold = overlay(plain(8, 5), np.zeros((5, 8)))
    drawn = overlay(plain(8, 5), heat)
    changed = (drawn != cold).any(2)
    assert changed[1, 6]
    assert changed.sum() == 1
    for grey in (0, 60, 128, 200, 255):
        ramp = np.linspace(0, 1, 50)[None]
        light = brightness(overlay(np.full((1, 50, 3), grey, np.uint8), ramp))[0]
        assert light[-1] > light[0] + 50
        assert (np.diff(light) > -1.5).all(), "no rim darker than its surroundings"
    assert drawn.dtype == np.uint8


# --- content -----------------------------------------------------------------------------------


def test_scales() -> None:
    caption = caption_of(plain(77, 77), [(3, 3), (3, 3)])
    caption.attention[1] = 1 / 49
    size = caption.geometry.image_size
    assert heat_of(caption, 1, size, "word").max() == pytest.approx(1)
    assert heat_of(caption, 1, size, "common").max() == pytest.approx(1 / 49)
    assert heat_of(caption, 0, size, "common").max() == pytest.approx(1)
    with pytest.raises(UserError, match="word, common"):
        figure_bytes(caption, scale="log")


def test_words_choose_panels() -> None:
    caption = caption_of(plain(90, 60), [(0, 0), (3, 3), (6, 6), (1, 1)], words="a dog chases a")
    assert len(panels_of(caption)) == 5
    assert len(panels_of(caption, words=["A "])) == 3, "every place where the word stands"
    _, panel = panels_of(caption, words=["dog"])
    assert bright_centre(panel) == pytest.approx((0.5, 0.5), abs=0.02)
    with pytest.raises(UserError, match="not in the caption: ball, cat; its words are: a, dog, ch"):
        draw_figure(caption, words=["dog", "cat", "ball"])


def test_texts_of_the_figure() -> None:
    caption = caption_of(plain(90, 60), [(0, 0), (3, 3)], words="$5_a dog")
    texts = [text.get_text() for text in draw_figure(caption).texts]
    assert {"$5_a", "dog", "β 0.50"} <= set(texts)
    assert caption.text in texts
    assert any("its own maximum" in text for text in texts)
    common = [text.get_text() for text in draw_figure(caption, scale="common").texts]
    assert "100% of the attention in one cell of 7×7" in " ".join(common)


@pytest.mark.parametrize("count", [0, 1, 2, 12, 25])
@pytest.mark.parametrize(
    "size", [(300, 200), (200, 300), (2000, 100), (1, 3000), (3000, 1), (1, 1)]
)
def test_layout_has_no_overlaps(count: int, size: tuple[int, int]) -> None:
    layout = lay_out(count + 1, size[0] / size[1], 1600, None)
    assert layout.width <= 1600
    assert min(layout.photo) >= 1
    places = [layout.corner(index) for index in range(count + 1)]
    for i, (x, y) in enumerate(places):
        assert x + layout.photo[0] <= layout.width
        for other_x, other_y in places[:i]:
            apart_x = abs(x - other_x) >= layout.photo[0]
            apart_y = abs(y - other_y) >= layout.photo[1] + 30  # with room for the word
            assert apart_x or apart_y


def test_columns_and_width() -> None:
    caption = caption_of(plain(90, 60), [(0, 0)] * 5)
    figure = draw_figure(caption, columns=2, width=800)
    lefts = {round(axes.get_position().x0, 4) for axes in figure.axes}
    assert len(lefts) == 2
    assert round(figure.get_size_inches()[0] * figure.dpi) <= 800
    for options in ({"columns": 0}, {"width": 10}, {"alpha": 2.0}, {"colormap": "rainbowish"}):
        with pytest.raises(UserError):
            draw_figure(caption, **options)  # type: ignore[arg-type]


def test_figures_too_high_are_refused() -> None:
    caption = caption_of(plain(40, 100), [(0, 0)] * 20)
    with pytest.raises(UserError, match="more columns"):
        draw_figure(caption, columns=1)


def test_long_and_strange_captions_draw() -> None:
    words = "supercalifragilisticexpialidocious " * 3 + "犬 $x^2$ \\frac " * 6
    caption = caption_of(plain(60, 160), [(1, 1)] * 21, words=words)
    assert figure_bytes(caption), "without a warning of the glyph that is missing"
    figure = draw_figure(caption)
    width, height = figure.canvas.get_width_height()
    for text in figure.texts:
        with quiet():
            box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= width + 1
        assert box.y0 >= 0
        assert box.y1 <= height


# --- files -------------------------------------------------------------------------------------


def test_forms(tmp_path: Path) -> None:
    caption = caption_of(plain(90, 60), [(0, 0), (3, 3)])
    starts = {
        ".png": b"\x89PNG",
        ".jpg": b"\xff\xd8",
        ".jpeg": b"\xff\xd8",
        ".webp": b"RIFF",
        ".pdf": b"%PDF",
        ".svg": b"<?xml",
    }
    assert set(starts) <= set(FORMS)
    for suffix, start in starts.items():
        path = tmp_path / "new" / f"figure{suffix.upper()}"
        save_figure(caption, path)
        assert path.read_bytes().startswith(start)
        if suffix != ".svg":  # matplotlib draws the ids in it by lot
            assert figure_bytes(caption, suffix) == path.read_bytes(), "repeatable"
    assert len(list((tmp_path / "new").iterdir())) == len(starts), "nothing left aside"


def test_unknown_forms_are_refused(tmp_path: Path) -> None:
    caption = caption_of(plain(9, 6), [(0, 0)])
    for name in ("figure.docx", "figure"):
        with pytest.raises(UserError, match=r"\.png, \.jpg") as caught:
            save_figure(caption, tmp_path / name)
        assert name in str(caught.value)
    assert check_output("a.PNG") == ".png"
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caption = caption_of(plain(9, 6), [(0, 0)])
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        save_figure(caption, tmp_path / "file" / "figure.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        save_figure(caption, tmp_path / "folder.png")

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    target = tmp_path / "figure.png"
    target.write_bytes(b"the old one")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        save_figure(caption, target)
    assert target.read_bytes() == b"the old one"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder.png", "figure.png"}


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
    expected = figure_bytes(caption)
    changed = {
        "savefig.bbox": "tight",
        "savefig.dpi": 30,
        "figure.dpi": 40,
        "image.origin": "lower",
        "font.size": 30,
        "figure.facecolor": "black",
        "text.color": "red",
        "image.interpolation": "bilinear",
        "figure.autolayout": True,
    }
    with matplotlib.rc_context(changed):
        assert figure_bytes(caption) == expected


def test_free_photographs_draw_in_time() -> None:
    """Twelve words take well under the 1.5 s allowed; the bound here leaves room for load."""
    photos = Path(__file__).parents[2] / "assets/photos"
    for path in photos.glob("*.jpg"):
        assert path.stat().st_size < 100_000
        assert max(open_image(path).size) <= 512
        assert path.name in (photos / "SOURCES.md").read_text(encoding="utf-8")
    caption = caption_of(photos / "coffee.jpg", [(3, 3)] * 12)
    figure_bytes(caption)
    start = time.process_time()
    figure_bytes(caption)
    assert time.process_time() - start < 3
