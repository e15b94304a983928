"""Grounding on synthetic images with known answers, and the table of nouns."""

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
from showattend.evaluation.grounding.ground import MEASURES, ground, ground_caption, intervals
from showattend.evaluation.grounding.instances import Instances
from showattend.evaluation.grounding.nouns import _NOUNS, NounTable
from showattend.evaluation.grounding.pointing import Look, centre_map
from showattend.exceptions import DataError, ImageError
from showattend.images.geometry import Geometry
from showattend.images.upright import open_image
from showattend.model.score_settings import SEARCH
from showattend.model.search_options import SearchOptions

GRID = 4
CELL = 10  # pixels; the images are 40 x 40


def one_hot(row: int, col: int) -> np.ndarray:
    alpha = np.zeros((GRID, GRID), np.float32)
    alpha[row, col] = 1
    return alpha


def make_caption(words: list[str], maps: list[np.ndarray], size: tuple[int, int]) -> Caption:
    count = len(words)
    geometry = Geometry(size, (0, 0, *size))
    return Caption(
        tuple(words), (0.0,) * count, np.stack(maps), np.ones(count), geometry, score=0.0
    )


class Fake:
    """Captions with "a dog" (or the given words), and looks at ``look`` for each word."""

    name = "fake"
    search = SearchOptions()
    preprocessing = SimpleNamespace(size=128)
    dtype = "torch.float32"
    device = torch.device("cpu")

    def digests(self) -> dict[str, Any]:
        return {"name": self.name, "weights": None, "encoder": "0" * 16}

    def __init__(self, look: Any, words: tuple[str, ...] = ("a", "dog")) -> None:
        self.look, self.words = look, words

    def stream(self, images: Any, **_: Any) -> Iterator[tuple[Any, Caption | ImageError]]:
        for image in images:
            try:
                yield image, self._say(list(self.words), open_image(image))
            except ImageError as error:
                yield image, error

    def attend_all(self, image: Any, texts: list[str]) -> list[Caption]:
        opened = open_image(image)  # once an image
        assert all(text.strip() for text in texts)
        return [self._say(text.split(), opened) for text in texts]

    def _say(self, words: list[str], image: Image.Image) -> Caption:
        return make_caption(words, [self.look(word) for word in words], image.size)


def cell_polygon(row: int, col: int) -> list[list[int]]:
    x, y = col * CELL, row * CELL
    return [[x, y, x + CELL, y, x + CELL, y + CELL, x, y + CELL]]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Three images 40 x 40, in each a dog in cell (1, 2) and a circle in cell (3, 0)."""
    images, annotations = [], []
    for k in (1, 2, 3):
        Image.new("RGB", (40, 40)).save(tmp_path / f"{k}.png")
        images.append({"id": k, "file_name": f"{k}.png", "width": 40, "height": 40})
        for category, cell in ((18, (1, 2)), (900, (3, 0))):
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": k,
                    "category_id": category,
                    "segmentation": cell_polygon(*cell),
                    "iscrowd": 0,
                }
            )
    categories = [
        {"id": 18, "name": "dog"},
        {"id": 900, "name": "circle"},
        {"id": 3, "name": "car"},
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    return tmp_path


def test_a_model_that_looks_at_the_object_and_one_that_does_not(world):
    right = ground(
        world / "instances.json",
        world,
        Fake(lambda w: one_hot(1, 2) if w == "dog" else one_hot(0, 0)),
    )
    wrong = ground(
        world / "instances.json",
        world,
        Fake(lambda w: one_hot(0, 0) if w == "dog" else one_hot(1, 2)),
    )

    assert right["words"] == right["images"] == 3
    assert right["pointing"]["model"] == 1
    assert right["pointing"]["other_word"] == 0
    assert wrong["pointing"]["model"] == 0
    assert wrong["pointing"]["other_word"] == 1
    # For any model: the mask is one cell of sixteen, away from the centre.
    for found in (right, wrong):
        assert found["pointing"]["uniform"] == found["mass"]["uniform"] == 1 / 16
    assert right["mass"]["model"] > 0.5  # the rest is the interpolation's slope outside the cell
    assert wrong["mass"]["model"] < 0.001  # and its ripple
    # All images agree, so there is no spread.
    assert right["interval"]["pointing"]["uniform"] == pytest.approx([15 / 16, 15 / 16])
    assert wrong["interval"]["pointing"]["other_word"] == [-1, -1]
    assert right["categories"] == {
        "dog": {"words": 3} | {measure: right[measure] for measure in MEASURES}
    }
    wanted = {
        "sentences": "model", "beam_size": 5, "length_penalty": 0.7, "block_ngrams": 0,
        "min_length": 1, "max_length": 30, "size": 128, "precision": "float32",
    }  # fmt: skip
    assert right["settings"].items() >= wanted.items()
    json.dumps(right)


def test_a_box_is_larger_than_its_object(world):
    """A peak beside the mask, but inside the box around it."""
    content = json.loads((world / "instances.json").read_text())
    for annotation in content["annotations"]:
        annotation["bbox"] = [0, 0, 40, 40]
    (world / "instances.json").write_text(json.dumps(content))
    found = ground(world / "instances.json", world, Fake(lambda _: one_hot(2, 3)))
    assert found["pointing"]["model"] == 0
    assert found["pointing_boxes"]["model"] == 1
    assert found["pointing_boxes"]["uniform"] == 1
    assert found["pointing"]["uniform"] == 1 / 16


def test_a_uniform_model_scores_the_area_like_the_uniform_baseline(world):
    even = np.full((GRID, GRID), 1 / 16, np.float32)
    found = ground(world / "instances.json", world, Fake(lambda _: even))
    for measure in ("pointing", "mass"):
        for name in ("model", "uniform", "other_word"):
            assert found[measure][name] == pytest.approx(1 / 16, abs=1e-6)
        assert found["interval"][measure]["uniform"] == pytest.approx([0, 0], abs=1e-6)


def test_centre_baseline_by_hand():
    mask = np.zeros((5, 5), bool)
    mask[2, 2] = True
    assert Look(centre_map((5, 5))).pointing(mask) == 1
    # With an even size four pixels are the middle; one of them is covered.
    even = np.zeros((4, 4), bool)
    even[1, 1] = True
    assert Look(centre_map((4, 4))).pointing(even) == 0.25
    # Half of the image holds half of a symmetric map; width and height are not mixed up.
    half = np.zeros((4, 6), bool)
    half[:, :3] = True
    assert Look(centre_map((6, 4))).mass(half) == pytest.approx(0.5)
    # The Gaussian's value at the middle of the leftmost of 8 pixels: 0.4375 / 0.25 sigmas out.
    line = centre_map((8, 1))[0]
    assert line[0] / line[3] == pytest.approx(np.exp(-0.5 * (1.75**2 - 0.25**2)))


def test_other_words_are_averaged():
    maps = [one_hot(1, 2), one_hot(0, 0), one_hot(2, 1), one_hot(3, 3), one_hot(0, 3)]
    caption = make_caption(["a", "dog", "runs", "very", "fast"], maps, (40, 40))
    mask = np.zeros((40, 40), bool)
    mask[10:20, 20:30] = True
    (word,) = ground_caption(caption, {"dog": mask}, NounTable(["dog"]))
    assert word["pointing"]["model"] == 0
    assert word["pointing"]["other_word"] == 1 / 4
    assert (word["word"], word["position"], word["categories"]) == ("dog", 1, ["dog"])


def test_a_name_of_two_words_uses_their_mean_map():
    maps = [one_hot(0, 0), 0.4 * one_hot(0, 0) + 0.6 * one_hot(3, 3), one_hot(3, 3)]
    caption = make_caption(["hot", "dog", "bun"], maps, (40, 40))
    masks = {"hot dog": np.zeros((40, 40), bool), "dog": np.ones((40, 40), bool)}
    masks["hot dog"][:20, :20] = True
    (word,) = ground_caption(caption, masks, NounTable(["dog", "hot dog"]))
    assert word["word"] == "hot dog"
    assert word["categories"] == ["hot dog"]
    assert word["pointing"]["model"] == 1  # 0.7 there, 0.3 at the bun
    assert word["pointing"]["other_word"] == 0


def test_peak_is_found_at_pixel_precision():
    # A cell is 10 pixels wide; its peak is at its middle: the object's border runs beside it.
    caption = make_caption(["a", "dog"], [one_hot(0, 0), one_hot(1, 2)], (40, 40))
    for columns, hit in ((slice(24, 26), 1.0), (slice(26, 30), 0.0), (slice(20, 24), 0.0)):
        mask = np.zeros((40, 40), bool)
        mask[14:16, columns] = True
        (word,) = ground_caption(caption, {"dog": mask}, NounTable(["dog"]))
        assert word["pointing"]["model"] == hit


def test_the_peak_is_from_the_blurred_map_and_the_mass_is_not(world):
    """The dog's cell and those around it together outweigh one cell in the corner."""
    alpha = np.zeros((GRID, GRID), np.float32)
    alpha[0:3, 1:4] = 0.09
    alpha[1, 2] = 0.118
    alpha[3, 0] = 0.12  # the circle's
    blurred, plain = (
        ground(world / "instances.json", world, Fake(lambda _: alpha), sigma=sigma)
        for sigma in (0.15, 0.0)
    )
    assert blurred["pointing"]["model"] == 1
    assert plain["pointing"]["model"] == 0
    assert blurred["mass"] == plain["mass"]
    assert blurred["pointing"]["uniform"] == plain["pointing"]["uniform"] == 1 / 16
    assert (blurred["settings"]["sigma"], plain["settings"]["sigma"]) == (0.15, 0.0)
    assert blurred["settings"]["size"] == 128
    assert blurred["settings"]["precision"] == "float32"


def test_words_are_counted_only_for_what_the_image_shows(world):
    fake = Fake(lambda _: one_hot(1, 2), ("two", "puppies", "near", "a", "car", "and", "circles"))
    found = ground(world / "instances.json", world, fake)
    assert [w["word"] for w in found["captions"][0]["words"]] == ["puppies", "circles"]
    assert found["words"] == 6
    assert found["pointing"]["model"] == 0.5
    assert {name: row["words"] for name, row in found["categories"].items()} == {
        "circle": 3,
        "dog": 3,
    }
    with pytest.raises(DataError, match="no word of 3 captions"):
        ground(world / "instances.json", world, Fake(lambda _: one_hot(0, 0), ("a", "car")))


def test_human_captions_are_forced(world):
    content = {
        "images": [{"id": k, "file_name": f"{k}.png"} for k in (1, 2)],
        "annotations": [
            {"id": 1, "image_id": 1, "caption": "the dog sleeps"},
            {"id": 2, "image_id": 1, "caption": "one circle"},
            {"id": 3, "image_id": 2, "caption": "nothing here"},
        ],
    }
    path = world / "captions_val.json"
    path.write_text(json.dumps(content))
    steps = []

    found = ground(
        world / "instances.json",
        world,
        Fake(lambda _: one_hot(1, 2)),
        captions=path,
        progress=lambda _, done, total: steps.append((done, total)),
    )

    assert [row["caption"] for row in found["captions"]] == [
        "the dog sleeps",
        "one circle",
        "nothing here",
    ]
    assert (found["words"], found["images"], found["pointing"]["model"]) == (2, 1, 0.5)
    assert found["settings"]["sentences"] == "human"
    assert found["settings"]["precision"] == "float32"
    assert all(found["settings"][key] is None for key in SEARCH)  # there was no search
    assert steps == [(1, 2), (2, 2)]

    for image in content["images"]:
        image["id"] += 100
    for annotation in content["annotations"]:
        annotation["image_id"] += 100
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="no caption of an image"):
        ground(world / "instances.json", world, Fake(lambda _: one_hot(1, 2)), captions=path)


def test_bad_images_are_left_out_and_named(world):
    (world / "2.png").unlink()
    found = ground(world / "instances.json", world, Fake(lambda _: one_hot(1, 2)))
    assert found["images"] == 2
    assert [row["image_id"] for row in found["skipped"]] == [2]
    assert "1 of 3 images" in found["notes"][0]
    for k in (1, 3):
        (world / f"{k}.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of the images"):
        ground(world / "instances.json", world, Fake(lambda _: one_hot(1, 2)))


def test_masks_of_every_kind_and_size(tmp_path):
    from pycocotools import mask as coco_mask

    region = np.zeros((20, 40), np.uint8)
    region[5:10, 30:40] = 1
    compressed = coco_mask.encode(np.asfortranarray(region))
    compressed["counts"] = compressed["counts"].decode()
    # Column by column, zeros first: 30 columns and 5 pixels of nothing, 5 of object ...
    counts = [30 * 20 + 5, *[5, 15] * 9, 5, 10]
    shapes = {
        "polygon": {"segmentation": [[30, 5, 40, 5, 40, 10, 30, 10]]},
        "compressed": {"segmentation": compressed},
        "counts": {"segmentation": {"size": [20, 40], "counts": counts}, "iscrowd": 1},
        "box": {"bbox": [30, 5, 10, 5]},
        "two polygons": {
            "segmentation": [[30, 5, 35, 5, 35, 10, 30, 10], [35, 5, 40, 5, 40, 10, 35, 10]]
        },
    }
    content = {
        "images": [{"id": 1, "file_name": "1.png", "width": 40, "height": 20}],
        "categories": [{"id": k, "name": name} for k, name in enumerate(shapes)],
        "annotations": [
            {"id": k, "image_id": 1, "category_id": k, **shape}
            for k, shape in enumerate(shapes.values())
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    instances = Instances.load(path)

    masks = instances.masks(1, (40, 20))
    assert set(masks) == set(shapes)
    for mask in masks.values():
        assert np.array_equal(mask, region.astype(bool))
    # The file is twice as large as the annotations say.
    for mask in instances.masks(1, (80, 40)).values():
        assert np.array_equal(mask, np.kron(region, np.ones((2, 2))).astype(bool))


@pytest.mark.parametrize("sides", [{"width": 10**6, "height": 10**6}, {"width": float("nan")}])
def test_an_image_of_an_impossible_size_is_named(world, sides):
    content = json.loads((world / "instances.json").read_text())
    content["images"][0] |= sides
    (world / "instances.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"image 1: claims over 178,956,970 pixels"):
        Instances.load(world / "instances.json")


def test_objects_of_one_category_are_joined(world):
    content = json.loads((world / "instances.json").read_text())
    extra = dict(content["annotations"][0], id=99, segmentation=cell_polygon(0, 0))
    content["annotations"].append(extra)
    (world / "instances.json").write_text(json.dumps(content))
    mask = Instances.load(world / "instances.json").masks(1, (40, 40))["dog"]
    expected = np.zeros((40, 40), bool)
    expected[10:20, 20:30] = expected[:10, :10] = True
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "broken JSON"),
        ("[]", "not a COCO instances file"),
        ('{"images": [{"id": 1}], "annotations": [{"image_id": 1}]}', "not a COCO instances file"),
        ('{"images": [], "annotations": [], "categories": []}', "lists no object"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "instances.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        Instances.load(path)
    with pytest.raises(DataError, match="no such file"):
        Instances.load(tmp_path / "absent.json")


@pytest.mark.parametrize(
    "shape",
    [
        ["nonsense"],
        [[0, 0, float("nan"), 0, 5, 5]],  # pycocotools would hang on these
        [[0, 0, 1e9, 0, 5, 5]],
        [[0, 0, "5", 0, 5, 5]],
        {"size": [10**6, 10**6], "counts": "000"},
    ],
)
def test_a_broken_segmentation_is_named(world, shape):
    content = json.loads((world / "instances.json").read_text())
    content["annotations"][0]["segmentation"] = shape
    (world / "instances.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="object 0 of image 1"):
        ground(world / "instances.json", world, Fake(lambda _: one_hot(1, 2)))


def test_interval_is_a_bootstrap_over_images():
    def word(model: float) -> dict[str, Any]:
        values = {"model": model, "uniform": 0.0, "centre": model, "other_word": 1.0}
        return dict.fromkeys(MEASURES, values)

    generator = np.random.default_rng(1)
    hits = generator.random(200) < 0.7
    found = intervals([[word(float(hit))] for hit in hits])
    # With one word per image this is the bootstrap of a proportion: normal, with known spread.
    mean, spread = hits.mean(), np.sqrt(hits.mean() * (1 - hits.mean()) / 200)
    low, high = found["pointing"]["uniform"]
    assert low == pytest.approx(mean - 1.96 * spread, abs=0.012)
    assert high == pytest.approx(mean + 1.96 * spread, abs=0.012)
    assert found["pointing"]["centre"] == [0, 0]  # paired: the same words on both sides
    assert found["mass"]["other_word"] == pytest.approx([low - 1, high - 1])
    assert intervals([[word(float(hit))] for hit in hits]) == found

    # Words of one image go together: ten copies of each word make the interval no narrower.
    copies = intervals([[word(float(hit))] * 10 for hit in hits])
    assert copies["pointing"]["uniform"] == pytest.approx([low, high])


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("two men and a woman with children", ["men", "woman", "children"]),
        ("a fire hydrant near a stop sign", ["fire hydrant", "stop sign"]),
        ("hot dogs for the dogs", ["hot dogs", "dogs"]),
        ("a train at the train station", ["train"]),
        ("people on skis at the ski lift", ["people", "skis"]),
        (
            "knives , mice , geese , buses and puppies",
            ["knives", "mice", "geese", "buses", "puppies"],
        ),
        ("A Baseball Player holds a Bat", ["Player", "Bat"]),
        ("the tennis rackets and baseball gloves", ["tennis rackets", "baseball gloves"]),
        ("a white sign in soft light", []),
        ("", []),
    ],
)
def test_nouns(sentence, expected):
    words = sentence.split()
    found = NounTable(_NOUNS).find(words)
    assert [" ".join(words[m.start : m.stop]) for m in found] == expected


def test_nouns_name_their_categories():
    table = NounTable(_NOUNS)

    def categories(words: str) -> list[tuple[str, ...]]:
        return [mention.categories for mention in table.find(words.split())]

    assert categories("a puppy and a cowboy") == [("dog",), ("person",)]
    assert categories("bike") == [("bicycle", "motorcycle")]
    assert categories("a polar bear") == [("bear",)]
    assert categories("a teddy bear") == [("teddy bear",)]
    assert len(_NOUNS) == 80
    for name in _NOUNS:
        assert categories(name) == [(name,)] or name in categories(name)[0]


def test_other_categories_match_by_name_and_plural():
    table = NounTable(["circle", "Traffic_cone", "box", "berry"])
    sentence = "circles , a traffic cone , boxes , berries and a dog"
    assert [m.categories for m in table.find(sentence.split())] == [
        ("circle",),
        ("Traffic_cone",),
        ("box",),
        ("berry",),
    ]
