"""Intervals over seeds and images, against formulas and counting by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu

from showattend.evaluation.scores import java
from showattend.evaluation.scores.metrics import score_captions
from showattend.evaluation.scores.statistics import (
    bleu_table,
    corpus_bleu4,
    over_seeds,
    paired_difference,
    student_quantile,
    welch_difference,
)


def absent(*_: object) -> None:
    raise java.JavaError("no Java was found")


@pytest.mark.parametrize(
    ("freedom", "value"),
    [(1, 12.706205), (2, 4.302653), (4, 2.776445), (9, 2.262157), (30, 2.042272)],
)
def test_students_quantiles_are_those_of_the_tables(freedom: int, value: float) -> None:
    assert student_quantile(0.975, freedom) == pytest.approx(value, rel=1e-5)


def test_over_seeds() -> None:
    found = over_seeds([0.5, 0.6, 0.7])
    assert found["n"] == 3
    assert found["mean"] == pytest.approx(0.6)
    assert found["sd"] == pytest.approx(0.1)
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert found["interval"] == pytest.approx([0.6 - half, 0.6 + half], rel=1e-5)
    assert over_seeds([0.5]) == {"n": 1, "mean": 0.5, "sd": None, "interval": None}


def test_welchs_interval_by_hand() -> None:
    # Equal deviations and numbers: as many degrees of freedom as in Student's test, 4.
    found = welch_difference([0.5, 0.6, 0.7], [0.2, 0.3, 0.4])
    assert found is not None
    half = 2.776445 * math.sqrt(2 * 0.01 / 3)
    assert found["difference"] == pytest.approx(0.3)
    assert found["freedom"] == pytest.approx(4)
    assert found["interval"] == pytest.approx([0.3 - half, 0.3 + half], rel=1e-5)
    # One of them without deviation: those of the other, 2.
    found = welch_difference([0.5, 0.6, 0.7], [0.3, 0.3])
    assert found is not None
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert found["freedom"] == pytest.approx(2)
    assert found["interval"] == pytest.approx([0.3 - half, 0.3 + half], rel=1e-5)
    # Two differences together: each at 97.5 %, whose quantile with 4 degrees is 3.495406.
    found = welch_difference([0.5, 0.6, 0.7], [0.2, 0.3, 0.4], comparisons=2)
    assert found is not None
    assert found["level"] == pytest.approx(0.975)
    half = 3.495406 * math.sqrt(2 * 0.01 / 3)
    assert found["interval"] == pytest.approx([0.3 - half, 0.3 + half], rel=1e-5)
    assert welch_difference([0.5], [0.2, 0.3]) is None
    assert welch_difference([0.5, 0.6], []) is None
    found = welch_difference([0.5, 0.5], [0.25, 0.25])
    assert found is not None
    assert found["interval"] == [0.25, 0.25]


def test_the_recipe_leads_the_plain_row_as_the_documents_say() -> None:
    """docs/results.md: the difference of two rows of three runs each."""
    found = welch_difference([0.652, 0.642, 0.633], [0.516, 0.510, 0.510])
    assert found is not None
    assert [round(each, 3) for each in (found["difference"], *found["interval"])] == [
        0.130, 0.110, 0.151,
    ]  # fmt: skip


REFERENCES = {
    0: ["a dog runs over the grass", "a brown dog is running"],
    1: ["two children play ball in a yard", "kids play with a ball", "children in a yard"],
    2: ["a man rides a horse"],
}


def test_bleu_of_the_counts_is_bleu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "tokenize_ptb", absent)  # which takes seconds to start
    for hyps in (
        {0: "a dog runs over the hill", 1: "two children play ball", 2: "a man rides a horse"},
        {0: "a dog", 1: "", 2: "a man on a brown horse that is big"},
    ):
        scores = score_captions(REFERENCES, hyps)
        counts = bleu_table([scores.bleu[i] for i in REFERENCES]).sum(0)
        wanted, _ = Bleu(4).compute_score(
            REFERENCES, {i: [hyp] for i, hyp in hyps.items()}, verbose=0
        )
        assert corpus_bleu4(counts) == pytest.approx(wanted[3], rel=1e-9)
        assert scores.metrics["BLEU-4"] == pytest.approx(wanted[3], rel=1e-9)


def images(values: list[float], **more: object) -> list[dict[str, object]]:
    return [{"scores": {"CIDEr": value}, **more} for value in values]


def test_a_difference_that_every_image_shows_is_clear() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(1, 1, 200)
    found = paired_difference(images(list(base + 0.01)), images(list(base)))["CIDEr"]
    assert found["difference"] == pytest.approx(0.01)
    assert found["interval"] == pytest.approx([0.01, 0.01])
    assert found["clear"]


def test_a_difference_within_what_images_do_is_not() -> None:
    rng = np.random.default_rng(0)
    base, noise = rng.normal(1, 1, 200), rng.normal(0, 1, 200)
    noise -= noise.mean() - 0.02
    found = paired_difference(images(list(base + noise)), images(list(base)))["CIDEr"]
    assert not found["clear"]
    half = 1.96 * noise.std() / math.sqrt(200)
    assert found["interval"] == pytest.approx([0.02 - half, 0.02 + half], abs=0.02)
    wider = paired_difference(images(list(base + noise)), images(list(base)), comparisons=10)
    assert wider["CIDEr"]["level"] == pytest.approx(0.995)
    assert wider["CIDEr"]["interval"][0] < found["interval"][0]


def test_several_data_sets_count_alike_whatever_their_size() -> None:
    one = [*images([1.0] * 100, set="a"), *images([0.0] * 10, set="b")]
    other = [*images([0.0] * 100, set="a"), *images([0.0] * 10, set="b")]
    assert paired_difference(one, other)["CIDEr"]["difference"] == pytest.approx(0.5)
