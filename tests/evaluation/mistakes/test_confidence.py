"""Confidence against mistakes: what is counted, and the threshold that is chosen."""

from __future__ import annotations

import numpy as np
import pytest

from showattend.evaluation.mistakes.confidence import (
    EDGES,
    absent_words,
    area_under_curve,
    choose_threshold,
    describe_confidence,
    to_markdown,
)


def absent(caption: str, *references: str) -> dict[str, bool]:
    words = caption.split()
    found = absent_words(words, references)
    assert len(found) == len(words)
    return {word: each for word, each in zip(words, found, strict=True) if each is not None}


def test_a_word_is_absent_when_no_reference_names_it_or_a_kind_of_it() -> None:
    references = ("A boy in a red shirt runs.", "A child is running outside")
    found = absent("a person with a dog in a blue shirt runs", *references)
    assert found == {"person": False, "dog": True, "blue": True, "shirt": False, "runs": False}
    assert absent("a boy runs", "a person runs") == {"boy": True, "runs": False}
    assert absent("the of and", *references) == {}
    assert absent("", *references) == {}


def test_a_phrase_is_judged_as_one() -> None:
    assert absent("a golden retriever sits", "a dog sits") == {
        "golden": False, "retriever": False, "sits": False,
    }  # fmt: skip


def test_a_word_of_several_kinds_is_there_only_if_all_of_them_are() -> None:
    """A surfer is a person, and surfs."""
    assert absent("a surfer", "a man surfing") == {"surfer": False}
    assert absent("a surfer", "a man running") == {"surfer": True}
    assert absent("a surfer", "a dog surfing") == {"surfer": True}


def test_the_threshold_is_where_wrong_and_right_balance() -> None:
    p = np.linspace(0.005, 0.995, 100)
    random = np.random.default_rng(0)
    wrong = random.random((200, 100)) < 1 - p  # wrong as often as its probability says
    found = choose_threshold([(np.tile(p, 200).tolist(), wrong.ravel().tolist())])
    assert found == pytest.approx(0.5, abs=0.06)
    assert choose_threshold([([0.1, 0.2, 0.35, 0.8], [True, True, False, False])]) == 0.35
    assert choose_threshold([([0.1, 0.2, 0.8], [True, True, True])]) == 1.0
    assert choose_threshold([([0.1, 0.2], [False, False])]) == 0.0
    assert choose_threshold([]) == choose_threshold([([], [])]) == 0.0


def test_ties_stay_on_one_side_of_the_threshold() -> None:
    p, wrong = [0.3, 0.3, 0.3, 0.9], [True, False, False, False]
    assert choose_threshold([(p, wrong)]) == 0.0


def test_every_set_has_equal_weight() -> None:
    few = ([0.2, 0.4, 0.6], [True, True, False])
    many = ([0.2, 0.4, 0.6] * 100, [True, False, False] * 100)
    assert choose_threshold([few]) == 0.6
    assert choose_threshold([many]) == 0.4
    assert choose_threshold([few, many, many]) == 0.4
    assert choose_threshold([few, few, many]) == 0.6


def test_the_description_counts_correctly() -> None:
    p, wrong = [0.05, 0.05, 0.15, 0.65, 1.0], [True, False, True, False, False]
    found = describe_confidence(p, wrong, 0.15)
    assert found["all"] == {"words": 5, "wrong": pytest.approx(0.4)}
    assert found["unsure"] == {"words": 2, "wrong": 0.5}
    assert found["sure"] == {"words": 3, "wrong": pytest.approx(1 / 3)}
    assert sum(each["words"] for each in found["bins"]) == 5
    assert found["bins"][0] == {"from": 0.0, "to": 0.1, "words": 2, "wrong": 0.5}
    assert found["bins"][-1]["words"] == 1  # a probability of one
    assert found["bins"][2]["wrong"] is None
    # Of six pairs the wrong word has the lower probability in four, and one is a tie.
    assert found["auc"] == pytest.approx((1 + 1 + 0.5 + 1 + 1 + 0) / 6)
    empty = describe_confidence([], [], 0.3)
    assert empty["all"] == {"words": 0, "wrong": None}
    assert empty["auc"] is None


def test_the_area_is_the_share_of_pairs() -> None:
    random = np.random.default_rng(1)
    score, positive = random.integers(0, 9, 60), random.random(60) < 0.4
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a in score[positive] for b in score[~positive]
    ]
    assert area_under_curve(score, positive) == pytest.approx(np.mean(pairs))
    assert area_under_curve(score, np.ones(60, bool)) is None


def test_the_table_has_a_row_for_every_bin() -> None:
    found = describe_confidence([0.05, 0.15, 0.95], [True, True, False], 0.2)
    table = to_markdown({"one": found, "other": found}).splitlines()
    assert len(table) == 2 + len(EDGES) - 1 + 3
    assert table[2] == "| 0 to 0.1 | 1 | 1.00 | 1 | 1.00 |"
    assert table[4] == "| 0.2 to 0.3 | 0 | - | 0 | - |"
    assert table[-3:] == [
        "| unsure | 2 | 1.00 | 2 | 1.00 |",
        "| sure | 1 | 0.00 | 1 | 0.00 |",
        "| all | 3 | 0.67 | 3 | 0.67 |",
    ]
    assert len({line.count("|") for line in table}) == 1
