"""COCO's instances files: errors are one line, and what is not needed may be missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from showattend.evaluation.grounding.instances import Instances
from showattend.exceptions import DataError

POLYGON = [[20, 10, 30, 10, 30, 20, 20, 20]]


@pytest.fixture
def content() -> dict[str, Any]:
    """One photo with a dog, in COCO's form."""
    return {
        "images": [{"id": 1, "file_name": "1.png", "width": 40, "height": 40}],
        "annotations": [{"id": 0, "image_id": 1, "category_id": 18, "segmentation": POLYGON}],
        "categories": [{"id": 18, "name": "dog"}],
    }


def masks_of(content: dict[str, Any], folder: Path) -> list[dict[str, np.ndarray]]:
    """The masks of the photo's objects, and those of their boxes."""
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    instances = Instances.load(path)
    assert [instances.path(folder, i) for i in instances.images] == [folder / "1.png"]
    return [instances.masks(1, (40, 40), boxes) for boxes in (False, True)]


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("images", {"file_name": None}, r"image 1: has no 'file_name'"),
        ("images", {"file_name": ...}, r"image 1: has no 'file_name'"),
        ("images", {"file_name": "a\0b"}, r"image 1: .* cannot be the name of a file"),
        ("images", {"width": 0}, r"image 1: 'width' must be a number of pixels, not 0"),
        ("images", {"height": None}, r"image 1: 'height' must be a number of pixels, not null"),
        ("categories", {"name": 3}, "a category's name must be text, not 3"),
        ("annotations", {"bbox": [0, 0, 9]}, r"object 0 of image 1: .* pixels, not \[0, 0, 9\]"),
        ("annotations", {"bbox": [0, 0, 9, "9"]}, "object 0 of image 1: its bbox must be four"),
        ("annotations", {"bbox": [0, 0, 9, float("nan")]}, "its bbox must be four numbers"),
        ("annotations", {"bbox": 9}, "its bbox must be four numbers of pixels, not 9"),
        (
            "annotations",
            {"segmentation": {"size": [0, 0], "counts": []}},
            "object 0 of image 1: its run-length mask has no pixels",
        ),
    ],
)
def test_an_imperfect_file_is_named_in_one_line(
    key: str, change: dict[str, Any], message: str, content: dict[str, Any], tmp_path: Path
) -> None:
    entry = content[key][0]
    for name, value in change.items():
        entry[name] = value
        if value is ...:
            del entry[name]
    with pytest.raises(DataError, match=message) as caught:
        masks_of(content, tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_not_needed_may_be_missing(content: dict[str, Any], tmp_path: Path) -> None:
    """An image without objects lacks a name, one object lacks a box, and one lacks everything."""
    whole = masks_of(content, tmp_path)
    content["images"].append({"id": 4})
    content["annotations"][0]["bbox"] = None
    content["annotations"].append({"id": 99, "image_id": 1, "category_id": 18, "bbox": []})
    for found, expected in zip(masks_of(content, tmp_path), whole, strict=True):
        assert found["dog"].sum() == 100
        assert np.array_equal(found["dog"], expected["dog"])
