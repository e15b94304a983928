"""Why a wrong word was said: habit, another thing, another place."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from showattend.caption import Caption
from showattend.captioner import Captioner
from showattend.evaluation.mistakes.reasons import (
    HABIT,
    LEAST_GAIN,
    MISPLACED,
    MISTOOK,
    Case,
    Place,
    WrongWord,
    core_of,
    explain,
    gain_of,
    places_of,
    reason_of,
    sentence_of,
    wrong_words,
)
from showattend.images.geometry import Geometry

SOMEWHERE = 0.2


def caption(*peaks: tuple[int, int] | None, log_prob: float = -1.0) -> Caption:
    """One word for each peak on a grid of 4 × 4; None looks everywhere."""
    maps = np.full((len(peaks), 4, 4), 1 / 16, np.float32)
    for t, peak in enumerate(peaks):
        if peak is not None:
            maps[t] = 0.2 / 15
            maps[t][peak] = 0.8
    return Caption(
        words=tuple("abcdefgh"[: len(peaks)]),
        log_probs=(log_prob,) * (len(peaks) + 1),
        attention=maps,
        betas=None,
        geometry=Geometry((4, 4), (0, 0, 4, 4)),
        score=-1.0,
    )


def place(name: str, *cells: tuple[int, int]) -> Place:
    core = np.zeros((4, 4), bool)
    for cell in cells:
        core[cell] = True
    return Place(name, core)


def spans(text: str, *people: str) -> list[tuple[str, tuple[str, ...]]]:
    words = text.split()
    return [
        (" ".join(words[each.start : each.stop]), each.instead)
        for each in wrong_words(words, people)
    ]


def test_wrong_words_are_those_that_people_contradict_or_do_not_mention() -> None:
    assert spans("a man with a dog", "a woman and her dog", "a lady with a puppy") == [
        ("man", ("woman",))
    ]
    assert spans("a dog on a beach", "a dog runs") == [("beach", ())]
    assert spans("a soccer ball", "a child with a ball") == []
    assert spans("two dogs", "three dogs") == [("two", ("three",))]
    assert spans("a dog", "a puppy runs") == []
    # Somebody where nobody is.
    assert spans("a person on a bench", "an empty bench") == [("person", ())]
    assert spans("a man", "a person") == []  # undecided


def test_the_gain_is_against_the_mean_probability() -> None:
    here = [math.log(0.6), math.log(0.5)]
    others = [[math.log(0.1), math.log(0.5)], [math.log(0.3), math.log(0.1)]]
    assert gain_of(here, others, 0, 1) == pytest.approx(0.6 / 0.2)
    assert gain_of(here, others, 0, 2) == pytest.approx(0.3 / ((0.05 + 0.03) / 2))
    assert gain_of(here, [here, here], 0, 2) == pytest.approx(1)
    assert gain_of([-1.0], [[-5000.0]], 0, 1) > 1e300
    assert gain_of([-5000.0], [[-1.0]], 0, 1) == 0
    assert gain_of(here, [], 0, 1) == math.inf


def test_the_core_holds_half_in_the_fewest_cells() -> None:
    assert core_of(np.array([[0.5, 0.3], [0.1, 0.1]])).tolist() == [[True, False], [False, False]]
    assert core_of(np.array([[0.4, 0.3], [0.2, 0.1]])).tolist() == [[True, True], [False, False]]
    assert core_of(np.full((4, 4), 1 / 16)).sum() == 8


def test_the_kinds_are_told_apart() -> None:
    said = caption((0, 0), (3, 3), None)
    unlikely, likely = [[-5.0] * 4], [[-1.1] * 4]
    there = [place("dog", (0, 0), (0, 1), (1, 0)), place("ear", (0, 0)), place("sky", (2, 2))]

    def reason(t: int, others: list[list[float]], **known: object):  # type: ignore[no-untyped-def]
        wrong = WrongWord(t, t + 1, **known)  # type: ignore[arg-type]
        return reason_of(wrong, said, others, there, SOMEWHERE)

    found = reason(0, unlikely)
    assert (found.kind, found.at) == (MISTOOK, "ear")
    assert found.gain == pytest.approx(math.exp(4))
    assert found.gain > LEAST_GAIN
    assert reason(1, unlikely)[1:] == (MISPLACED, pytest.approx(math.exp(4)), None, True)
    assert reason(2, unlikely).kind == MISPLACED
    assert "at no one place" in sentence_of(reason(2, unlikely), 1)
    assert [reason(t, likely).kind for t in range(3)] == [HABIT] * 3
    # Masks are believed, whatever the model says of places.
    assert reason(1, unlikely, at="car", masked=True)[1::2] == (MISTOOK, "car")
    assert reason(0, unlikely, masked=True)[1::2] == (MISPLACED, None)


def test_the_sentence_says_what_was_measured() -> None:
    said = caption((0, 0))
    wrong = WrongWord(0, 1, ("cat", "dog"))
    text = sentence_of(reason_of(wrong, said, [[-2.0, 0]] * 3, [place("ear", (0, 0))], 0.2), 3)
    assert (
        text
        == "looked at “ear”; 2.7 times as likely as with 3 other photos; people say “cat”, “dog”"
    )
    text = sentence_of(reason_of(WrongWord(0, 1), said, [[-20.0, 0]], [], 0.2), 1)
    assert text == (
        "looked at nothing that people name; over 1,000 times as likely as with another photo; "
        "nobody names it"
    )
    masked = WrongWord(0, 1, ("cat",), masked=True)
    text = sentence_of(reason_of(masked, said, [], [], 0.2), 0)
    assert text == "looked at nothing that is annotated; annotated: “cat”"


def test_a_model_that_does_not_see_has_habits_only(
    untrained: Captioner, photos: list[Path]
) -> None:
    """Every photo with the same features: the gain of each word is one."""
    looked = [untrained.look(photo) for photo in photos[:3]]
    blind = [each._replace(features=torch.full_like(each.features, 0.1)) for each in looked]
    words = ("a", "dog", "on", "beach")
    wrong = [WrongWord(1, 2), WrongWord(3, 4)]
    case = Case(blind[0], words, wrong, ["a red man"])
    (said,) = explain(untrained, [case], blind, SOMEWHERE)
    assert said.words == words
    assert [each.kind for each in case.reasons] == [HABIT, HABIT]
    assert [each.gain for each in case.reasons] == pytest.approx([1, 1], abs=1e-4)
    # With its eyes open: the gains are those of the probabilities, itself left out.
    case = Case(looked[0], words, wrong, ["a red man"])
    (said,) = explain(untrained, [case], looked, SOMEWHERE)
    others = [untrained.attend(photo, words).log_probs for photo in photos[1:3]]
    wanted = [gain_of(said.log_probs, others, t, t + 1) for t in (1, 3)]
    assert [each.gain for each in case.reasons] == pytest.approx(wanted, rel=1e-4)


def test_places_are_those_of_peoples_words(untrained: Captioner, photos: list[Path]) -> None:
    case = Case(untrained.look(photos[0]), (), [], ["a man on the beach", "!?"])
    found = places_of(untrained, case, 1.0)
    assert [each.name for each in found] == ["man", "beach"]
    maps = untrained.attend(photos[0], "a man on the beach").attention
    assert np.array_equal(found[0].core, core_of(maps[1]))
    assert places_of(untrained, case, 0.0) == []
