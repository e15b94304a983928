"""``errors`` and ``ground`` with ``--output page.html``: the worst photographs, explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from showattend.cli.worst_page import ASTRAY, LEFT_OUT
from showattend.evaluation.mistakes.reasons import KINDS
from tests.commandline import CommandLine
from tests.visualize.pages import Parsed


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Three photos: of the captions one is right, one is wrong, and one photo is not there."""
    for k in (1, 2):
        noise = np.random.default_rng(k).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((60, 50)).save(tmp_path / f"{k}.png")
    images = [{"id": k, "file_name": f"{k}.png", "width": 60, "height": 50} for k in (1, 2, 3)]
    said = {1: ["A dog runs.", "A dog on grass"], 2: ["A cat .", "a <cat> in red"], 3: ["A dog."]}
    captions = [
        {"id": 10 * k + n, "image_id": k, "caption": text}
        for k, texts in said.items()
        for n, text in enumerate(texts)
    ]
    boxes = [{"id": k, "image_id": k, "category_id": 1, "bbox": [0, 0, 60, 50]} for k in (1, 2)]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    write(tmp_path / "captions.json", {"images": images, "annotations": captions})
    write(
        tmp_path / "instances.json",
        {"images": images[:2], "annotations": boxes, "categories": categories},
    )
    write(tmp_path / "results.json", {"1": "a dog runs", "2": "a man on the beach", "3": "a dog"})
    write(tmp_path / "some.json", {"1": "a dog runs", "2": "a man on the beach"})
    return tmp_path


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def shown(page: Path) -> tuple[str, list[dict[str, Any]]]:
    """A page's text, and what it knows of each photo."""
    text = page.read_text(encoding="utf-8")
    (data,) = [each for attributes, each in Parsed(text).raw if attributes.get("id") == "photos"]
    return text, json.loads(data)


def test_errors_explains_the_worst(run: CommandLine, files: Path) -> None:
    page = files / "new" / "page.html"
    args = ["errors", "--annotations", files / "captions.json", "--images", files]
    args += ["--model", run.model, "--output", page, "--worst", 2]
    result = run(*args, "--results", files / "some.json")
    assert result.code == 0, result.err
    assert result.err[-1] == f"wrote {page}"
    text, photos = shown(page)
    assert "The 2 worst of 2 captions, by number of mistakes" in text
    wrong, right = photos
    assert wrong["name"] == "2.png"
    assert wrong["captions"][0]["words"] == ["a", "man", "on", "the", "beach"]
    assert wrong["people"] == ["A cat.", "a <cat> in red"]
    assert {each["words"]: each["kind"] in KINDS for each in wrong["remarks"] if each["words"]} == {
        "man": True,
        "beach": True,
    }
    assert [each["text"] for each in wrong["remarks"] if each["kind"] == LEFT_OUT] == ["cat"]
    assert "as with another photo" in wrong["remarks"][0]["text"]
    assert right["remarks"] == []
    assert all(kind in text for kind in KINDS)
    # A photo that cannot be opened is named, and the rest is there.
    result = run(*args, "--results", files / "results.json", "--worst", 3)
    assert result.code == 1
    assert f"showattend: {files / '3.png'}: no such file" in result.err
    assert len(shown(page)[1]) == 2
    # Captions of another model are said to be.
    settings = {"model": "other", "beam_size": 5}
    rows = [{"image_id": 1, "caption": "a cat", "scores": {"CIDEr": 0.25}}]
    write(files / "evaluated.json", {"captions": rows, "settings": settings})
    result = run(*args, "--results", files / "evaluated.json")
    assert result.code == 0
    assert any("the captions are by other, the maps by" in line for line in result.err)
    text, (photo,) = shown(page)
    assert "by CIDEr" in text
    assert photo["name"] == "1.png (CIDEr 0.25)"


def test_ground_explains_the_worst(run: CommandLine, files: Path) -> None:
    page = files / "page.html"
    write(
        files / "said.json",
        {
            "images": json.loads((files / "captions.json").read_text())["images"],
            "annotations": [
                {"id": 1, "image_id": 1, "caption": "a cat on a cat"},
                {"id": 2, "image_id": 2, "caption": "a dog and a cat"},
            ],
        },
    )
    args = ["ground", "--annotations", files / "instances.json", "--images", files]
    args += ["--captions", files / "said.json", "--model", run.model, "--output", page]
    result = run(*args, "--references", files / "captions.json")
    assert result.code == 0, result.err
    assert f"wrote {page}" in result.err
    assert "words in 2 images" in "\n".join(result.out), "the tables are printed all the same"
    text, (photo,) = shown(page)  # the other has nothing wrong: the cat is everywhere
    assert photo["captions"][0]["words"] == ["a", "dog", "and", "a", "cat"]
    (remark,) = photo["remarks"]
    assert (remark["words"], remark["start"]) == ("dog", 1)
    assert remark["kind"] in KINDS
    assert "annotated: “cat”" in remark["text"]
    assert photo["people"] == ["A cat.", "a <cat> in red"]
    assert ASTRAY not in text


def test_what_does_not_fit_is_one_line(run: CommandLine, files: Path) -> None:
    ground = ("ground", "--annotations", files / "instances.json", "--images", files)
    error = run.refused(*ground, "--references", files / "captions.json")
    assert error.endswith("--references is for a page; give --output page.html")
    error = run.refused(*ground, "--output", files / "page.html", "--worst", 401)
    assert "room for 400" in error
    errors = ("errors", "--annotations", files / "captions.json", "--results", files / "some.json")
    error = run.refused(*errors, "--output", files / "page.html", "--model", files / "none")
    assert "no such model" in error
    assert not (files / "page.html").exists()
