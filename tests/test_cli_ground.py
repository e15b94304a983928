"""``showattend ground``: what it prints of right and wrong words, and its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.commandline import CommandLine


@pytest.fixture
def data(tmp_path: Path) -> tuple[object, ...]:
    """Two photos that a cat fills, a dog in a corner; people say that a dog is near a car."""
    images = [{"id": k, "file_name": f"{k}.png", "width": 40, "height": 40} for k in (1, 2)]
    for k in (1, 2):
        Image.new("RGB", (40, 40), (60 * k, 90, 120)).save(tmp_path / f"{k}.png")
    boxes = {1: [0, 0, 40, 40], 2: [0, 0, 10, 10]}
    annotations = [
        {"id": 10 * k + c, "image_id": k, "category_id": c, "bbox": box}
        for k in (1, 2)
        for c, box in boxes.items()
    ]
    categories = [{"id": c, "name": name} for c, name in ((1, "cat"), (2, "dog"), (3, "car"))]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    said = [{"id": k, "image_id": k, "caption": "a dog near a car"} for k in (1, 2)]
    (tmp_path / "captions.json").write_text(json.dumps({"images": images, "annotations": said}))
    return ("--annotations", tmp_path / "instances.json", "--images", tmp_path)


def test_right_and_wrong_words_are_told(
    run: CommandLine, data: tuple[object, ...], tmp_path: Path
) -> None:
    args = ("ground", *data, "--captions", tmp_path / "captions.json", "--model", run.model)
    result = run(*args, "--output", tmp_path / "ground.json", "--gallery", tmp_path / "looks.png")
    assert result.code == 0
    told = "\n".join(result.out)
    assert "2 words in 2 images" in told
    assert "right, 2" in told
    (wrong,) = [line.split() for line in result.out if "wrong, 2" in line]
    assert wrong[-6:] == ["-", "1.000", "0.000", "-", "1.000", "0.000"]  # the cat is everywhere
    uniform = [line.split() for line in result.out if line.strip().startswith("uniform")]
    assert uniform[1][1:4] == ["0.062", "0.938", "0.000"]  # the dog's corner, the cat's rest
    assert "said car, looked at cat: " in told
    assert "(a uniform map: 1.9)" in told
    (unsaid,) = [line.split() for line in result.out if "unsaid, 2" in line]
    assert unsaid[2:] == ["model", "1.000", "1.000"]
    assert all(len(line) <= 100 for line in result.out)
    found = json.loads((tmp_path / "ground.json").read_text(encoding="utf-8"))
    assert found["where"]["wrong"]["words"] == 2
    assert found["where"]["big"]["categories"] == {"cat": 2}
    assert [word["right"] for word in found["captions"][0]["named"]] == [True, False]
    with Image.open(tmp_path / "looks.png") as sheet:
        assert sheet.format == "PNG"


def test_no_wrong_word_is_no_table(
    run: CommandLine, data: tuple[object, ...], tmp_path: Path
) -> None:
    captions = tmp_path / "captions.json"
    captions.write_text(captions.read_text().replace("near a car", "and a cat"))
    result = run("ground", *data, "--captions", captions, "--model", run.model)
    told = "\n".join(result.out)
    assert (result.code, result.err) == (0, [])
    assert "right, 4" in told
    assert "wrong, " not in told
    assert "said " not in told.replace("said or unsaid", "")
    assert "unsaid, " not in told
