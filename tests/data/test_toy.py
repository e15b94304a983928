"""The synthetic pictures: captions are correct, and outlines agree with the pixels."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest

from showattend.data import toy
from showattend.data.readers import read_dataset
from showattend.data.toy import COLOURS, SHAPES, Scene, Shape, draw, make_scene, write_toy
from showattend.exceptions import DataError
from showattend.images.upright import open_image
from showattend.text.tokenizer import tokenize
from showattend.text.vocabulary import Vocabulary

SIZE = 128
NUMBERS = {"a": 1, "an": 1, "two": 2, "three": 3}


def scenes(count: int) -> list[Scene]:
    return [make_scene(random.Random(f"test-{i}"), SIZE) for i in range(count)]


def centre(shape: Shape) -> tuple[float, float]:
    left, top, right, bottom = shape.box
    return (left + right) / 2, (top + bottom) / 2


def mentions(words: list[str]) -> list[tuple[int, list[str], list[str]]]:
    """Each object named: how many, its words, and the words after it up to the next."""
    starts = [
        i
        for i, word in enumerate(words)
        if word in NUMBERS and "background" not in words[i : i + 4]
    ]
    found = []
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        rest = words[start + 1 : end]
        noun = next(i for i, word in enumerate(rest) if singular(word) in SHAPES)
        found.append((NUMBERS[words[start]], rest[: noun + 1], rest[noun + 1 :]))
    return found


def singular(word: str) -> str:
    return {"crosses": "cross"}.get(word, word if word in SHAPES else word.removesuffix("s"))


def meant(scene: Scene, words: list[str]) -> list[Shape]:
    return [
        shape
        for shape in scene.shapes
        if {singular(word) for word in words} <= {shape.name, shape.colour, shape.size}
    ]


def is_true(scene: Scene, caption: str) -> bool:
    """Judge a caption by the outlines, independently of how it was made."""
    words = tokenize(caption)
    text = " ".join(words)
    if "background" in words and f"{scene.background} background" not in text:
        return False
    named = mentions(words)
    for count, name, after in named:
        found = meant(scene, name)
        if len(found) != count or (count > 1) != (singular(name[-1]) != name[-1]):
            return False
        x, y = centre(found[0])
        place = " ".join(after)
        holds = {
            "on the left": x < SIZE * 0.4,
            "on the right": x > SIZE * 0.6,
            "at the top": y < SIZE * 0.4,
            "at the bottom": y > SIZE * 0.6,
            "in the middle": max(abs(x - 64), abs(y - 64)) < SIZE * 0.1,
            "top left corner": max(x, y) < SIZE * 0.4,
            "top right corner": min(SIZE - x, SIZE * 0.8 - y) > 0 and x > 76 and y < 52,
            "bottom left corner": x < 52 and y > 76,
            "bottom right corner": min(x, y) > 76,
        }
        if any(phrase in place and not true for phrase, true in holds.items()):
            return False
    if len(named) == 2:
        (x, y), (u, v) = (centre(meant(scene, name)[0]) for _, name, _ in named)
        relations = {"above": y < v, "below": y > v, "left of": x < u, "right of": x > u}
        return all(true for phrase, true in relations.items() if phrase in text)
    return True


def test_captions_are_true() -> None:
    for scene in scenes(400):
        assert len(set(scene.captions)) == 5
        for caption in scene.captions:
            assert is_true(scene, caption), (caption, scene)


def test_false_captions_are_recognised() -> None:
    rng = random.Random(0)
    red = toy._shape(rng, 0.25, 0.3, SIZE, "circle", "red", "small")
    blue = toy._shape(rng, 0.75, 0.3, SIZE, "square", "blue", "big")
    scene = Scene((red, blue), "dark", ())
    assert is_true(scene, "A small red circle to the left of a blue square.")
    for caption in (
        "A red circle to the right of a blue square.",
        "A blue circle.",
        "A big red circle.",
        "Two red circles.",
        "A red circle on the right and a blue square on the left.",
        "A red circle at the bottom.",
        "A red circle on a light background.",
    ):
        assert not is_true(scene, caption)


def test_scenes_vary() -> None:
    found = scenes(300)
    assert {shape.name for scene in found for shape in scene.shapes} == set(SHAPES)
    assert {shape.colour for scene in found for shape in scene.shapes} == set(COLOURS)
    assert {len(scene.shapes) for scene in found} == {1, 2, 3}
    captions = [caption for scene in found for caption in scene.captions]
    vocabulary = Vocabulary.from_captions(captions, min_count=5)
    assert 35 <= len(vocabulary) - 4 <= 45
    assert {word for text in captions for word in tokenize(text)} == set(vocabulary.words)


def test_shapes_are_inside_the_picture_and_do_not_overlap() -> None:
    for scene in scenes(400):
        boxes = [shape.box for shape in scene.shapes]
        assert all(0 <= left < right <= SIZE and 0 <= top < bottom <= SIZE
                   for left, top, right, bottom in boxes)  # fmt: skip
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_pixels_agree_with_the_outlines() -> None:
    """Where a shape is coloured, even-odd counting of its outline's edges says inside."""
    ys, xs = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    shifts = []
    for number, scene in enumerate(scenes(60)):
        pixels = np.asarray(draw(scene, random.Random(number), SIZE)).astype(int)
        saturation = np.ptp(pixels, axis=2)
        elsewhere = np.ones_like(saturation, bool)
        for shape in scene.shapes:
            inside = np.zeros_like(elsewhere)
            corners = shape.outline
            for (x, y), (u, v) in zip(corners, corners[1:] + corners[:1], strict=True):
                crosses = (y > ys) != (v > ys)
                with np.errstate(divide="ignore", invalid="ignore"):
                    inside ^= crosses & (xs < (u - x) * (ys - y) / (v - y) + x)
            colour = np.median(pixels[inside], axis=0)
            assert np.abs(colour - COLOURS[shape.colour]).max() <= 8
            left, top, right, bottom = shape.box
            near = (left - 2 < xs) & (xs < right + 2) & (top - 2 < ys) & (ys < bottom + 2)
            coloured = near & (saturation > np.median(saturation[inside]) / 2)
            assert (coloured & inside).sum() / (coloured | inside).sum() > 0.85
            shifts.append([axis[coloured].mean() - axis[inside].mean() for axis in (xs, ys)])
            elsewhere &= ~near
        assert saturation[elsewhere].max() <= 15  # nothing but the noise
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.1  # pixels


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_written_data_set(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    path = write_toy(tmp_path / "toy", images=30, seed=3)
    records = read_dataset(path)
    assert [record.split for record in records].count("val") == 5
    assert len(records) == 30
    assert open_image(records[0].path).size == (128, 128)
    assert read_dataset(tmp_path / "toy/captions_val.json") == [
        record for record in records if record.split == "val"
    ]
    coco = COCO()
    coco.dataset = json.loads((tmp_path / "toy/instances_val.json").read_text())
    coco.createIndex()
    assert coco.getImgIds() == [record.image_id for record in records if record.split == "val"]
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(SHAPES)
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(annotation)
        left, top, width, height = annotation["bbox"]
        ys, xs = mask.nonzero()
        assert left - 1 <= xs.min() <= xs.max() <= left + width + 1
        assert top - 1 <= ys.min() <= ys.max() <= top + height + 1
        assert mask.sum() == pytest.approx(annotation["area"], rel=0.15)


def digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "report.json":  # it names the folder
            whole.update(path.name.encode() + path.read_bytes())
    return whole.hexdigest()


def test_seeds(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write_toy(tmp_path / name, images=6, seed=seed, size=64)
    assert digest(tmp_path / "one") == digest(tmp_path / "two") != digest(tmp_path / "three")


def test_pictures_are_pinned() -> None:
    """The same seed draws the same everywhere; raise toy._VERSION when this must change."""
    scene = make_scene(random.Random("0-1"), 64)
    assert scene.captions[0] == "A small green triangle."
    assert scene.shapes[0].outline == ((13.23, 9.26), (20.18, 18.67), (8.55, 19.99))


def test_pictures_are_drawn_once(tmp_path: Path) -> None:
    path = write_toy(tmp_path / "toy", images=6, size=32)
    before = path.stat().st_mtime_ns
    write_toy(tmp_path / "toy", images=6, size=32)
    assert path.stat().st_mtime_ns == before
    write_toy(tmp_path / "toy", images=7, size=32)
    assert len(read_dataset(path)) == 7
    write_toy(tmp_path / "toy", images=6, size=32)
    assert len(read_dataset(path)) == len(list((tmp_path / "toy/images").iterdir())) == 6


def test_an_interrupted_drawing_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(toy, "draw", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_toy(tmp_path / "toy", images=6, size=32)
    assert len(read_dataset(write_toy(tmp_path / "toy", images=6, size=32))) == 6


@pytest.mark.parametrize("state", ["just begun", "no name yet", "half of the data set"])
def test_a_killed_drawing_is_repeated(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "toy"

    def kill(path: Path, *args: object, **_: object) -> None:
        if state == "half of the data set":  # after the first file got its name
            path.rename(args[0])  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if state == "just begun":
            folder.mkdir()
            (folder / "toy.json").touch()
        else:
            patch.setattr(Path, "write_text" if state == "no name yet" else "replace", kill)
            with pytest.raises(KeyboardInterrupt):
                write_toy(folder, images=6, size=32)
    assert len(read_dataset(write_toy(folder, images=6, size=32))) == 6


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(DataError, match="holds other files"):
        write_toy(tmp_path)
    with pytest.raises(DataError, match="draw at least 6"):
        write_toy(tmp_path / "toy", images=5)
    with pytest.raises(DataError, match="cannot be written"):
        write_toy(tmp_path / "thesis.txt" / "toy", images=6)
    assert json.dumps(sorted(path.name for path in tmp_path.iterdir())) == '["thesis.txt"]'
