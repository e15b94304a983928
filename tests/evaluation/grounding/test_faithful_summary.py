"""Summaries of faithfulness: means, orders and intervals from measurements with known answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from showattend.evaluation.grounding.faithful_summary import (
    _spearman,
    compare_orders,
    dependence,
    describe,
    summarise,
)
from showattend.evaluation.grounding.removal import FRACTIONS


def curve(deletion: float, insertion: float) -> dict[str, Any]:
    half = len(FRACTIONS)
    drops = [deletion] * half + [insertion] * half
    return {"drops": drops, "deletion": deletion, "insertion": insertion}


def word(name: str = "noun", lead: float = 1.0, **more: Any) -> dict[str, Any]:
    """A word for which attention leads a random order by ``lead``."""
    curves = {
        "attention": curve(1 + lead, 1.0),
        "random": curve(1.0, 1.0),
        "another word": curve(1.0, 1.5),
    }
    given = {
        "word": "dog", "class": name, "log_prob": -1.0, "unsure": False,
        "looked_somewhere": True, "beta": 0.5, "total": 2.0, "curves": curves,
    }  # fmt: skip
    return {**given, **more}


def rows(*images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"image_id": k, "words": words} for k, words in enumerate(images)]


def test_orders_are_ranked_with_their_intervals() -> None:
    found = compare_orders([[word(lead=1.0)], [word(lead=3.0), word(lead=2.0)]], FRACTIONS)
    assert found["ranking"] == ["attention", "random", "another word"]
    assert (found["words"], found["images"]) == (3, 2)
    mine = found["by_order"]["attention"]
    assert mine["faithful"] == pytest.approx(2.0)
    assert mine["deletion"] == pytest.approx(3.0)
    assert mine["drops"] == pytest.approx([3.0] * 5 + [1.0] * 5)
    assert mine["over_random"] == pytest.approx([1.0, 2.5])  # the first image only, the second only
    assert mine["over_attention"] == [0, 0]
    assert found["by_order"]["another word"]["over_random"] == [-0.5, -0.5]


def test_the_difference_is_paired() -> None:
    """What makes all orders of an image large does not widen the interval of their difference."""
    images = []
    for size in np.linspace(0, 50, 20):
        images.append([word()])
        for each in images[-1][0]["curves"].values():
            each["deletion"] += size
    mine = compare_orders(images, FRACTIONS)["by_order"]["attention"]
    assert mine["interval"][1] - mine["interval"][0] > 10
    assert mine["over_random"] == pytest.approx([1.0, 1.0])


def test_the_sign_can_be_ignored() -> None:
    """A word that becomes likelier as the image goes depends on it all the same."""
    against = word(total=-2.0)
    for name, (deletion, insertion) in {"attention": (-2, 0), "random": (-1, -1)}.items():
        against["curves"][name] = curve(deletion, insertion)
    place = [0, *FRACTIONS, 1]
    wanted = np.diff(place) @ [1, 2, 2, 2, 2, 2] - np.diff(place) @ [1, 0, 0, 0, 0, 0]
    assert dependence(against, "attention", FRACTIONS) == pytest.approx(wanted)
    found = compare_orders([[against]], FRACTIONS)["by_order"]["attention"]
    assert found["faithful"] == -2
    assert found["unsigned"] == pytest.approx(wanted)
    assert found["unsigned_over_random"] == pytest.approx([wanted] * 2)
    group = describe([[against]])
    assert (group["total"], group["change"]) == (-2, 2)
    assert group["unsigned_over_random"] == pytest.approx([wanted] * 2)


def test_words_without_an_order_are_left_out_of_the_comparison() -> None:
    alone = word()
    del alone["curves"]["another word"]
    assert compare_orders([[alone, word()]], FRACTIONS)["words"] == 1
    empty = compare_orders([], FRACTIONS)
    assert (empty["words"], empty["ranking"], empty["by_order"]) == (0, [], {})


def test_classes_and_what_is_known_of_words() -> None:
    pointing = {"attention": {"pointing": 1.0, "mass": 0.5}, "grad": {"pointing": 0.5, "mass": 0.2}}
    found = summarise(
        rows(
            [word(pointing=pointing), word("function", lead=0.0, total=0.0, beta=0.1)],
            [word("colour", lead=3.0, total=0.5, beta=0.9, looked_somewhere=False, unsure=True)],
        )
    )
    assert (found["words"], found["images"]) == (3, 2)
    assert found["orders"]["words"] == 2
    assert found["pixels"] is None
    classes = found["classes"]
    assert {name: each["words"] for name, each in classes.items()} == {
        "content words": 2, "noun": 1, "function": 1, "colour": 1,
    }  # fmt: skip
    assert classes["noun"]["over_random"] == [1, 1]
    assert classes["noun"]["over_another"] == [1.5, 1.5]
    assert classes["function"]["total"] == 0
    trust = found["trust"]
    assert trust["looked somewhere"]["words"] == trust["looked everywhere"]["words"] == 1
    assert trust["unsure"]["faithful"] == pytest.approx(3)
    assert trust["change over 1 nat without all cells"]["pointing"] == 1
    assert trust["β above 0.70"]["words"] == 1
    assert found["pointing"]["grad"]["pointing"] == 0.5
    assert found["pointing"]["grad"]["mass_over_attention"] == pytest.approx([-0.3, -0.3])


def test_a_model_without_maps_or_gate_is_summarised() -> None:
    bare = word(beta=None)
    bare["curves"] = {"random": curve(1.0, 1.0), "grad": curve(2.0, 1.0)}
    found = summarise(rows([bare], [bare]))
    assert found["orders"]["ranking"] == ["grad", "random"]
    assert "over_attention" not in found["orders"]["by_order"]["grad"]
    assert found["beta"] == {"all words": None, "content words": None}
    assert found["classes"]["noun"]["faithful"] is None
    assert describe([])["words"] == 0


def test_pixels_are_summarised_by_their_own_curves() -> None:
    blurred = {"total": 9.0, "curves": {"attention": curve(5.0, 1.0), "random": curve(2.0, 2.0)}}
    for each in blurred["curves"].values():  # type: ignore[attr-defined]
        each["drops"] = each["drops"][2:8]  # three points of each curve
    found = summarise(rows([word(pixels=blurred)], [word()]))
    assert found["pixels"]["words"] == 1
    assert found["pixels"]["by_order"]["attention"]["faithful"] == 4


def test_the_gate_is_ranked_against_the_drop() -> None:
    pairs = np.array([[0.1, 1.0], [0.2, 8.0], [0.3, 27.0], [0.4, 64.0]])
    assert _spearman(pairs) == pytest.approx(1)
    assert _spearman(pairs * [1, -1]) == pytest.approx(-1)
    # With ties, by hand: the ranks are 1, 2.5, 2.5, 4 and 1, 2, 3, 4.
    tied = np.array([[1.0, 1.0], [2.0, 2.0], [2.0, 3.0], [3.0, 4.0]])
    assert _spearman(tied) == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert np.isnan(_spearman(np.ones((3, 2))))
    images = [
        [word(beta=b, total=t) for b, t in pairs[:2]],
        [word(beta=b, total=t) for b, t in pairs[2:]],
    ]
    assert summarise(rows([word()] * 3, [word()]))["beta"]["all words"] is None, "all alike"
    found = summarise(rows(*images))["beta"]["all words"]
    assert found["spearman"] == pytest.approx(1)
    assert found["interval"] == pytest.approx([1, 1])
