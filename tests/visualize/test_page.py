"""The page and the gallery as files: whole in one, and no text breaks out of them."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showattend.caption import Caption
from showattend.exceptions import ImageError, UserError
from showattend.visualize.page import (
    LONGEST_SIDE,
    asset,
    page_html,
    shell,
    write_page,
)
from tests.visualize.pages import (
    GRID,
    Parsed,
    caption_of,
    decoded,
    gallery_html,
    saved,
)
from tests.visualize.pages import (
    candidates as candidates,
)
from tests.visualize.pages import (
    photograph as photograph,
)

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


def test_unsure_words_are_marked_without_a_script(photograph: Path) -> None:
    logs = (0.0, -1.0, -1.1, -1.2, -1.3)
    caption = replace(caption_of(photograph, "a <b> 's dog"), log_probs=logs, unsure_below=0.5)
    chances = caption.confidences
    for text in (page_html([caption]), gallery_html([[caption]])):
        (marks,) = re.findall(
            r'<(?:p class="sentence"|span) dir="auto">(.*?)(?:</p>|<span class="name)', text, re.S
        )
        shown = re.sub(r'<span class="heard">.*?</span>', "", marks)
        assert html.unescape(re.sub(r"</?span[^>]*>", "", shown)) == "A <b>'s dog."
        titles = re.findall(r'class="unsure" title="probability ([\d.]+)">(.*?)<span', marks)
        assert titles == [(f"{chances[1]:.2f}", "&lt;b&gt;"), (f"{chances[3]:.2f}", "dog.")]
        assert marks.count('<span class="heard"> (unsure)</span>') == 2
        (photo,) = json.loads(next(d for a, d in Parsed(text).raw if a.get("id") == "photos"))
        assert photo["unsure_below"] == 0.5
        assert photo["captions"][0]["unsure"] == [False, True, False, True]
        assert photo["captions"][0]["confidences"] == pytest.approx(caption.confidences, abs=1e-6)
    assert 'class="unsure"' not in page_html([replace(caption, unsure_below=0.0)])


def test_a_strange_photos_note_is_on_the_page(photograph: Path) -> None:
    caption = caption_of(photograph, "a dog")
    strange = replace(caption, familiarity=0.0)
    assert strange.note
    assert f'<p class="note">This photo is {strange.note}.</p>' in page_html([strange])
    for text in (page_html([strange, caption]), gallery_html([[strange]])):
        (photo,) = json.loads(
            next(data for each, data in Parsed(text).raw if each.get("id") == "photos")
        )
        assert (photo["note"], photo["familiarity"]) == (strange.note, 0.0)
    assert '<p class="note">' not in page_html([caption])
    assert '<p class="note">' not in page_html([replace(caption, familiarity=0.9)])


def test_a_page_of_a_model_without_a_gate_has_null_for_it(candidates: list[Caption]) -> None:
    page = Parsed(page_html([replace(each, betas=None) for each in candidates]))
    ((_, data),) = [each for each in page.raw if each[0].get("id") == "photos"]
    assert [each["betas"] for each in json.loads(data)[0]["captions"]] == [None, None]


def test_a_gallerys_maps_are_short_and_say_the_same(photograph: Path) -> None:
    coarse, fine = (np.full((2, side, side), side**-2.0, np.float32) for side in (11, 64))
    coarse[0, 3, 5] *= 1.002  # the brightest cell, by less than four decimals
    fine[0, 3, 5] *= 1.1
    for maps in (coarse, fine):
        maps[1] *= np.linspace(0.2, 1.8, len(maps[1]), dtype=np.float32)
    captions = [caption_of(photograph, "a dog runs")]
    captions += [caption_of(photograph, "a dog", maps) for maps in (coarse, fine)]
    ((_, data),) = [
        each for each in Parsed(gallery_html([captions])).raw if each[0].get("id") == "photos"
    ]
    (photo,) = json.loads(data)
    for values, caption in zip(photo["captions"], captions, strict=True):
        assert values["log_probs"] == pytest.approx(caption.log_probs, abs=1e-6)
        for numbers, wanted in zip(values["attention"], caption.attention, strict=True):
            found, peak = np.array(numbers), wanted.max()
            assert np.abs(found - wanted).max() < 0.006 * peak  # of 255 steps not two
            assert found.argmax() == wanted.argmax()
            assert found.max() == pytest.approx(peak, abs=1e-6)
    digits = re.findall(r"\d\.(\d+)", json.dumps(photo["captions"][0]["attention"]))
    assert sum(len(each) > 4 for each in digits) <= 3  # the brightest cell's, once a word


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
    assert values["log_probs"][0] is values["score"] is None, "not known"
    assert values["log_probs"][1] < -1e8
    assert values["attention"][0][0][0] == 0


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
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]
    page = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert "<title>A title</title>" in page
    assert "<h1>A title</h1>" in page
    gallery = gallery_html([candidates, candidates[1:]])
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
