"""Right and wrong words, and big objects, in synthetic images with known answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from showattend.evaluation.grounding.ground import ground, summary
from showattend.evaluation.grounding.nouns import NounTable
from showattend.evaluation.grounding.pointing import Look
from showattend.evaluation.grounding.wrong_words import Scene, confusions, judge_caption
from tests.evaluation.grounding.test_ground import Fake, make_caption, one_hot
from tests.evaluation.grounding.test_ground import world as world

SIZE = (40, 40)  # 4 x 4 cells of 10 pixels
NOUNS = NounTable(["dog", "car", "cup", "bicycle", "motorcycle", "dining table"])


def mask(*cells: tuple[int, int]) -> np.ndarray:
    found = np.zeros(SIZE, bool)
    for row, col in cells:
        found[10 * row : 10 * row + 10, 10 * col : 10 * col + 10] = True
    return found


def judged(words: str, looks: dict[str, tuple[int, int]], **masks: np.ndarray) -> dict[str, Any]:
    """A caption whose words look at the given cells, by default at the upper left one."""
    said = words.split()
    caption = make_caption(said, [one_hot(*looks.get(word, (0, 0))) for word in said], SIZE)
    return judge_caption(caption, masks, NOUNS)


def test_a_wrong_word_saw_the_wrong_thing_or_looked_at_the_wrong_place() -> None:
    for cell, at, another in (((1, 2), "dog", 1), ((3, 3), None, 0)):
        (word,) = judged("a car", {"car": cell}, dog=mask((1, 2)))["named"]
        assert (word["word"], word["position"], word["right"]) == ("car", 1, False)
        assert word["categories"] == ["car"]
        assert word["at"] == at
        assert word["peak"]["model"] == {"own": 0, "another": another, "none": 1 - another}
        assert (word["mass"]["model"]["another"] > 0.5) == bool(another)
        # The dog has one cell of sixteen, and one of the four pixels in the middle.
        assert word["peak"]["uniform"]["another"] == word["mass"]["uniform"]["another"] == 1 / 16
        assert word["peak"]["centre"]["another"] == 1 / 4
        assert 1 / 16 < word["mass"]["centre"]["another"] < 1 / 4
        assert word["peak"]["other_word"]["another"] == 0
        assert word["chance"] == {"dog": {"uniform": 1 / 16, "centre": 1 / 4}}


def test_a_right_word_may_look_elsewhere() -> None:
    """It may look at its own object, at another one, or at none."""
    scene = {"dog": mask((1, 2), (1, 3)), "car": mask((3, 0))}
    for cell, at, place in (
        ((1, 2), "dog", "own"), ((3, 0), "car", "another"), ((3, 3), None, "none"),
    ):  # fmt: skip
        (word,) = judged("a dog", {"dog": cell}, **scene)["named"]
        assert word["right"]
        assert word["at"] == at
        assert word["peak"]["model"] == {"own": 0, "another": 0, "none": 0} | {place: 1}
        assert word["peak"]["uniform"] == {"own": 2 / 16, "another": 1 / 16, "none": 13 / 16}


def test_shared_pixels_go_to_the_smallest_object_or_the_words_own() -> None:
    scene = {"dining table": mask((2, 0), (2, 1), (2, 2), (2, 3)), "cup": mask((2, 1))}
    (word,) = judged("a dog", {"dog": (2, 1)}, **scene)["named"]
    assert word["at"] == "cup"
    assert word["chance"]["dining table"]["uniform"] == 3 / 16
    (word,) = judged("a table", {"table": (2, 1)}, **scene)["named"]
    assert word["at"] == "dining table"
    assert word["peak"]["model"]["own"] == 1
    assert word["peak"]["uniform"] == {"own": 4 / 16, "another": 0, "none": 12 / 16}


def test_a_shared_peak_is_divided() -> None:
    even = np.full((4, 4), 1 / 16, np.float32)
    caption = make_caption(["a", "car"], [even, even], SIZE)
    (word,) = judge_caption(caption, {"dog": mask((1, 2), (0, 0))}, NOUNS)["named"]
    for measure in ("peak", "mass"):
        for name in ("model", "uniform", "other_word"):
            assert word[measure][name]["another"] == pytest.approx(2 / 16)
    assert word["at"] is None


def test_which_words_are_judged() -> None:
    # "bike" may mean a bicycle, so it is right if there is one. Other words are neither.
    named = judged("a bike near a tree and a car", {}, bicycle=mask((0, 0)))["named"]
    assert [(word["word"], word["right"]) for word in named] == [("bike", True), ("car", False)]
    (word,) = judged("a bike", {}, dog=mask((0, 0)))["named"]
    assert (word["categories"], word["right"]) == (["bicycle", "motorcycle"], False)
    # Nothing is judged without another word to compare with, or without an object.
    assert judged("cars", {}, dog=mask((0, 0)))["named"] == []
    assert judged("a car", {}) == {"named": [], "big": []}
    empty = make_caption(["a"], [one_hot(0, 0)], SIZE)
    assert judge_caption(empty, {"dog": mask((0, 0))}, NOUNS)["named"] == []


def test_big_objects_mentioned_and_overlooked() -> None:
    # Both words look at the upper left: the dog has it; the car has the right half, the cup a cell.
    scene = {"dog": mask((0, 0), (0, 1)), "cup": mask((3, 0))}
    scene["car"] = mask(*((row, col) for row in range(4) for col in (2, 3)))
    big = {each["category"]: each for each in judged("a dog", {"dog": (0, 2)}, **scene)["big"]}
    assert list(big) == ["dog", "car"]  # a cup on a sixteenth of the image is not big
    assert [each["mentioned"] for each in big.values()] == [True, False]
    assert big["dog"]["peak"] == {"model": 0.5, "uniform": 1 / 8, "centre": 0}
    assert big["car"]["peak"] == {"model": 0.5, "uniform": 1 / 2, "centre": 1 / 2}
    assert big["car"]["mass"]["uniform"] == 1 / 2
    assert big["car"]["mass"]["centre"] == pytest.approx(1 / 2)
    big = {each["category"]: each for each in judged("a dog", {"dog": (0, 0)}, **scene)["big"]}
    assert (big["dog"]["peak"]["model"], big["car"]["peak"]["model"]) == (1, 0)
    assert big["car"]["mass"]["model"] < 0.01


def test_shares_add_up() -> None:
    draw = np.random.default_rng(0)
    masks = {name: draw.random(SIZE) < 0.3 for name in "abc"}
    scene = Scene(masks)
    heat = draw.random(SIZE)
    for own in ([], ["b"], ["a", "c"]):
        divided = scene.divided(own)
        shares = divided.shares(Look(heat))
        for each in (*shares.values(), divided.area):
            assert sum(each.values()) == pytest.approx(1)
        union = np.zeros(SIZE, bool)
        for name in own:
            union |= masks[name]
        assert shares["mass"]["own"] == pytest.approx(heat[union].sum() / heat.sum())
        assert divided.area["own"] == pytest.approx(union.mean())
        nothing = ~(masks["a"] | masks["b"] | masks["c"])
        assert shares["mass"]["none"] == pytest.approx(heat[nothing].sum() / heat.sum())


def test_confusions_are_counted_with_chance_levels() -> None:
    def word(said: str, at: str | None, area: float, categories: int = 1) -> dict[str, Any]:
        names = [said, f"{said}'s like"][:categories]
        chance = {"cat": {"uniform": area, "centre": 2 * area}}
        return {"word": f"{said}s", "categories": names, "at": at, "chance": chance}

    found = confusions(
        [
            word("dog", "cat", 0.25), word("dog", "cat", 0.5), word("dog", None, 0.125),
            word("car", "cat", 0.25), word("bike", "cat", 0.25, categories=2),
        ]
    )  # fmt: skip
    assert found[0] == {
        "said": "dog", "at": "cat", "words": 2, "said_wrong": 3, "uniform": 0.875, "centre": 1.75,
    }  # fmt: skip
    assert [(each["said"], each["words"]) for each in found[1:]] == [("bikes", 1), ("car", 1)]
    assert confusions([word("dog", None, 0.5)]) == []


def test_ground_includes_wrong_words(world: Any) -> None:
    """Three images, a dog in cell (1, 2), a circle in (3, 0): it says car and dog."""
    looks = {"dog": (1, 2), "car": (3, 0)}
    fake = Fake(lambda w: one_hot(*looks.get(w, (0, 0))), ("a", "car", "and", "a", "dog"))
    found = ground(world / "instances.json", world, fake)
    where = found["where"]
    assert (where["right"]["words"], where["wrong"]["words"], found["words"]) == (3, 3, 3)
    assert where["right"]["peak"]["model"] == {"own": 1, "another": 0, "none": 0}
    assert where["wrong"]["peak"]["model"] == {"own": 0, "another": 1, "none": 0}
    # The other words: "dog" is on an object, "a", "and", "a" are not.
    assert where["wrong"]["peak"]["other_word"]["another"] == 1 / 4
    # All images agree, so there is no spread.
    leads = where["wrong"]["interval"]["peak"]["another"]
    assert leads["uniform"] == pytest.approx([14 / 16] * 2)
    assert leads["other_word"] == pytest.approx([3 / 4] * 2)
    assert where["right"]["interval"]["peak"]["object"]["uniform"] == pytest.approx([14 / 16] * 2)
    assert where["right"]["interval"]["peak"]["own"]["other_word"] == pytest.approx([1, 1])
    assert where["confusions"] == [
        {
            "said": "car", "at": "circle", "words": 3, "said_wrong": 3,
            "uniform": pytest.approx(3 / 16), "centre": 0.0,
        }
    ]  # fmt: skip
    assert where["big"]["mentioned"] == where["big"]["overlooked"] == {"objects": 0, "images": 0}
    # The summary can be computed from a part of the captions.
    half = summary(found["captions"][:2])
    assert (half["words"], half["where"]["wrong"]["words"]) == (2, 2)
    assert half["pointing"] == found["pointing"]


def test_without_wrong_words_there_are_no_figures(world: Any) -> None:
    where = ground(world / "instances.json", world, Fake(lambda _: one_hot(1, 2)))["where"]
    assert where["wrong"] == {"words": 0, "images": 0}
    assert where["confusions"] == []
    assert where["right"]["words"] == 3


def test_intervals_are_over_images(world: Any) -> None:
    """In one image of three the wrong word looks away: means and intervals by hand."""
    calls = iter([(3, 0), (3, 0), (0, 3)])
    fake = Fake(
        lambda w: one_hot(*next(calls)) if w == "car" else one_hot(1, 2),
        ("a", "car", "near", "dog"),
    )
    where = ground(world / "instances.json", world, fake)["where"]
    assert where["wrong"]["peak"]["model"]["another"] == pytest.approx(2 / 3)
    low, high = where["wrong"]["interval"]["peak"]["another"]["uniform"]
    # All three resampled images may be the one that misses (1 in 27), or ones that hit (8 in 27).
    assert (low, high) == pytest.approx((0 - 2 / 16, 1 - 2 / 16))
    low, high = where["right"]["interval"]["peak"]["own"]["uniform"]
    assert (low, high) == pytest.approx((15 / 16, 15 / 16))
