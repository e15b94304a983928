"""``ground --faithful`` on a small model: what is measured, of which words, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from showattend.captioner import Captioner
from showattend.decoding.explaining import KINDS
from showattend.evaluation.grounding import faithfulness
from showattend.evaluation.grounding.faithful_tables import beta_line, faithful_tables
from showattend.evaluation.grounding.faithfulness import Removal, classes_of
from showattend.evaluation.grounding.ground import ground
from showattend.evaluation.grounding.nouns import NounTable
from showattend.exceptions import ConfigError, DataError, UserError


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Three photos with a dog in a corner, and human captions of two of them."""
    draw = np.random.default_rng(0)
    images = [{"id": k, "file_name": f"{k}.png", "width": 40, "height": 40} for k in (1, 2, 3)]
    for each in images:
        pixels = draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / str(each["file_name"]))
    objects = [
        {"id": k, "image_id": k, "category_id": 1, "bbox": [0, 0, 20, 20]} for k in (1, 2, 3)
    ]
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "dog"}]}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    said = [
        {"id": 1, "image_id": 1, "caption": "."},
        {"id": 2, "image_id": 1, "caption": "a red dog runs"},
        {"id": 3, "image_id": 1, "caption": "a dog"},
        {"id": 4, "image_id": 3, "caption": "the man in a shirt"},
    ]
    (tmp_path / "captions.json").write_text(json.dumps({"images": images, "annotations": said}))
    return tmp_path


@pytest.fixture
def nameable(world: Path, untrained: Captioner) -> Path:
    """The same, with an object for every word of the model: what it says names one."""
    content = json.loads((world / "instances.json").read_text())
    names = [w for w in untrained.vocabulary.words if w.isalpha() and w != "dog"]
    content["categories"] += [{"id": n, "name": word} for n, word in enumerate(names, 2)]
    content["annotations"] += [
        {"id": 100 * n + k, "image_id": k, "category_id": n, "bbox": [20, 0, 20, 20]}
        for n in range(2, 2 + len(names))
        for k in (1, 2, 3)
    ]
    (world / "instances.json").write_text(json.dumps(content))
    return world


RUN = ("captions", "beam_size", "progress", "sigma", "outputs")


def measure(world: Path, captioner: Captioner, **options: Any) -> dict[str, Any]:
    """The part of the result of `ground` that is about faithfulness."""
    of_run = {name: options.pop(name) for name in RUN if name in options}
    of_run["faithful"] = Removal(**options)
    found = ground(world / "instances.json", world, captioner, **of_run)
    return {**found["faithful"], "skipped": found["skipped"], "notes": found["notes"]}


def test_human_captions(world: Path, untrained: Captioner, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    look = Captioner._look
    monkeypatch.setattr(
        Captioner, "_look", lambda self, photos: looked.extend(photos) or look(self, photos)
    )
    seen: list[tuple[str, int, int]] = []
    found = measure(
        world, untrained, captions=world / "captions.json", pixels=1,
        progress=lambda *done: seen.append(done),
    )  # fmt: skip
    one, other = found["captions"]
    assert (one["image_id"], one["caption"]) == (1, "a red dog runs")  # the first that has words
    assert other["image_id"] == 3
    assert seen == [("Grounding", 1, 2), ("Grounding", 2, 2)]
    assert [Path(photo).name for photo, _ in looked] == ["1.png", "3.png"], "each once"
    assert [word["class"] for word in one["words"]] == ["function", "colour", "noun", "verb"]
    _, red, dog, runs = one["words"]
    assert set(dog["curves"]) == {*KINDS, "random", "centre", "another word", "least attended"}
    assert set(one["words"][0]["curves"]) == set(dog["curves"]) - set(KINDS) | {"attention"}
    assert set(dog["pointing"]) == set(KINDS)
    assert 0 <= dog["pointing"]["grad"]["mass"] <= 1
    assert not any("pointing" in word for word in (red, runs, *other["words"]))
    assert [("pixels" in word) for word in one["words"]] == [False, True, True, True]
    assert not any("pixels" in word for word in other["words"])
    assert dog["curves"]["random"]["drops"] != red["curves"]["random"]["drops"]
    assert found["settings"]["sentences"] == "human, the first of each image"
    assert found["settings"]["beam_size"] is None
    assert json.loads(json.dumps(found)) == found
    tables = faithful_tables(found)
    assert list(tables) == ["faithful", "pixels", "explained", "classes", "trust"]
    assert {row[0] for row in tables["explained"].rows} >= {"Grad-CAM", "gradient × input"}
    for table in tables.values():
        assert all(len(row) == len(table.header) for row in table.rows)
        assert table.markdown().startswith(f"{table.title}\n\n| ")
    assert beta_line(found).startswith("Rank correlation of β")


def test_own_captions_and_another_images_annotations(nameable: Path, untrained: Captioner) -> None:
    world = nameable
    (world / "2.png").write_bytes(b"no image")
    options: dict[str, Any] = {"kinds": ["attention", "occlusion"], "beam_size": 2}
    mean, other = (measure(world, untrained, replace=each, **options) for each in ("mean", "other"))
    assert [row["image_id"] for row in mean["captions"]] == [1, 3]
    assert [each["image_id"] for each in mean["skipped"]] == [2]
    assert mean["notes"][0].startswith("1 of 3 images are left out")
    assert mean["settings"]["beam_size"] == 2
    words = [[word["word"] for word in row["words"]] for row in mean["captions"]]
    assert words == [[word["word"] for word in row["words"]] for row in other["captions"]]
    totals = [
        [word["total"] for row in found["captions"] for word in row["words"]]
        for found in (mean, other)
    ]
    assert not np.allclose(*totals)
    again = measure(world, untrained, **options)
    assert again["captions"] == mean["captions"]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"replace": "zero"}, ConfigError, "no replacement 'zero'; choose from mean, other"),
        ({"kinds": ["lime"]}, ConfigError, "no explanation 'lime'"),
        ({"pixels": -1}, ConfigError, "pixels"),
        ({"sigma": 2}, ConfigError, "sigma"),
    ],
)
def test_bad_options_are_refused(
    world: Path, untrained: Captioner, options: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        measure(world, untrained, **options)


def test_an_interrupted_run_is_continued(
    nameable: Path, untrained: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is measured, the result is that of a run without interruption, floats included."""
    kept = nameable / "out" / "found.json.part"
    options: dict[str, Any] = {"kinds": ["attention", "occlusion"], "replace": "other"}
    options["beam_size"] = 2
    whole = measure(nameable, untrained, **options)

    def stop(_: str, done: int, total: int) -> None:
        if done == 3:  # the second is measured when the third is there
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(nameable, untrained, progress=stop, kept=kept, **options)
    assert kept.read_bytes().count(b"\n") == 3, "what they depend on, and two images"
    with pytest.raises(UserError, match=r"measurements of 2 images here; add --resume"):
        measure(nameable, untrained, kept=kept, **options)
    with pytest.raises(UserError, match="was begun with another replace"):
        measure(nameable, untrained, kept=kept, resume=True, **{**options, "replace": "mean"})
    measured = []
    real = faithfulness._measure
    monkeypatch.setattr(
        faithfulness, "_measure", lambda *a, **k: measured.append(a[1].image_id) or real(*a, **k)
    )
    assert measure(nameable, untrained, kept=kept, resume=True, **options) == whole
    assert measured == [3]


def test_bad_data_are_refused(world: Path, untrained: Captioner) -> None:
    with pytest.raises(UserError):
        measure(world, untrained, outputs=[world / "1.png"])
    human = {"captions": world / "captions.json"}
    for name in ("2.png", "3.png"):
        (world / name).unlink()
    with pytest.raises(DataError, match="takes two"):
        measure(world, untrained, replace="other", kinds=["attention"], **human)
    (world / "1.png").unlink()
    with pytest.raises(DataError, match="none of the images"):
        measure(world, untrained)
    other = [{"id": 1, "image_id": 9, "caption": "a dog"}]
    images = [{"id": 9, "file_name": "9.png"}]
    (world / "others.json").write_text(json.dumps({"images": images, "annotations": other}))
    Image.new("RGB", (9, 9)).save(world / "9.png")
    with pytest.raises(DataError, match="has no caption of an image"):
        measure(world, untrained, captions=world / "others.json")


def test_words_have_classes() -> None:
    words = ["two", "brown", "dogs", "are", "running", "in", "front", "of", "the"]
    words += ["fire", "hydrant", "near", "a", "cozy", "bench"]
    found = dict(zip(words, classes_of(words, NounTable(["fire hydrant", "bench"])), strict=True))
    assert found == {
        "two": "other", "brown": "colour", "dogs": "noun", "are": "function", "running": "verb",
        "in": "function", "front": "function", "of": "function", "the": "function",
        "fire": "noun", "hydrant": "noun", "near": "function", "a": "function", "cozy": "other",
        "bench": "noun",
    }  # fmt: skip
    assert classes_of([]) == []
