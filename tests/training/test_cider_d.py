"""The reward against pycocoevalcap, the reference implementation."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider

from showattend.data.readers import read_dataset
from showattend.exceptions import DataError
from showattend.text.tokenizer import tokenize
from showattend.training.cider_d import CiderD

Captions = list[list[str]]


def official(references: list[Captions], captions: Captions) -> np.ndarray:
    gts = {i: [" ".join(each) for each in image] for i, image in enumerate(references)}
    res = {i: [" ".join(caption)] for i, caption in enumerate(captions)}
    return np.asarray(Cider().compute_score(gts, res)[1])


def drawn(images: int, seed: int = 0) -> tuple[list[Captions], Captions]:
    """References over few words, so that much repeats; candidates of every kind."""
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(9)]
    references = [
        [rng.choices(words, k=rng.randint(1, 12)) for _ in range(rng.randint(1, 5))]
        for _ in range(images)
    ]
    captions = []
    for image in references:
        kind = rng.randrange(4)
        caption = list(rng.choice(image))
        if kind == 1:
            caption = rng.choices([*words, "new", "other"], k=rng.randint(1, 15))
        elif kind == 2:
            caption = caption * 3  # said again and again: clipped
        elif kind == 3:
            caption = caption[:1]
        captions.append(caption)
    return references, captions


@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_with_the_reference_implementation(seed: int) -> None:
    references, captions = drawn(200, seed)
    found = CiderD(references).score(range(200), captions)
    assert found == pytest.approx(official(references, captions), abs=1e-9)
    assert found.std() > 0.1


def test_many_captions_of_one_image_in_any_order() -> None:
    references, captions = drawn(50)
    cider = CiderD(references)
    single = cider.score(range(50), captions)
    order = [7, 3, 7, 49, 0, 7]
    assert cider.score(order, [captions[i] for i in order]) == pytest.approx(single[order])
    # The same words for another image are another score.
    assert cider.score([7, 8], [captions[7]] * 2)[1] != pytest.approx(single[7])


def test_words_that_no_reference_holds() -> None:
    references, _ = drawn(30)
    cider = CiderD(references)
    told = [["w1", "new", "w2"], ["w1", "new", "new", "new"], ["new", "other"], []]
    expected = official(references[:1] * 4 + references[1:], told + [["w1"]] * 29)
    assert expected[2] == expected[3] == 0
    # Document frequencies are of the references that were given, not of the batch.
    whole = official(references, [told[0]] + [["w1"]] * 29)[0]
    assert cider.score([0], told[:1])[0] == pytest.approx(whole, abs=1e-9)
    assert cider.score([0, 0], told[2:]).tolist() == [0, 0]


def test_an_end_that_is_a_word_rewards_ending() -> None:
    references = [[["a", "dog", "runs", "<end>"]], [["a", "cat", "sits", "<end>"]], [["x"]]]
    cider = CiderD(references)
    ended, cut = cider.score([0, 0], [["a", "dog", "runs", "<end>"], ["a", "dog", "runs"]])
    assert ended > cut > 0


@pytest.mark.parametrize("references", [[], [[["a"]], []]])
def test_without_references_it_is_refused(references: list[Captions]) -> None:
    with pytest.raises(DataError, match="a reference caption for every image"):
        CiderD(references)


def test_on_real_captions(real_data: Path) -> None:
    folder = real_data / "flickr8k"
    records = read_dataset(folder / "captions_val.json", folder / "images")
    references = [[tokenize(text) for text in record.captions] for record in records]
    rng = random.Random(0)
    captions = [
        list(rng.choice(image if rng.random() < 0.5 else rng.choice(references)))
        for image in references
    ]
    found = CiderD(references).score(range(len(references)), captions)
    assert found == pytest.approx(official(references, captions), abs=1e-6)
