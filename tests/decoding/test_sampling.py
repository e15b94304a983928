"""Captions that are drawn: as often as they are likely, and repeatable."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from showattend.decoding.beam import search
from showattend.decoding.forced import force
from showattend.decoding.sampling import sample
from showattend.exceptions import ConfigError
from showattend.text.vocabulary import Vocabulary
from tests.decoding.small_decoders import END, START, UNK, Table, features, lstm, options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("samples", value) for value in (0, 2.5, "3", True)),
        *(("max_length", value) for value in (0, 2.5, None, 10**6)),
        *(("temperature", value) for value in (0, -1.0, float("nan"), float("inf"), "1")),
        *((name, value) for name in ("prefix", "banned") for value in ("a", (4.5,))),
    ],
)
def test_samples_that_mean_nothing_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}.* must be"):
        sample(lstm(), features(1), **{"samples": 1, name: value})


# Sampling --------------------------------------------------------------------------------------


def test_samples_are_drawn_as_often_as_they_are_likely() -> None:
    decoder, image = lstm(), features(1)
    torch.manual_seed(0)
    drawn = sample(decoder, image, samples=20_000, max_length=2)
    assert drawn.captions.shape == (1, 20_000, 4)
    counts: dict[tuple[int, ...], int] = {}
    for line, length in zip(drawn.captions[0].tolist(), drawn.lengths[0].tolist(), strict=True):
        assert line[0] == START
        assert not set(line[1 : length + 1]) & {START, UNK, Vocabulary.PAD}
        assert line[length + 1 :] == [Vocabulary.PAD] * (3 - length)
        assert length == 2 or line[length] == END
        counts[tuple(line[1 : length + 1])] = counts.get(tuple(line[1 : length + 1]), 0) + 1

    def distribution(*said: int) -> list[float]:
        """Of the next word, the forbidden ones left out."""
        scores = torch.tensor(
            [force(decoder, image, [*said, word]).log_probs[len(said)] for word in range(7)]
        )
        scores[[Vocabulary.PAD, START, UNK]] = -torch.inf
        return scores.softmax(0).tolist()

    first = distribution()
    for word in range(4, 7):
        second = distribution(word)
        for other in (END, 4, 5, 6):
            share = counts.get((word, other), 0) / 20_000
            assert share == pytest.approx(first[word] * second[other], abs=0.012)
    assert counts[(END,)] / 20_000 == pytest.approx(first[END], abs=0.012)


def test_a_broken_model_still_draws_something() -> None:
    drawn = sample(Table(lambda _: [float("nan")] * 6), features(2), samples=3, max_length=4)
    assert drawn.lengths.min() > 0
    assert set(drawn.captions[:, :, 1:].flatten().tolist()) <= {Vocabulary.PAD, END, 4, 5}


def test_a_cold_sample_is_the_greedy_caption() -> None:
    decoder, images = lstm(2), features(3)
    greedy = search(decoder, images, options(beam_size=1, max_length=6))
    drawn = sample(decoder, images, samples=2, max_length=6, temperature=1e-3)
    for found, lines in zip(greedy, drawn.captions.tolist(), strict=True):
        for line in lines:
            assert [word for word in line if word >= 4] == found[0].words


def test_samples_say_no_banned_word_however_little_is_left() -> None:
    drawn = sample(lstm(3), features(2), samples=9, banned=(4, 5, 6), max_length=5)
    assert drawn.lengths.tolist() == [[1] * 9] * 2
    assert set(drawn.captions[:, :, 1].flatten().tolist()) == {END}


def test_samples_can_be_steered_and_repeated() -> None:
    decoder, images = lstm(), features(2)

    def draw(seed: int) -> list[list[list[int]]]:
        drawn = sample(
            decoder, images, samples=50, max_length=6, prefix=(UNK, 5), banned=(4,),
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        return drawn.captions.tolist()

    once = draw(1)
    assert once == draw(1)
    assert once != draw(2)
    for line in (line for lines in once for line in lines):
        assert line[1:3] == [UNK, 5]
        assert not set(line[3:]) & {4, UNK, START}
    assert len({tuple(line) for lines in once for line in lines}) > 2


def test_a_generator_of_its_own_leaves_the_global_one_alone() -> None:
    decoder = lstm()
    before = torch.get_rng_state()
    sample(decoder, features(1), samples=3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.get_rng_state())
