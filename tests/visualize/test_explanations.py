"""Figures, pages and maps of explanations: labelled as such, and several in one file."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.patches import PathPatch
from PIL import Image

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.visualize.animation import draw_walk
from showattend.visualize.explanations import check_explanations, save_explanations
from showattend.visualize.figure import draw_figure
from showattend.visualize.page import page_html
from showattend.visualize.raw import raw_maps, read_maps
from showattend.visualize.sheet import pixels_of
from showattend.visualize.theme import WORD_COLOURS
from tests.visualize.drawing import CELLS, caption_of, shaded

NAMES = ("attention", "gradient × input", "occlusion")


@pytest.fixture
def three() -> list[Caption]:
    """A caption explained in three ways; its words look at other cells in each."""
    found = []
    for k, name in enumerate(NAMES):
        caption = caption_of(shaded(200, 140), [(3, 3), (k, 5)], words="dog ball")
        found.append(replace(caption, explanation=name))
    return found


def texts(caption: Caption, layout: str) -> str:
    return "\n".join(
        each.get_text() for each in draw_figure(caption, layout=layout, width=700).texts
    )


@pytest.mark.parametrize("layout", ["summary", "grid", "strip"])
def test_a_figure_says_what_its_maps_are(three: list[Caption], layout: str) -> None:
    plain = replace(three[0], explanation="")
    assert "Explained" not in texts(plain, layout)
    assert "Explained by attention" in texts(three[0], layout)
    shown = texts(three[1], layout)
    assert "Explained by gradient × input" in shown
    assert "by gradient × input, not where the model looked" in " ".join(shown.split())
    assert "attention" not in shown
    assert "looked everywhere" not in shown


def test_an_even_map_of_an_explanation_is_not_called_a_look(three: list[Caption]) -> None:
    even = replace(three[1], attention=np.full((2, 7, 7), 1 / 49, np.float32))
    assert "spread everywhere" in texts(even, "grid")
    assert "looked everywhere" in texts(replace(even, explanation=""), "grid")


def test_an_animation_says_so_too(three: list[Caption]) -> None:
    look = {"style": "heat", "colormap": "inferno", "alpha": 0.5}
    one, other = (
        draw_walk(each, words=None, scale="word", size=200, look=look).frames[0]
        for each in (replace(three[0], explanation=""), three[2])
    )
    bar = one.shape[0] - 140
    assert (one[-bar:] != other[-bar:]).any()


def test_a_page_says_so_too(three: list[Caption]) -> None:
    page = page_html([three[1]])
    assert "<h1>A photograph: gradient × input</h1>" in page
    assert "not where the model looked" in page
    assert "bright is where it looked" not in page
    assert "bright is where it looked" in page_html([three[0]])


def test_maps_say_so_too(three: list[Caption], tmp_path: Path) -> None:
    assert raw_maps(three[1])["explanation"] == "gradient × input"
    assert "explanation" not in raw_maps(replace(three[1], explanation=""))
    for suffix in (".npz", ".json"):
        path = tmp_path / f"maps{suffix}"
        three[2].save_overlay(path)
        again = read_maps(path, shaded(200, 140))
        assert again.explanation == "occlusion"
        np.testing.assert_allclose(again.attention, three[2].attention)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_figures_are_one_below_the_other(three: list[Caption], suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"all{suffix}"
    save_explanations(three, path, theme="dark", width=600)
    alone = [
        pixels_of(draw_figure(each, theme="dark", words=["dog", "ball"], width=600))
        for each in three
    ]
    stacked = np.asarray(Image.open(io.BytesIO(path.read_bytes())))
    assert stacked.shape[0] == sum(each.shape[0] for each in alone)
    if suffix == ".png":
        y = 0
        for each in alone:
            height, width = each.shape[:2]
            np.testing.assert_array_equal(stacked[y : y + height, :width], each)
            y += height


def test_an_svg_has_them_below_each_other_and_the_photo_once(
    three: list[Caption], tmp_path: Path
) -> None:
    path = tmp_path / "all.svg"
    save_explanations(three, path, theme="dark", width=600)
    text = path.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    inside = [each for each in root if each.tag.endswith("}svg")]
    assert len(inside) == 3
    tops = [float(each.get("y", "")) for each in inside]
    heights = [float(each.get("height", "")) for each in inside]
    assert tops == pytest.approx([0, heights[0], heights[0] + heights[1]])
    assert root.get("viewBox") == f"0 0 {float(inside[0].get('width', '')):g} {sum(heights):g}"
    assert text.count("data:image/jpeg") == 1
    names = re.findall(r' id="([^"]+)"', text)
    assert len(names) == len(set(names))
    used = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert len(used) > 20
    assert used <= set(names)
    save_explanations(three, tmp_path / "again.svg", theme="dark", width=600)
    assert (tmp_path / "again.svg").read_text(encoding="utf-8") == text


def test_a_pdf_has_a_page_for_each(three: list[Caption], tmp_path: Path) -> None:
    path = tmp_path / "all.pdf"
    save_explanations(three, path, width=600)
    content = path.read_bytes()
    assert content.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", content)) == 3
    save_explanations(three, tmp_path / "again.pdf", width=600)
    assert (tmp_path / "again.pdf").read_bytes() == content


def test_a_word_that_occurs_twice_is_shown_where_it_is_sharp(
    three: list[Caption], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a word keeps its colour where another one is spread everywhere."""
    for number, name in enumerate(NAMES):
        caption = caption_of(shaded(200, 140), CELLS[:3], words="dog ball dog")
        caption.attention[0] = 1 / 49
        if number == 1:
            caption.attention[1] = 1 / 49
        three[number] = replace(caption, explanation=name)
    drawn: list[Any] = []
    monkeypatch.setattr(
        "showattend.visualize.explanations.pixels_of",
        lambda figure: drawn.append(figure) or pixels_of(figure),  # type: ignore[func-returns-value]
    )
    save_explanations(three, tmp_path / "all.png", width=600)

    def edges(figure: Any) -> set[str]:
        from matplotlib.colors import to_hex

        return {to_hex(each.get_edgecolor()) for each in figure.findobj(PathPatch)} - {"#000000"}

    assert [edges(figure) for figure in drawn] == [
        set(WORD_COLOURS[:2]), {WORD_COLOURS[1]}, set(WORD_COLOURS[:2])
    ]  # fmt: skip
    assert len({len(figure.axes) for figure in drawn}) == 1, "the photo, ball, and the second dog"


def test_all_explanations_show_the_same_words(three: list[Caption], tmp_path: Path) -> None:
    """Those of the first, also where another has its map everywhere."""
    three[1] = replace(three[1], attention=np.full((2, 7, 7), 1 / 49, np.float32))
    save_explanations(three, tmp_path / "all.png", width=600)
    same = [
        pixels_of(draw_figure(each, words=["dog", "ball"], width=600)).shape[0] for each in three
    ]
    with Image.open(tmp_path / "all.png") as found:
        assert found.height == sum(same)


def test_one_file_has_all_maps(three: list[Caption], tmp_path: Path) -> None:
    save_explanations(three, tmp_path / "all.npz", words=["ball"])
    with np.load(tmp_path / "all.npz") as maps:
        assert maps["explanation_names"].tolist() == list(NAMES)
        assert maps["explanations"].shape == (3, 1, 7, 7)
        np.testing.assert_array_equal(maps["attention"], maps["explanations"][0])
        assert maps["explanations"][2, 0].argmax() == 2 * 7 + 5
    save_explanations(three, tmp_path / "all.json")
    values = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert np.array(values["explanations"]).shape == (3, 2, 7, 7)


def test_a_page_has_a_card_for_each(three: list[Caption], tmp_path: Path) -> None:
    save_explanations(three, tmp_path / "all.html")
    page = (tmp_path / "all.html").read_text(encoding="utf-8")
    assert [page.count(f'<span class="name">{name}</span>') for name in NAMES] == [1, 1, 1]
    assert "<h1>Dog ball.</h1>" in page


def test_forms_for_one_explanation_are_refused() -> None:
    with pytest.raises(UserError, match=r"a \.gif file shows one explanation; name one, or use"):
        check_explanations("all.gif", {})
    with pytest.raises(UserError, match="no form"):
        check_explanations("all.txt", {})
    with pytest.raises(UserError, match="has no words"):
        check_explanations("all.html", {"words": ["dog"]})
