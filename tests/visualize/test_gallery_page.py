"""The gallery in the browser, and a page of a real caption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from showattend.captioner import Captioner
from showattend.images.geometry import Geometry
from showattend.visualize.page import GalleryPage, Remark
from tests.browser import DESK, NARROW, findings, fits, fits_in, pixels_of
from tests.visualize.pages import (
    Visit,
    caption_of,
    gallery_html,
    opened,
    saved,
)

# In the browser: the gallery -------------------------------------------------------------------


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    photos = []
    for number, text in enumerate(("a dog runs", "a red car", "two dogs play")):
        image = saved(tmp_path / f"photo {number}.png", (300 + 100 * number, 200))
        photos.append([caption_of(image, text), caption_of(image, f"{text} outside")])
    (tmp_path / "gallery.html").write_text(gallery_html(photos, title="Holiday"), encoding="utf-8")
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
    wait_for_focus_on(tab, "Two dogs play.")


def wait_for_focus_on(tab: Any, card: str) -> None:
    """After a dialog has closed: the browser tells the page so a little later than it hides it.

    Only then the page moves the focus, away from wherever a test may have put it meanwhile.
    """
    tab.wait_for_function(
        "(text) => document.activeElement.matches('.card')"
        " && document.activeElement.textContent.includes(text)",
        arg=card,
    )


def test_the_photo_asked_for_last_is_shown(gallery: Path, visit: Visit) -> None:
    """The first photo takes longer to decode than the second."""
    tab = visit(gallery.as_uri())
    tab.evaluate(
        """() => {
          const decode = Image.prototype.decode;
          let wait = 300;
          Image.prototype.decode = function () {
            const mine = wait;
            wait = 0;
            return decode.call(this).then(() => new Promise((done) => setTimeout(done, mine)))
              .then(() => { window.decoded = (window.decoded ?? 0) + 1; });
          };
        }"""
    )
    tab.locator(".card").first.click()
    tab.get_by_role("button", name="Next").click()
    tab.wait_for_function("() => window.decoded === 2")
    tab.wait_for_selector("dialog .word")
    assert tab.locator("dialog .sentence").text_content() == "A red car."
    assert tab.locator("#shown").text_content() == "photo 1.png"
    assert pixels_of(tab, "dialog canvas").shape == (400, 800, 3)


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
    wait_for_focus_on(tab, "Two dogs play.")
    tab.get_by_label("Find in captions").fill("")
    tab.wait_for_selector("#found:has-text('3 of 3 photos')")
    assert all(card.is_visible() for card in tab.locator(".card").all())


def test_each_photo_of_a_gallery_has_an_address(gallery: Path, visit: Visit) -> None:
    tab = visit(f"{gallery.as_uri()}#photo-2")
    dialog = tab.get_by_role("dialog", name="photo 1.png")
    dialog.wait_for()
    tab.locator("#next").click()
    tab.get_by_role("dialog", name="photo 2.png").wait_for()
    assert tab.url.endswith("#photo-3")
    tab.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    tab.wait_for_function("() => location.hash === ''")
    tab.locator(".card").first.click()
    tab.get_by_role("dialog", name="photo 0.png").wait_for()
    tab.go_back()
    tab.wait_for_selector("dialog", state="hidden")


@pytest.mark.parametrize("size", [DESK, NARROW])
def test_a_gallery_says_what_is_wrong(size: tuple[int, int], visit: Visit, tmp_path: Path) -> None:
    page = GalleryPage()
    kinds = {"habit": "said of any photo", "mistook": "took one thing for another"}
    said = [
        ("a dog runs", [Remark("habit", "says <dog> of any photo", 1, 2)], ["a <cat> sleeps"]),
        (
            "a red car",
            [Remark("mistook", "looked at the bus", 1, 3), Remark("habit", "no", 0, 0)],
            [],
        ),
        ("two dogs play", [], []),
    ]
    for number, (text, remarks, people) in enumerate(said):
        image = saved(tmp_path / f"photo {number}.png", (300, 200))
        page.add([caption_of(image, text)], remarks=remarks, people=people)
    (tmp_path / "page.html").write_text(page.html(kinds=kinds, note="Found by rules."))
    tab = visit((tmp_path / "page.html").as_uri(), size=size)
    assert fits(tab)
    assert tab.locator("footer").text_content() == "Found by rules."
    kind = tab.get_by_role("button", name="mistook (1)")
    kind.click()
    assert tab.locator("#found").text_content() == "1 of 3 photos"
    assert kind.get_attribute("aria-pressed") == "true"
    tab.get_by_role("button", name="habit (2)").click()
    assert tab.locator("#found").text_content() == "2 of 3 photos"
    assert kind.get_attribute("aria-pressed") == "false"
    assert findings(tab) == []
    tab.locator(".card").first.click()
    about = tab.locator("dialog .about")
    about.get_by_text("says <dog> of any photo").wait_for()
    assert about.locator(".people li").all_text_contents() == ["a <cat> sleeps"]
    assert tab.locator("dialog .word.wrong").all_text_contents() == ["dog"]
    about.get_by_role("button", name="dog").click()
    assert tab.locator("dialog .word.shown").all_text_contents() == ["dog"]
    assert findings(tab) == []
    assert fits(tab)
    assert fits_in(tab, "dialog")
    tab.locator("#next").click()
    tab.wait_for_selector("dialog .sentence:has-text('A red car')")
    about.get_by_text("looked at the bus").wait_for()
    assert tab.locator("dialog .word.wrong").all_text_contents() == ["red", "car"]
    assert tab.locator("dialog .people").count() == 0


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
