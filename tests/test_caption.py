"""The result object: its texts, its numbers, its forms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showattend.caption import Caption
from showattend.caption_forms import NOTE, NOTE_BELOW, sampled_maps
from showattend.images.geometry import Geometry
from showattend.images.sources import ImageSource


def make(words: str, image: ImageSource | None = None, **more: object) -> Caption:
    count = len(words.split())
    attention = np.zeros((count, 7, 7), np.float32)
    attention[np.arange(count), np.arange(count) % 7, 2] = 1
    fields = {
        "words": tuple(words.split()),
        "log_probs": (-0.5,) * count + (-0.25,),
        "attention": attention,
        "betas": np.full(count, 0.5, np.float32),
        "geometry": Geometry((70, 140), (0, 0, 70, 140)),
        "score": -0.4,
        "image": image,
    }
    return Caption(**(fields | more))  # type: ignore[arg-type]


def test_texts() -> None:
    caption = make("a man 's dog runs")
    assert caption.raw == "a man 's dog runs"
    assert caption.text == str(caption) == "A man's dog runs."
    assert caption.log_prob == pytest.approx(-2.75)


def test_confidences_are_the_probabilities_of_the_words() -> None:
    logs = tuple(np.log([0.5, 0.2, 0.9, 0.1]))
    caption = make("a dog runs", log_probs=logs)
    assert caption.confidences == pytest.approx((0.5, 0.2, 0.9))
    assert caption.confidence == pytest.approx((0.5 * 0.2 * 0.9 * 0.1) ** 0.25)
    cut_off = make("a dog runs", log_probs=logs[:3])
    assert cut_off.confidences == caption.confidences
    assert cut_off.confidence == pytest.approx((0.5 * 0.2 * 0.9) ** (1 / 3))
    impossible = make("a dog", log_probs=(1e-7, -1e9, 0.0))  # rounding, and a ban
    assert impossible.confidences == (1.0, 0.0)
    assert make("", log_probs=(-0.5,)).confidences == ()


def test_unsure_are_the_improbable_words_that_say_something() -> None:
    caption = make("in a dog runs", log_probs=tuple(np.log([0.1, 0.9, 0.3, 0.2])))
    assert caption.unsure == (False,) * 4  # no threshold marks none
    assert replace(caption, unsure_below=0.25).unsure == (False, False, False, True)
    assert replace(caption, unsure_below=0.31).unsure == (False, False, True, True)
    assert replace(caption, unsure_below=1.0).unsure == (False, False, True, True)
    broken = make("a dog", log_probs=(float("nan"),) * 2, unsure_below=0.25)
    assert broken.unsure == (False, True)


def test_a_strange_photo_has_a_note() -> None:
    for familiarity, note in ((None, None), (1.0, None), (NOTE_BELOW, None), (0.0, NOTE)):
        caption = make("a dog", familiarity=familiarity)
        assert caption.note == note
        values = json.loads(json.dumps(caption.to_dict()))
        assert (values["familiarity"], values["note"]) == (familiarity, note)


def test_heatmap_lies_on_the_image() -> None:
    heat = make("a dog runs").heatmap(1)
    assert heat.shape == (140, 70)
    row, col = np.unravel_index(heat.argmax(), heat.shape)
    assert 20 <= row < 40
    assert 20 <= col < 30


def test_to_dict_is_json() -> None:
    caption = make("a dog", Path("photos/dog.jpg"), alternatives=(make("a cat"),))
    values = json.loads(json.dumps(caption.to_dict()))
    assert values["image"] == str(Path("photos/dog.jpg"))
    assert values["caption"] == "A dog."
    assert values["words"] == ["a", "dog"]
    assert values["log_probs"] == [-0.5, -0.5, -0.25]
    assert values["log_prob"] == pytest.approx(-1.25)
    assert values["score"] == -0.4
    assert values["confidences"] == pytest.approx([np.exp(-0.5)] * 2)
    assert values["confidence"] == pytest.approx(np.exp(-1.25 / 3))
    assert values["unsure"] == [False, False]
    assert "attention" not in values
    assert [other["caption"] for other in values["alternatives"]] == ["A cat."]

    whole = json.loads(json.dumps(caption.to_dict(attention=True)))
    assert np.array_equal(np.array(whole["attention"], np.float32), caption.attention)
    assert Geometry.from_dict(whole["geometry"]) == caption.geometry
    assert "attention" in whole["alternatives"][0]
    assert "image" not in make("a dog", np.zeros((140, 70, 3))).to_dict()


def test_repr_is_short() -> None:
    caption = make("a dog", np.zeros((140, 70, 3)))
    assert "a" in repr(caption)
    assert "array" not in repr(caption)
    assert len({caption, make("a dog")}) == 2, "captions are told apart without comparing arrays"


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="2 words"):
        make("a dog", attention=np.zeros((3, 7, 7), np.float32))
    with pytest.raises(ValueError, match="2 words"):
        make("a dog", betas=np.zeros(1))


def test_save_overlay(tmp_path: Path) -> None:
    make("a dog", np.full((140, 70, 3), 128, np.uint8)).save_overlay(
        tmp_path / "out.png", words=["dog"], width=400
    )
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.width <= 400


def test_parts_and_sentinel_come_along_where_there_are_some() -> None:
    plain = make("a dog runs").to_dict(attention=True)
    assert not {"parts", "part_names", "sentinel"} & set(plain)
    parts = np.full((3, 2, 7, 7), 1 / 49, np.float32)
    caption = make(
        "a dog runs",
        parts=parts,
        part_names=("regions", "cells"),
        sentinel=np.array([0.9, 0.1, 0.5], np.float32),
    )
    values = json.loads(json.dumps(caption.to_dict(attention=True)))
    assert np.array(values["parts"]).shape == (3, 2, 7, 7)
    assert values["part_names"] == ["regions", "cells"]
    assert values["sentinel"] == pytest.approx([0.9, 0.1, 0.5])
    assert set(caption.to_dict()) - set(make("a dog runs").to_dict()) == {"sentinel"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"sentinel": np.zeros(2)},
        {"parts": np.zeros((3, 2, 7, 7)), "part_names": ("one",)},
        {"parts": np.zeros((3, 1, 7, 6)), "part_names": ("one",)},
    ],
)
def test_parts_and_sentinel_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"need as many sentinels|parts have the shape"):
        make("a dog runs", **wrong)


def test_sampled_locations_follow_the_map() -> None:
    maps = np.array([[[0.5, 0.0, 0.25], [0.0, 0.125, 0.125]], [[0, 0, 0], [0, 1, 0]]], np.float32)
    drawn = sampled_maps(maps, 4000)
    assert drawn.shape == (2, 4000, 2, 3)
    np.testing.assert_array_equal(drawn.sum((2, 3)), 1)
    assert set(np.unique(drawn)) == {0, 1}
    # Five standard deviations of a share of 4,000 draws.
    np.testing.assert_allclose(drawn.mean(1), maps, atol=5 * np.sqrt(0.25 / 4000))
    np.testing.assert_array_equal(drawn[0, :, maps[0] == 0], 0)
    np.testing.assert_array_equal(drawn, sampled_maps(maps, 4000))
    assert (drawn != sampled_maps(maps, 4000, seed=1)).any()
    assert sampled_maps(maps[:0], 3).shape == (0, 3, 2, 3)
