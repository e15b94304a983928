"""The usefulness of the note: invented people, and captions with and without it."""

from __future__ import annotations

import numpy as np
import pytest

from showattend.caption_forms import NOTE_BELOW
from showattend.evaluation.mistakes.notes import (
    describe_notes,
    invents_person,
    judge_captions,
    notes_to_markdown,
)


@pytest.mark.parametrize(
    ("caption", "references", "invents"),
    [
        ("a boy with a dog", ["A dog on a beach.", "A brown dog."], True),
        ("a boy with a dog", ["A dog on a beach.", "A child and a dog."], False),
        ("a dog", ["A dog on a beach."], False),
        ("two people", ["An empty street."], True),
        ("a surfer", ["A wave."], True),
        ("", ["A wave."], False),
    ],
)
def test_who_invents_a_person(caption: str, references: list[str], invents: bool) -> None:
    assert invents_person(caption.split(), references) is invents


def test_captions_are_judged_one_by_one() -> None:
    said = [each.split() for each in ("a dog runs on grass", "a man in a hat", "the of", "")]
    references = [["A dog runs on grass."], ["A red car."], ["A cat."], ["Two birds."]]
    judged = judge_captions(said, references)
    assert judged["invented"].tolist() == [False, True, False, False]
    assert judged["absent"].tolist() == [0, 1, 0, 0]
    assert judged["CIDEr"].argmax() == 0
    assert judged["CIDEr"][1:].max() < 0.1 * judged["CIDEr"][0]


def test_means_are_separate_with_and_without_the_note() -> None:
    familiar = np.array([0.0, NOTE_BELOW / 2, NOTE_BELOW, 0.5, 1.0])
    strange = np.array([0.9, 0.8, 0.7, 0.5, 0.1])
    judged = {
        "invented": np.array([True, False, True, False, False]),
        "absent": np.array([1.0, 0.5, 0.4, 0.2, 0.0]),
        "CIDEr": np.array([0.0, 0.2, 0.4, 0.9, 1.4]),
    }
    found = describe_notes(familiar, strange, judged)
    assert found["noted"] == {"photos": 2, "invented": 0.5, "absent": 0.75, "CIDEr": 0.1}
    assert found["others"]["photos"] == 3
    assert found["others"]["CIDEr"] == pytest.approx(0.9)
    assert found["auc"] == pytest.approx(5 / 6)
    assert found["spearman"] == pytest.approx(-1)
    table = notes_to_markdown({"mine": found}).splitlines()
    assert table[2].startswith("| mine | 2 of 5 (40.0 %) | 0.50 / 0.33 | 0.75 / 0.20 |")


def test_notes_are_counted_without_human_captions() -> None:
    found = describe_notes(np.array([0.0, 1.0, 1.0]), np.zeros(3), {})
    assert found["noted"] == {"photos": 1}
    assert found["auc"] is None
    (*_, row) = notes_to_markdown({"drawings": found}).splitlines()
    assert row == "| drawings | 1 of 3 (33.3 %) | - / - | - / - | - / - | - |"


def test_nobody_noted_and_nobody_invented() -> None:
    none = {"invented": np.zeros(2, bool), "absent": np.zeros(2), "CIDEr": np.ones(2)}
    found = describe_notes(np.ones(2), np.zeros(2), none)
    assert found["noted"] == {"photos": 0, "invented": None, "absent": None, "CIDEr": None}
    assert found["auc"] is found["spearman"] is None
