"""The page in the browser: right to the pixel, usable by everybody."""

from __future__ import annotations

import base64
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from showattend.caption import Caption
from showattend.caption_forms import Gap
from showattend.exceptions import UserError
from showattend.visualize.focus import full_share, half_area
from showattend.visualize.heat import Heat, heat_of, overlay
from showattend.visualize.page import (
    page_html,
    write_page,
)
from tests.browser import DESK, NARROW, PACKED, PHONE, findings, fits, fits_in, pixels_of
from tests.visualize.pages import (
    GRID,
    Parsed,
    Visit,
    caption_of,
    decoded,
    gallery_html,
    gap,
    one_hot,
    opened,
    saved,
    shown,
    shows,
    slide,
)
from tests.visualize.pages import (
    candidates as candidates,
)
from tests.visualize.pages import (
    photograph as photograph,
)

# In the browser: pixels ------------------------------------------------------------------------


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
        left, top, right, bottom = geometry.box
        cell = np.array([col / GRID[1], row / GRID[0], (col + 1) / GRID[1], (row + 1) / GRID[0]])
        box = np.array([left, top] * 2) + cell * ([right - left, bottom - top] * 2)
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


def test_a_picker_shows_each_part(visit: Visit, tmp_path: Path) -> None:
    image = saved(tmp_path / "grey.png", (640, 400), color=128)
    maps = one_hot((1, 1), (5, 5))
    spread = np.full((2, *GRID), 1 / 49, np.float32)
    caption = replace(
        caption_of(image, "a dog", maps),
        parts=np.stack([maps[::-1], spread], 1),
        part_names=("head 1", "head 2"),
        sentinel=np.array([0.25, 0.75]),
    )
    tab = opened(visit, tmp_path / "page.html", [caption])
    tab.locator(".word").nth(1).click()
    picker = tab.get_by_label("Map", exact=True)
    assert picker.locator("option").all_text_contents() == ["all together", "head 1", "head 2"]
    photo = np.full((400, 640, 3), 128, np.uint8)
    for name, map_HW in (("all together", maps[1]), ("head 1", maps[0]), ("head 2", spread[1])):
        picker.select_option(name)
        heat = Heat(map_HW, caption.geometry, full_share(map_HW)).at((640, 400))
        assert np.abs(pixels_of(tab) - overlay(photo, heat)).mean() < 1.5, name
    text = tab.locator(".reading").text_content()
    assert "(head 2): looked everywhere" in text
    assert "75\u00a0% kept for the sentinel" in text
    tab.get_by_text("The numbers behind it").click()
    assert "Sentinel" in tab.locator("thead").text_content()
    assert findings(tab) == []
    plain = opened(visit, tmp_path / "plain.html", [caption_of(image, "a dog", maps)])
    assert not plain.get_by_label("Map", exact=True).is_visible()


def test_small_multiples_show_each_part(visit: Visit, tmp_path: Path) -> None:
    """One small picture for each head; a click or Enter shows it on the photo."""
    image = saved(tmp_path / "grey.png", (640, 400), color=128)
    cells = [(1, 1), (5, 5), (1, 5), (5, 1)]
    maps = one_hot((3, 3), (3, 3))
    heads = np.stack([one_hot(*cells), one_hot(*cells[::-1])])
    names = ("all together", *(f"layer {n // 2 + 1}, head {n % 2 + 1}" for n in range(4)))
    caption = replace(caption_of(image, "a dog", maps), parts=heads, part_names=names[1:])
    other = caption_of(image, "a cat here", one_hot(*cells[:3]))
    tab = opened(visit, tmp_path / "page.html", [caption, other], size=NARROW)
    multiples = tab.get_by_role("toolbar", name="The word's maps")
    assert not multiples.is_visible(), "no word is chosen"
    tab.locator(".word").nth(1).tap()
    assert multiples.locator("button span").all_text_contents() == list(names)
    assert fits(tab)
    for button in multiples.locator("button").all():  # nothing hangs out of its button
        outer, inner = button.bounding_box(), button.locator("span").bounding_box()
        assert inner["y"] + inner["height"] <= outer["y"] + outer["height"]
    small = multiples.locator("button canvas")
    size = [int(small.first.get_attribute(side)) for side in ("width", "height")]
    assert size == [128, 80]
    photo = np.full((80, 128, 3), 128, np.uint8)
    for number, map_HW in enumerate([maps[1], *heads[1]], 1):
        heat = Heat(map_HW, caption.geometry, full_share(map_HW)).at((128, 80))
        seen = pixels_of(tab, f".multiples button:nth-child({number}) canvas")
        assert np.abs(seen - overlay(photo, heat)).mean() < 1.5, number
    # The middle of cell (5, 5) is in the lower right third, that of (1, 1) in the upper left.
    labels = [each.get_attribute("aria-label") for each in multiples.locator("button").all()]
    assert labels[0] == "all together: most at the centre"
    assert labels[1] == "layer 1, head 1: most at the lower left"
    assert labels[4] == "layer 2, head 2: most at the upper left"

    def picked() -> list[str]:
        chosen = multiples.locator("button[aria-pressed=true] span").all_text_contents()
        (picker,) = tab.get_by_label("Map", exact=True).locator("option:checked").all()
        assert chosen == [picker.text_content()]
        return chosen

    assert picked() == ["all together"]
    multiples.locator("button").nth(2).tap()
    assert picked() == ["layer 1, head 2"]
    assert (
        "(layer 1, head 2): looked most at the upper right"
        in tab.locator(".reading").text_content()
    )
    for key in ("ArrowRight", "End", "ArrowRight", "Enter"):
        tab.keyboard.press(key)
    assert picked() == ["layer 2, head 2"]
    heat = Heat(heads[1, 3], caption.geometry, full_share(heads[1, 3])).at((640, 400))
    assert np.abs(pixels_of(tab) - overlay(np.full((400, 640, 3), 128, np.uint8), heat)).mean() < 2
    tab.get_by_label("Map", exact=True).select_option("layer 1, head 1")
    assert picked() == ["layer 1, head 1"]
    slide(tab, "Opacity", 0)
    assert gap(pixels_of(tab, ".multiples button:nth-child(2) canvas"), photo) < 2
    assert findings(tab) == []
    # A candidate with one map per word has none, and coming back draws them again.
    tab.get_by_role("button", name="A cat here.").click()
    tab.locator(".word").first.click()
    assert not multiples.is_visible()
    slide(tab, "Opacity", 100)
    tab.get_by_role("button", name="A dog.").click()
    tab.locator(".word").nth(1).click()
    assert multiples.locator("button").count() == 5
    assert pixels_of(tab, ".multiples button:nth-child(5) canvas").max() > 150


def test_gaps_list_their_candidates(visit: Visit, tmp_path: Path, photograph: Path) -> None:
    found = (Gap(1, (("dog", 0.62), ("cat", 0.305))), Gap(3, (("ball", 0.9),)))
    caption = replace(caption_of(photograph, "a dog catches ball"), gaps=found)
    tab = opened(visit, tmp_path / "page.html", [caption], size=NARROW)
    lines = tab.get_by_role("region", name="Words filled in").locator("li")
    assert lines.all_text_contents() == ["dogdog 62\u00a0% · cat 31\u00a0%", "ballball 90\u00a0%"]
    lines.nth(1).get_by_role("button").click()
    shows(tab, "ball")
    assert fits(tab)
    assert findings(tab) == []
    few = tmp_path / "few.html"
    write_page(few, [caption], words=["dog"])  # the page has no map of the other word
    tab = visit(few.as_uri())
    tab.wait_for_selector(".word")
    assert tab.locator(".gaps button").all_text_contents() == ["dog"]
    assert tab.locator(".gaps li").count() == 2
    plain = opened(visit, tmp_path / "plain.html", [replace(caption, gaps=())])
    assert not plain.get_by_text("Words filled in").is_visible()


def test_the_browsers_half_area_is_the_librarys(
    visit: Visit, tmp_path: Path, candidates: list[Caption]
) -> None:
    tab = opened(visit, tmp_path / "page.html", candidates)
    for each in [*candidates[0].attention, *one_hot((3, 3)), np.full(GRID, 1 / 49), np.zeros(GRID)]:
        found = tab.evaluate("(map) => showattend.halfArea(map)", each.tolist())
        assert found == pytest.approx(half_area(each), abs=1e-6)


def test_words_that_looked_everywhere_look_it(
    visit: Visit, tmp_path: Path, photograph: Path
) -> None:
    maps = one_hot((3, 3), (3, 3))
    maps[0] = 1 / 49
    tab = opened(visit, tmp_path / "page.html", [caption_of(photograph, "a dog", maps)])
    colours = [
        word.evaluate("(each) => getComputedStyle(each).color")
        for word in tab.locator(".word").all()
    ]
    assert colours[0] != colours[1]
    tab.locator(".word").first.click()
    assert "looked everywhere" in tab.locator(".reading").text_content()
    dim = pixels_of(tab)
    tab.locator(".word").nth(1).click()
    assert dim.max() < pixels_of(tab).max() - 20


# In the browser: words -------------------------------------------------------------------------


def test_pointing_by_mouse_shows_and_leaving_goes_back(
    visit: Visit, tmp_path: Path, candidates: list[Caption]
) -> None:
    tab = opened(visit, tmp_path / "page.html", candidates)
    shows(tab)
    photo = pixels_of(tab)
    tab.locator(".word").nth(1).hover()
    shows(tab, "dog")
    assert "“dog”, word 2 of 6" in tab.locator(".reading").text_content()
    assert "for “dog”" in tab.locator("canvas").get_attribute("aria-label")
    first = pixels_of(tab)
    assert np.abs(first - photo).mean() > 5
    tab.mouse.move(5, 5)
    shows(tab)
    assert gap(pixels_of(tab), photo) == 0
    tab.locator(".word").nth(1).click()
    tab.locator(".word").nth(4).hover()
    shows(tab, "the")
    assert np.abs(pixels_of(tab) - first).mean() > 1
    tab.mouse.move(5, 5)
    shows(tab, "dog")
    assert gap(pixels_of(tab), first) == 0
    tab.get_by_role("button", name="Photo only").click()
    shows(tab)


def test_touching_a_word_shows_its_map(
    visit: Visit, tmp_path: Path, candidates: list[Caption]
) -> None:
    tab = opened(visit, tmp_path / "page.html", candidates, size=PHONE)
    assert fits(tab)
    for t, word in ((1, "dog"), (5, "grass")):
        tab.locator(".word").nth(t).tap()
        shows(tab, word)
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
        shows(tab, word)
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


def test_words_from_the_right(visit: Visit, tmp_path: Path, photograph: Path) -> None:
    """Where letters go from right to left, so do the words, and the arrow keys."""
    said = ["كلب", "يركض", "هنا"]
    tab = opened(visit, tmp_path / "page.html", [caption_of(photograph, " ".join(said))])
    lefts = [word.bounding_box()["x"] for word in tab.locator(".word").all()]
    assert lefts == sorted(lefts, reverse=True)
    tab.locator(".word").first.focus()
    for key, word in (("ArrowLeft", said[1]), ("ArrowLeft", said[2]), ("ArrowRight", said[1])):
        tab.keyboard.press(key)
        shows(tab, word)


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


def test_a_strange_photos_note_stands_beside_its_caption(
    visit: Visit, tmp_path: Path, photograph: Path
) -> None:
    caption = caption_of(photograph, "a dog")
    strange = replace(caption, familiarity=0.0)
    tab = opened(visit, tmp_path / "strange.html", [strange])
    assert tab.locator(".note").text_content() == f"This photo is {strange.note}."
    assert tab.locator(".note").is_visible()
    tab = opened(visit, tmp_path / "usual.html", [caption])
    assert not tab.locator(".note").is_visible()


@pytest.mark.parametrize("dark", [False, True])
def test_unsure_words_look_and_sound_unsure(
    dark: bool, visit: Visit, tmp_path: Path, photograph: Path
) -> None:
    """Not by colour alone, and only they."""
    logs = tuple(math.log(p) for p in (0.9, 0.21, 0.8, 0.3, 0.9, 0.5))
    best = replace(caption_of(photograph, "a dog runs in snow"), log_probs=logs, unsure_below=0.4)
    other = replace(caption_of(photograph, "a cat"), unsure_below=0.6)  # of 0.61 and 0.55
    tab = opened(visit, tmp_path / "page.html", [best, other], dark=dark)

    def style(selector: str) -> list[str]:
        return tab.locator(selector).first.evaluate(
            """(each) => {
              const style = getComputedStyle(each);
              return [style.borderBottomStyle, style.fontWeight, style.textDecorationStyle];
            }"""
        )

    sentence = tab.locator(".sentence")
    assert sentence.locator(".unsure").all_text_contents() == ["dog"]  # "in" says nothing
    unsure, sure = style(".sentence .unsure"), style(".sentence .word:not(.unsure)")
    assert unsure[0] == "dotted" != sure[0]
    assert int(unsure[1]) < int(sure[1])
    assert sentence.locator(".unsure").get_attribute("title") == "probability 0.21"
    word = tab.get_by_role("button", name="dog (unsure)", exact=True)
    assert tab.get_by_role("button", name="runs", exact=True).count() == 1
    assert (
        "Dotted words are unsure: their probability is under 40\u00a0%"
        in tab.locator(".reading").text_content()
    )
    word.hover()
    shows(tab, "dog")
    assert style(".sentence .unsure")[0] == "dotted"  # while its map is shown, too
    assert "Probability 21\u00a0% (unsure)" in tab.locator(".reading").text_content()
    marked = tab.locator(".candidates .unsure")
    assert marked.count() == 2
    assert style(".candidates .unsure")[2] == "dotted"
    assert tab.get_by_role("button", name=re.compile(r"A cat\s+\(unsure\)")).count() == 1
    assert tab.locator("tbody td").nth(5).text_content() == "21\u00a0% (unsure)"
    assert findings(tab) == []


def test_a_model_without_a_gate_shows_none(
    visit: Visit, tmp_path: Path, candidates: list[Caption]
) -> None:
    gateless = [replace(each, betas=None) for each in candidates]
    for captions, columns in ((candidates, 6), (gateless, 5)):
        tab = opened(visit, tmp_path / f"{columns}.html", captions)
        tab.locator(".word").first.click()
        tab.get_by_text("The numbers behind it").click()
        for row in tab.locator("tr").all():
            assert len(row.locator("th, td").all()) == columns
        text = tab.locator("body").inner_text()
        assert ("β" in text) == (columns == 6)
        assert "NaN" not in text
        assert "undefined" not in text


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
    shows(tab, "Dog")
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


def test_a_page_of_some_words(visit: Visit, tmp_path: Path, photograph: Path) -> None:
    """Those can be pointed at, and the first is shown at once; the others are letters."""
    captions = [
        caption_of(photograph, "a dog runs with a big dog"),
        caption_of(photograph, "one dog"),
        caption_of(photograph, "two cats"),
    ]
    write_page(tmp_path / "page.html", captions, words=["dog", "RUNS "])
    tab = visit((tmp_path / "page.html").as_uri())
    tab.wait_for_selector("button.word")
    assert tab.locator(".sentence").text_content() == "A dog runs with a big dog."
    assert tab.locator("button.word").all_text_contents() == ["dog", "runs", "dog"]
    shows(tab, "dog")
    first = pixels_of(tab)
    tab.locator("button.word").first.focus()
    tab.keyboard.press("End")
    assert "“dog”, word 7 of 7" in tab.locator(".reading").text_content()
    assert gap(pixels_of(tab), first) > 5
    tab.keyboard.press("ArrowLeft")
    shows(tab, "runs")
    tab.get_by_text("The numbers behind it").click()
    assert tab.locator("tbody th").all_text_contents() == ["dog", "runs", "dog"]
    tab.get_by_role("button", name="One dog.").click()
    assert tab.locator("button.word").all_text_contents() == ["dog"]
    shows(tab, "dog")
    tab.get_by_role("button", name="Two cats.").click()
    assert tab.locator("button.word").count() == 0
    assert tab.get_by_role("button", name="Play", exact=True).is_disabled()
    with pytest.raises(UserError, match="not in the caption: cats"):
        page_html(captions, words=["cats"])


def test_playing_some_words(visit: Visit, tmp_path: Path, candidates: list[Caption]) -> None:
    write_page(tmp_path / "page.html", candidates, words=["dog", "grass"])
    tab = visit((tmp_path / "page.html").as_uri())
    tab.clock.install()
    tab.reload()
    tab.wait_for_selector("button.word")
    tab.get_by_role("button", name="Play", exact=True).click()
    heard = shown(tab)
    tab.clock.run_for(900)
    assert heard + shown(tab) == ["dog", "grass"]
    tab.clock.run_for(900)
    assert tab.get_by_role("button", name="Play", exact=True).is_visible()


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
    shows(tab, "through")
    assert tab.get_by_role("button", name="Play", exact=True).is_visible()


# In the browser: everybody ---------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [DESK, NARROW])
def test_axe_finds_nothing_serious(
    size: tuple[int, int], dark: bool, visit: Visit, tmp_path: Path, candidates: list[Caption]
) -> None:
    tab = opened(visit, tmp_path / "page.html", candidates, size=size, dark=dark)
    tab.locator(".word").nth(1).click()
    tab.get_by_text("The numbers behind it").click()
    assert findings(tab) == []
    assert fits(tab)
    write_page(tmp_path / "some.html", candidates, words=["dog"])
    tab = visit((tmp_path / "some.html").as_uri(), size=size, dark=dark)
    tab.wait_for_selector("button.word")
    assert findings(tab) == []
    assert fits(tab)
    page = gallery_html([candidates] * 3)
    (tmp_path / "gallery.html").write_text(page, encoding="utf-8")
    tab = visit((tmp_path / "gallery.html").as_uri(), size=size, dark=dark)
    assert findings(tab) == []
    assert fits(tab)
    tab.locator(".card").first.click()
    tab.locator("dialog .word").first.click()
    assert findings(tab) == []
    assert fits(tab)
    assert fits_in(tab, "dialog")


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


def test_words_are_read_out_but_not_cells_and_gates(
    visit: Visit, tmp_path: Path, candidates: list[Caption]
) -> None:
    tab = opened(visit, tmp_path / "page.html", candidates)
    tab.locator(".word").nth(1).click()
    reading = tab.locator(".reading")
    assert "cell of 49" in reading.text_content()
    assert "gate β" in reading.text_content()
    heard = reading.evaluate(
        """(element) => [...element.childNodes]
          .filter((each) => each.ariaHidden !== "true").map((each) => each.textContent).join("")"""
    )
    assert heard.startswith("“dog”, word 2 of 6: looked ")
    assert "Probability" in heard
    assert "cell" not in heard
    assert "β" not in heard
