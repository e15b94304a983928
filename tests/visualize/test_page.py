"""The page and the gallery: whole in one file, right to the pixel, usable by everybody."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from showattend.caption import Caption
from showattend.captioner import Captioner
from showattend.errors import ImageError, UserError
from showattend.images import Geometry, ImageSource, Preprocessing
from showattend.visualize.maps import heat_of, overlay
from showattend.visualize.page import (
    LONGEST_SIDE,
    asset,
    gallery_html,
    page_html,
    shell,
    write_gallery_page,
    write_page,
)
from tests.browser import DESK, PACKED, PHONE, findings, fits, pixels_of

GRID = (7, 7)
Visit = Callable[..., Any]


def caption_of(image: ImageSource, text: str, maps: np.ndarray | None = None, fit: str = "squash"):  # type: ignore[no-untyped-def]
    """A caption of an image; its maps are noise unless given."""
    words = text.split(" ") if text else []
    if maps is None:
        maps = np.random.default_rng(len(text)).random((len(words), *GRID), np.float32) ** 4
        maps /= maps.sum((1, 2), keepdims=True)
    _, geometry = Preprocessing(56, fit).load_pixels(image)
    return Caption(
        words=tuple(words),
        log_probs=tuple(-0.5 - 0.1 * t for t in range(len(words) + 1)),
        attention=maps,
        betas=np.linspace(0.3, 0.9, len(words), dtype=np.float32),
        geometry=geometry,
        score=-1.25,
        image=image,
    )


def one_hot(*cells: tuple[int, int]) -> np.ndarray:
    maps = np.zeros((len(cells), *GRID), np.float32)
    for t, cell in enumerate(cells):
        maps[t][cell] = 1
    return maps


def saved(path: Path, size: tuple[int, int], color: int | None = None) -> Path:
    """A photo: noise in large squares, or of one grey."""
    if color is None:
        noise = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR).save(path)
    else:
        Image.new("RGB", size, (color,) * 3).save(path)
    return path


class Parsed(HTMLParser):
    """What a page holds: its elements with their attributes, and the content of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] in ("script", "style") and data.strip():
            self.raw.append((self.elements[-1][1], data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    return saved(tmp_path / "a photo.png", (320, 200))


@pytest.fixture
def candidates(photograph: Path) -> list[Caption]:
    return [
        caption_of(photograph, "a dog runs through the grass"),
        caption_of(photograph, "two dogs play"),
    ]


# The file --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["page", "gallery"])
def test_a_page_loads_nothing_and_runs_only_its_own_script(
    kind: str, candidates: list[Caption]
) -> None:
    text = page_html(candidates) if kind == "page" else gallery_html([candidates, candidates])
    page = Parsed(text)
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:"), (tag, name, value)
        assert tag not in ("iframe", "object", "embed", "base")
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
    assert "@import" not in text
    assert "url(" not in text
    (policy,) = (each["content"] for each in page.all("meta") if "http-equiv" in each)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    (script,) = (data for attributes, data in page.raw if data.startswith("// The viewer"))
    (style,) = (data for attributes, data in page.raw if data.startswith("/* The looks"))
    for rule, content in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_a_page_holds_the_photo_and_the_numbers(candidates: list[Caption]) -> None:
    page = Parsed(page_html(candidates))
    ((attributes, data),) = [each for each in page.raw if each[0].get("id") == "photos"]
    assert attributes["type"] == "application/json"
    (photo,) = json.loads(data)
    assert photo["geometry"] == candidates[0].geometry.to_dict()
    assert photo["name"] == "a photo.png"
    for values, caption in zip(photo["captions"], candidates, strict=True):
        assert values["caption"] == caption.text
        assert values["words"] == list(caption.words)
        assert np.array(values["attention"]) == pytest.approx(caption.attention, abs=1e-6)
        assert values["log_probs"] == pytest.approx(caption.log_probs)
        assert values["betas"] == pytest.approx(caption.betas, abs=1e-6)
    (picture,) = page.all("img")
    assert picture["alt"] == "A dog runs through the grass."
    assert decoded(picture).size == (320, 200)


def decoded(picture: dict[str, str | None]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode((picture["src"] or "").partition(",")[2])))


def test_the_photo_is_upright_and_not_too_large(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    path = tmp_path / "turned.jpg"
    halves = Image.new("RGB", (3000, 1000), "white")
    halves.paste((0, 0, 0), (0, 0, 1500, 1000))  # the left half, which is upright the upper one
    halves.save(path, exif=exif)
    (picture,) = Parsed(page_html([caption_of(path, "a dog")])).all("img")
    image = decoded(picture)
    assert image.size == (round(LONGEST_SIDE / 3), LONGEST_SIDE)
    assert image.getexif().get(0x0112, 1) == 1
    assert max(image.getpixel((100, 100))) < 20  # type: ignore[arg-type, type-var]
    assert min(image.getpixel((100, 900))) > 235  # type: ignore[arg-type, type-var]


@pytest.mark.parametrize("kind", ["page", "gallery"])
def test_no_text_can_break_out(kind: str, tmp_path: Path, photograph: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    name = tmp_path / "<img src=x onerror=alert(1)>.png"
    photograph.rename(name)
    captions = [caption_of(name, f"{evil} <b> &amp; \" ' \u2028 <!--")]
    title = f'"{evil}'
    text = (
        page_html(captions, title=title)
        if kind == "page"
        else gallery_html([captions], title=title)
    )
    plain = page_html([caption_of(name, "a dog")], title="t")
    plain = plain if kind == "page" else gallery_html([[caption_of(name, "a dog")]], title="t")
    found, wanted = Parsed(text), Parsed(plain)
    assert [tag for tag, _ in found.elements] == [tag for tag, _ in wanted.elements]
    ((_, data),) = [each for each in found.raw if each[0].get("id") == "photos"]
    assert json.loads(data)[0]["captions"][0]["words"] == list(captions[0].words)


def test_a_broken_models_numbers_stay_numbers(photograph: Path) -> None:
    broken = replace(
        caption_of(photograph, "a dog", np.full((2, *GRID), np.nan, np.float32)),
        log_probs=(math.nan, -math.inf, -1.0),
        score=math.nan,
    )
    ((_, data),) = [
        each for each in Parsed(page_html([broken])).raw if each[0].get("id") == "photos"
    ]
    values = json.loads(data, parse_constant=pytest.fail)[0]["captions"][0]
    assert values["log_probs"][0] == 0
    assert values["log_probs"][1] < -1e8


def test_mistakes_are_one_line(tmp_path: Path, candidates: list[Caption]) -> None:
    with pytest.raises(UserError, match="no caption"):
        page_html([])
    with pytest.raises(UserError, match="nothing to show"):
        gallery_html([])
    with pytest.raises(UserError, match="does not know its image"):
        page_html([replace(candidates[0], image=None)])
    with pytest.raises(ImageError, match="no such file"):
        page_html([replace(candidates[0], image=tmp_path / "gone.jpg")])
    other = saved(tmp_path / "other.png", (50, 50))
    with pytest.raises(ValueError, match="one photo"):
        page_html([candidates[0], caption_of(other, "a dog")])
    with pytest.raises(UserError, match="cannot be written"):
        write_page(tmp_path, candidates)


def test_files_are_written_whole(tmp_path: Path, candidates: list[Caption]) -> None:
    write_page(tmp_path / "new" / "page.html", candidates, title="A title")
    write_gallery_page(tmp_path / "new" / "all.html", [candidates, candidates[1:]])
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["all.html", "page.html"]
    page = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert "<title>A title</title>" in page
    assert "<h1>A title</h1>" in page
    gallery = (tmp_path / "new" / "all.html").read_text(encoding="utf-8")
    assert "<h1>2 photos</h1>" in gallery
    assert len(Parsed(gallery).all("img")) == 2


def test_the_glow_is_the_figures_own() -> None:
    """The viewer's few colours, joined by lines, are matplotlib's many."""
    import matplotlib

    found = re.search(r'const GLOW =\s*"([0-9a-f]+)"', asset("viewer.js"))
    assert found is not None
    stops = np.array(list(bytes.fromhex(found[1]))).reshape(-1, 3)
    place = np.linspace(0, 1, 256)
    mine = [np.interp(place, np.linspace(0, 1, len(stops)), stops[:, c]) for c in range(3)]
    wanted = matplotlib.colormaps["inferno"](np.linspace(0.3, 0.9, 256))[:, :3] * 255
    assert np.stack(mine, 1) == pytest.approx(wanted, abs=3)


def test_what_a_shell_is_given_stands_in_it() -> None:
    text = shell("T & U", "<p>body</p>", scripts=["let a;", "let b;"], policy="connect-src 'self'")
    assert "<h1>T &amp; U</h1>" in text
    assert "<script>let a;\nlet b;</script>" in text
    assert "; connect-src 'self'\"" in text


# In the browser: pixels ------------------------------------------------------------------------


def opened(visit: Visit, path: Path, captions: list[Caption], **options: Any) -> Any:
    write_page(path, captions)
    tab = visit(path.as_uri(), **options)
    tab.wait_for_selector(".word, .sentence:has-text('(no words)')")
    return tab


def gap(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference (pytest.approx takes seconds for so many numbers)."""
    return float(np.abs(one - other).max())


def slide(tab: Any, name: str, value: int) -> None:
    tab.get_by_label(name).fill(str(value))


def lit_box(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what glows: it is warm, the photo and its dimmed part grey."""
    ys, xs = np.nonzero(pixels[:, :, 0] - pixels[:, :, 2] > 40)
    return xs.min(), ys.min(), xs.max() + 1, ys.max() + 1


@pytest.mark.parametrize(
    ("size", "fit"),
    [
        ((640, 400), "squash"),
        ((400, 640), "squash"),
        ((900, 100), "squash"),
        ((1700, 1300), "squash"),
        ((50, 40), "squash"),
        ((640, 400), "crop"),
        ((400, 640), "pad"),
    ],
)
def test_one_hot_maps_land_within_a_pixel(
    size: tuple[int, int], fit: str, visit: Visit, tmp_path: Path
) -> None:
    cells = [(3, 3), (2, 4), (0, 0), (6, 6)]
    image = saved(tmp_path / "grey.png", size, color=128)
    caption = caption_of(image, "one two three four", one_hot(*cells), fit)
    tab = opened(visit, tmp_path / "page.html", [caption])
    for t, (row, col) in enumerate(cells):
        tab.locator(".word").nth(t).click()
        slide(tab, "Smoothness", 0)
        pixels = pixels_of(tab)
        height, width = pixels.shape[:2]
        geometry = caption.geometry.resized((width, height))
        box = np.array(geometry.cell_box(row, col, GRID))
        box = box.clip(0, [width, height, width, height])
        if box[2] - box[0] < 1 or box[3] - box[1] < 1:
            continue  # a cell on padding, or beside the photo
        assert np.abs(np.array(lit_box(pixels)) - box).max() <= 1
        slide(tab, "Smoothness", 100)
        pixels = pixels_of(tab)
        warm = pixels[:, :, 0] - pixels[:, :, 2]
        if 0 < row < 6 and 0 < col < 6:  # then the glow has its whole shape, around the centre
            glow = np.where(warm > warm.max() / 2, 1.0, 0.0)
            y, x = np.mgrid[:height, :width] + 0.5
            centre = (glow * x).sum() / glow.sum(), (glow * y).sum() / glow.sum()
            wanted = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            if box[0] > 0 and box[1] > 0 and box[2] < width and box[3] < height:
                assert centre == pytest.approx(wanted, abs=1)


@pytest.mark.parametrize(
    ("fit", "size"),
    [
        ("squash", (600, 400)),
        ("crop", (500, 620)),
        ("pad", (640, 300)),
        ("squash", (3, 480)),
        ("pad", (490, 2)),
        ("squash", (480, 480)),
    ],
)
def test_the_browsers_maps_are_the_librarys(
    fit: str, size: tuple[int, int], visit: Visit, tmp_path: Path
) -> None:
    image = saved(tmp_path / "photo.png", size)
    caption = caption_of(image, "a dog", fit=fit)
    tab = opened(visit, tmp_path / "page.html", [caption])
    for smoothness, mode in ((1, "smooth"), (0, "nearest")):
        packed = tab.evaluate(
            f"""([map, geometry, width, height, smoothness]) =>
              ({PACKED})(showattend.heat(map, geometry, width, height, {{ smoothness }}))""",
            [caption.attention[1].tolist(), caption.geometry.to_dict(), *size, smoothness],
        )
        values = np.frombuffer(base64.b64decode(packed), np.float32).reshape(size[::-1])
        wanted = caption.geometry.upsample(caption.attention[1], mode) / caption.attention[1].max()
        assert gap(values, wanted) < 1e-5
    tab.locator(".word").nth(1).click()
    photo = np.asarray(decoded(Parsed(page_html([caption])).all("img")[0]).convert("RGB"))
    wanted = overlay(photo, heat_of(caption, 1, size)).astype(float)
    difference = np.abs(pixels_of(tab) - wanted)
    assert difference.mean() < 1.5
    assert np.quantile(difference, 0.99) < 6  # decoders of JPEG differ by a little


def test_sliders_change_what_they_say(
    visit: Visit, tmp_path: Path, candidates: list[Caption]
) -> None:
    tab = opened(visit, tmp_path / "page.html", candidates)
    photo = pixels_of(tab)
    tab.locator(".word").nth(1).click()
    full = pixels_of(tab)
    assert np.abs(full - photo).mean() > 20
    slide(tab, "Opacity", 0)
    assert gap(pixels_of(tab), photo) == 0
    assert tab.locator("output").first.text_content() == "0 %"
    slide(tab, "Opacity", 50)
    assert gap(pixels_of(tab), (photo + full) / 2) < 1.01
    slide(tab, "Opacity", 100)
    slide(tab, "Smoothness", 0)
    cells = pixels_of(tab)
    slide(tab, "Smoothness", 50)
    between = pixels_of(tab)
    assert np.abs(cells - full).mean() > np.abs(between - full).mean() > 1
    slide(tab, "Smoothness", 100)
    assert gap(pixels_of(tab), full) == 0
    # On one scale, the map with the highest peak stays as it is and the others grow dimmer.
    peaks = candidates[0].attention.max((1, 2))
    tab.get_by_label("One brightness scale").check()
    for t in (int(peaks.argmax()), int(peaks.argmin())):
        tab.locator(".word").nth(t).click()
        common = pixels_of(tab)
        tab.get_by_label("One brightness scale").uncheck()
        own = pixels_of(tab)
        tab.get_by_label("One brightness scale").check()
        assert (gap(common, own) < 1) == (t == peaks.argmax())


def test_a_tiny_photo_can_be_seen(visit: Visit, tmp_path: Path) -> None:
    image = saved(tmp_path / "dot.png", (1, 1), color=200)
    tab = opened(visit, tmp_path / "page.html", [caption_of(image, "a dog")])
    pixels = pixels_of(tab)
    assert min(pixels.shape[:2]) >= 300
    assert pixels.mean() == pytest.approx(200, abs=3)


# In the browser: words -------------------------------------------------------------------------


def shown(tab: Any) -> list[str]:
    return tab.locator(".word.shown").all_text_contents()


def test_pointing_by_mouse_shows_and_leaving_goes_back(
    visit: Visit, tmp_path: Path, candidates: list[Caption]
) -> None:
    tab = opened(visit, tmp_path / "page.html", candidates)
    assert shown(tab) == []
    photo = pixels_of(tab)
    tab.locator(".word").nth(1).hover()
    assert shown(tab) == ["dog"]
    assert "“dog”, word 2 of 6" in tab.locator(".reading").text_content()
    assert "for “dog”" in tab.locator("canvas").get_attribute("aria-label")
    first = pixels_of(tab)
    assert np.abs(first - photo).mean() > 5
    tab.mouse.move(5, 5)
    assert shown(tab) == []
    assert gap(pixels_of(tab), photo) == 0
    tab.locator(".word").nth(1).click()
    tab.locator(".word").nth(4).hover()
    assert shown(tab) == ["the"]
    assert np.abs(pixels_of(tab) - first).mean() > 1
    tab.mouse.move(5, 5)
    assert shown(tab) == ["dog"]
    assert gap(pixels_of(tab), first) == 0
    tab.get_by_role("button", name="Photo only").click()
    assert shown(tab) == []


def test_touching_a_word_shows_its_map(
    visit: Visit, tmp_path: Path, candidates: list[Caption]
) -> None:
    tab = opened(visit, tmp_path / "page.html", candidates, size=PHONE)
    assert fits(tab)
    for t, word in ((1, "dog"), (5, "grass")):
        tab.locator(".word").nth(t).tap()
        assert shown(tab) == [word]
        assert tab.locator(".word").nth(t).get_attribute("aria-pressed") == "true"


def test_the_keyboard_alone_suffices(
    visit: Visit, tmp_path: Path, candidates: list[Caption]
) -> None:
    tab = opened(visit, tmp_path / "page.html", candidates)

    def focused() -> str:
        return tab.evaluate("() => document.activeElement.textContent || document.activeElement.id")

    def press(*keys: str) -> None:
        for key in keys:
            tab.keyboard.press(key)

    press("Tab", "Tab")  # light and dark, then the words
    assert focused() == "A"
    for key, word in (
        ("ArrowRight", "dog"), ("End", "grass"), ("ArrowRight", "grass"), ("ArrowLeft", "the"),
        ("Home", "A"), ("ArrowLeft", "A"), ("ArrowDown", "dog"),
    ):  # fmt: skip
        press(key)
        assert focused() == word
        assert shown(tab) == [word]
    seen = []
    for _ in range(20):
        press("Tab")
        seen.append(focused())
        if seen[-1].startswith("The numbers"):
            break
    assert seen[0] == "Photo only"
    assert "viewer1-opacity" in seen
    assert "viewer1-smoothness" in seen
    assert any("Two dogs play." in each for each in seen)
    press("Enter")
    assert tab.locator("table").is_visible()
    press("Shift+Tab", "Enter")  # back to the last candidate
    assert tab.locator(".sentence").text_content() == "Two dogs play."
    press("Tab", "Tab")
    assert tab.evaluate("() => document.activeElement.getAttribute('aria-label')") == "The numbers"


def test_candidates_bring_their_words_maps_and_numbers(
    visit: Visit, tmp_path: Path, candidates: list[Caption]
) -> None:
    tab = opened(visit, tmp_path / "page.html", candidates)
    tab.locator(".word").first.click()
    before = pixels_of(tab)
    tab.get_by_role("button", name="Two dogs play.").click()
    assert tab.locator(".word").all_text_contents() == ["Two", "dogs", "play"]
    pressed = [
        each.get_attribute("aria-pressed") for each in tab.locator(".candidates button").all()
    ]
    assert pressed == ["false", "true"]
    tab.locator(".word").first.click()
    assert np.abs(pixels_of(tab) - before).mean() > 1
    tab.get_by_text("The numbers behind it").click()
    rows = tab.locator("tbody tr").all()
    assert len(rows) == 4  # three words and the end
    cells = rows[1].locator("th, td").all_text_contents()
    caption = candidates[1]
    assert cells[0] == "dogs"
    assert cells[1] == f"{math.exp(caption.log_probs[1]):.0%}".replace("%", "\u00a0%")
    assert cells[2] == f"\u2212{-caption.log_probs[1]:.3f}"
    assert cells[3] == f"{caption.betas[1]:.3f}"
    most = caption.attention[1].max()
    assert float(cells[4].rstrip("\u00a0%")) == pytest.approx(100 * most, abs=0.51)


@pytest.mark.parametrize(
    ("cell", "where"),
    [((0, 0), "upper left"), ((3, 3), "centre"), ((6, 3), "lower middle"), ((3, 6), "right")],
)
def test_where_is_said_in_words(
    cell: tuple[int, int], where: str, visit: Visit, tmp_path: Path, photograph: Path
) -> None:
    caption = caption_of(photograph, "dog", one_hot(cell))
    tab = opened(visit, tmp_path / "page.html", [caption])
    tab.locator(".word").first.hover()
    text = tab.locator(".reading").text_content()
    assert f"looked most at the {where}, with 100\u00a0% of its attention" in text
    assert tab.locator(".reading").get_attribute("role") == "status"


@pytest.mark.parametrize(
    "text",
    [
        "a man 's dog does n't run",
        "i think i see 'em",
        "'s t.v.",
        "",
        "dog",
        "<b>bold</b> &amp; co",
    ],
)
def test_words_make_the_sentence(text: str, visit: Visit, tmp_path: Path, photograph: Path) -> None:
    caption = caption_of(photograph, text)
    tab = opened(visit, tmp_path / "page.html", [caption])
    assert tab.locator(".sentence").text_content() == (caption.text or "(no words)")
    assert tab.locator(".candidates .text").text_content() == (caption.text or "(no words)")
    assert tab.locator(".word").count() == len(caption.words)


def test_playing_goes_through_the_words_and_stops(
    visit: Visit, tmp_path: Path, candidates: list[Caption]
) -> None:
    write_page(tmp_path / "page.html", candidates)
    tab = visit((tmp_path / "page.html").as_uri())
    tab.clock.install()
    tab.reload()
    tab.wait_for_selector(".word")
    tab.get_by_role("button", name="Play", exact=True).click()
    heard = [shown(tab)[0]]
    for _ in range(5):
        tab.clock.run_for(900)
        heard += shown(tab)
    assert heard == ["A", "dog", "runs", "through", "the", "grass"]
    tab.clock.run_for(900)
    assert tab.get_by_role("button", name="Play", exact=True).is_visible()
    tab.get_by_role("button", name="Play", exact=True).click()
    tab.locator(".word").nth(3).click()  # whoever points at a word has had enough
    tab.clock.run_for(3000)
    assert shown(tab) == ["through"]
    assert tab.get_by_role("button", name="Play", exact=True).is_visible()


# In the browser: everybody ---------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [DESK, PHONE])
def test_axe_finds_nothing_serious(
    size: tuple[int, int], dark: bool, visit: Visit, tmp_path: Path, candidates: list[Caption]
) -> None:
    tab = opened(visit, tmp_path / "page.html", candidates, size=size, dark=dark)
    tab.locator(".word").nth(1).click()
    tab.get_by_text("The numbers behind it").click()
    assert findings(tab) == []
    write_gallery_page(tmp_path / "gallery.html", [candidates] * 3)
    tab = visit((tmp_path / "gallery.html").as_uri(), size=size, dark=dark)
    assert findings(tab) == []
    tab.locator(".card").first.click()
    tab.locator("dialog .word").first.click()
    assert findings(tab) == []
    assert fits(tab)


def test_light_and_dark(visit: Visit, tmp_path: Path, candidates: list[Caption]) -> None:
    def brightness() -> float:
        colour = tab.evaluate("() => getComputedStyle(document.body).backgroundColor")
        return np.mean([float(part) for part in re.findall(r"\d+", colour)[:3]])  # type: ignore[return-value]

    for dark in (False, True):
        tab = opened(visit, tmp_path / "page.html", candidates, dark=dark)
        assert (brightness() < 60) == dark
        tab.get_by_role("button", name="Light" if dark else "Dark").click()
        assert (brightness() < 60) != dark
        tab.get_by_role("button", name="Dark" if dark else "Light").click()
        assert (brightness() < 60) == dark


def test_without_javascript_photo_and_caption_are_there(
    visit: Visit, tmp_path: Path, candidates: list[Caption]
) -> None:
    write_page(tmp_path / "page.html", candidates)
    tab = visit((tmp_path / "page.html").as_uri(), java_script_enabled=False)
    assert tab.get_by_role("img", name="A dog runs through the grass.").is_visible()
    assert tab.locator("p.sentence").text_content() == "A dog runs through the grass."
    assert "drawn by JavaScript" in tab.locator("noscript").inner_html()


# In the browser: the gallery -------------------------------------------------------------------


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    photos = []
    for number, text in enumerate(("a dog runs", "a red car", "two dogs play")):
        image = saved(tmp_path / f"photo {number}.png", (300 + 100 * number, 200))
        photos.append([caption_of(image, text), caption_of(image, f"{text} outside")])
    write_gallery_page(tmp_path / "gallery.html", photos, title="Holiday")
    return tmp_path / "gallery.html"


def test_a_gallery_opens_photos_by_keyboard(gallery: Path, visit: Visit) -> None:
    tab = visit(gallery.as_uri())
    assert tab.locator(".card").count() == 3
    for key in ("Tab", "Tab", "Tab", "Tab"):  # theme, finder, first card, second card
        tab.keyboard.press(key)
    tab.keyboard.press("Enter")
    dialog = tab.get_by_role("dialog", name="photo 1.png")
    dialog.wait_for()
    tab.wait_for_selector("dialog .word")
    assert tab.locator("dialog .sentence").text_content() == "A red car."
    assert pixels_of(tab, "dialog canvas").shape == (400, 800, 3)  # twice 400 × 200
    dialog.get_by_role("button", name="Next").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("dialog .sentence:has-text('Two dogs play')")
    assert pixels_of(tab, "dialog canvas").shape == (200, 500, 3)
    assert dialog.page.get_by_role("button", name="Next").is_disabled()
    tab.keyboard.press("Escape")
    tab.wait_for_selector("dialog", state="hidden")
    # The browser tells the page a little later, and only then the page moves the focus.
    tab.wait_for_function("() => document.activeElement.textContent.includes('Two dogs play.')")


def test_a_gallery_finds(gallery: Path, visit: Visit) -> None:
    tab = visit(gallery.as_uri())
    tab.get_by_label("Find in captions").fill("DOG")
    visible = [each for each in tab.locator(".card").all() if each.is_visible()]
    assert len(visible) == 2
    assert tab.locator("#found").text_content() == "2 of 3 photos"
    visible[0].click()
    tab.wait_for_selector("dialog .word")
    tab.get_by_role("button", name="Next").click()  # passes over the one that is hidden
    tab.wait_for_selector("dialog .sentence:has-text('Two dogs play')")
    tab.get_by_role("button", name="Close").click()
    tab.get_by_label("Find in captions").fill("")
    assert tab.locator(".card").last.is_visible()
    assert tab.locator("#found").text_content() == "3 of 3 photos"


def test_a_real_caption_on_a_page(
    untrained: Captioner, photos: list[Path], visit: Visit, tmp_path: Path
) -> None:
    """What a captioner gives, as it gives it."""
    best = untrained.caption(photos[0], beam_size=3, n_best=3)
    ranked = [best, *best.alternatives]
    tab = opened(visit, tmp_path / "page.html", ranked)
    assert tab.locator(".candidates li").count() == len(ranked)
    assert isinstance(best.geometry, Geometry)
    assert pixels_of(tab).shape == (512, 512, 3)
