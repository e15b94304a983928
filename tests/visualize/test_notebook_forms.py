"""What a notebook shows: the viewer in a frame, a picture without scripts, a gallery of a list."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from showattend.caption_forms import Captions
from showattend.visualize.notebook_forms import PageFile
from showattend.visualize.page import write_page
from tests.test_caption import make
from tests.visualize.pages import Visit, candidates, caption_of, photograph

__all__ = ["candidates", "photograph"]


def page_in(form: str) -> str:
    """The page in the form's frame."""
    (found,) = re.findall(r'srcdoc="([^"]*)"', form)
    return html.unescape(found)


def test_a_caption_is_the_viewer_and_a_picture(photograph: Path) -> None:
    one, other = caption_of(photograph, "a <b> dog"), caption_of(photograph, "two dogs")
    form = replace(one, alternatives=(other,))._repr_html_()
    outside = re.sub(r'srcdoc="[^"]*"', "", form)
    assert 'sandbox="allow-scripts"' in outside
    assert "&lt;b&gt;" in outside
    assert "<b>" not in outside
    assert "<noscript>" in outside
    assert 'src="data:image/jpeg;base64,' in outside
    page = page_in(form)
    assert page.startswith("<!DOCTYPE html>")
    assert "Two dogs" in page or "two" in page
    assert not re.search(r"""(src|href)=["']https?:""", form + page)


def test_a_list_is_a_gallery(photograph: Path) -> None:
    captions = Captions([caption_of(photograph, "a dog"), caption_of(photograph, "two dogs")])
    assert captions[0].text == "A dog."
    page = page_in(captions._repr_html_() or "")
    assert page.count('class="card"') == 2
    assert not re.search(r"""(src|href)=["']https?:""", page)


def test_a_page_that_a_command_wrote_is_shown(photograph: Path, tmp_path: Path) -> None:
    write_page(tmp_path / "a <page>.html", [caption_of(photograph, "a dog")])
    form = PageFile(tmp_path / "a <page>.html", height=300)._repr_html_()
    assert page_in(form) == (tmp_path / "a <page>.html").read_text(encoding="utf-8")
    outside = re.sub(r'srcdoc="[^"]*"', "", form)
    assert 'sandbox="allow-scripts"' in outside
    assert 'title="a &lt;page&gt;.html"' in outside
    assert "height: 300px" in outside


def test_what_cannot_be_shown_is_text(tmp_path: Path) -> None:
    for image in (None, tmp_path / "gone.jpg"):
        caption = make("a dog", image)
        assert caption._repr_html_() == "<p>A dog.</p>"
        assert Captions([caption])._repr_html_() is None
    assert Captions()._repr_html_() is None


@pytest.mark.parametrize("scripts", [True, False])
def test_in_a_browser(visit: Visit, photograph: Path, tmp_path: Path, scripts: bool) -> None:
    form = caption_of(photograph, "a dog runs through the grass")._repr_html_()
    file = tmp_path / "cell.html"
    file.write_text(f"<!DOCTYPE html><title>cell</title>{form}", encoding="utf-8")
    tab = visit(file.as_uri(), java_script_enabled=scripts)
    frame = tab.locator("iframe")
    picture = tab.locator("img[alt='A dog runs through the grass.']")
    if scripts:
        words = tab.frame_locator("iframe").locator(".word")
        words.first.wait_for()
        assert words.count() == 6
        assert picture.count() == 0
    else:
        assert not frame.is_visible()
        assert picture.is_visible()


def test_the_gallery_in_a_browser(visit: Visit, photograph: Path, tmp_path: Path) -> None:
    array = np.full((40, 60, 3), 90, np.uint8)
    form = Captions([caption_of(photograph, "a dog"), caption_of(array, "two dogs")])._repr_html_()
    file = tmp_path / "cell.html"
    file.write_text(f"<!DOCTYPE html><title>cell</title>{form}", encoding="utf-8")
    inside = visit(file.as_uri()).frame_locator("iframe")
    inside.locator(".card").nth(1).click()
    inside.locator("dialog .word").first.wait_for()
    assert inside.locator("dialog .word").all_text_contents() == ["Two", "dogs"]
