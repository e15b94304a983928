"""Gaps in sentences: what is found is what asking everything would find."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from showattend.decoding import filling
from showattend.decoding.filling import MASK, fill
from showattend.decoding.forced import force_all
from showattend.model.decoders.masked import MaskedDecoder
from showattend.text.vocabulary import Vocabulary

from .small_decoders import END, START, features, lstm

V = 7
WORDS = [4, 5, 6]


def masked(seed: int = 0) -> MaskedDecoder:
    torch.manual_seed(seed)
    decoder = MaskedDecoder(
        vocabulary_size=V, feature_dim=5, hidden_dim=8, layers=1, heads=2, feedforward_dim=8
    ).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    return decoder


@pytest.mark.parametrize("pattern", [[None], [4, None], [None, 5, None], [None, None, 6, 4]])
def test_search_finds_what_scoring_every_sentence_finds(pattern: list[int | None]) -> None:
    decoder, photo = lstm(seed=3), features(1)
    gaps = [t for t, word in enumerate(pattern) if word is None]
    sentences = []
    for chosen in itertools.product(WORDS, repeat=len(gaps)):
        rest = iter(chosen)
        sentences.append([next(rest) if word is None else word for word in pattern])
    scores = torch.tensor([sum(each.log_probs) for each in force_all(decoder, photo, sentences)])
    shares = scores.double().softmax(0)
    found = fill(decoder, photo, pattern)
    assert found.found.words == sentences[int(scores.argmax())]
    for t, candidates in zip(gaps, found.candidates, strict=True):
        wanted = {
            word: sum(
                p for each, p in zip(sentences, shares.tolist(), strict=True) if each[t] == word
            )
            for word in WORDS
        }
        assert dict(candidates) == pytest.approx(wanted, abs=1e-5)
        found_shares = [p for _, p in candidates]
        assert found_shares == sorted(found_shares, reverse=True)
    assert len(found.found.alpha) == len(pattern)
    assert len(found.found.log_probs) == len(pattern) + 1


def test_a_narrow_search_still_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "WIDTH", 1)
    found = fill(lstm(seed=3), features(1), [None, 5, None], candidates=2)
    assert [len(each) for each in found.candidates] == [1, 1]
    assert found.candidates[0][0][1] == 1.0


def test_unknown_words_are_read_and_never_said() -> None:
    found = fill(lstm(seed=1), features(1), [Vocabulary.UNK, None, Vocabulary.UNK])
    assert found.found.words[::2] == [Vocabulary.UNK] * 2
    assert {word for word, _ in found.candidates[0]} == set(WORDS)


def said(decoder: MaskedDecoder, photo: torch.Tensor, sentence: list[int], hidden: int) -> Any:
    row = [START, *sentence, END]
    row[hidden + 1] = MASK
    with torch.no_grad():
        return decoder.fill(torch.tensor([[row]]), decoder.memory(photo))


def test_a_masked_decoder_is_asked_for_one_gap() -> None:
    decoder, photo = masked(), features(1)
    found = fill(decoder, photo, [4, None, 6])
    asked = said(decoder, photo, [4, 4, 6], hidden=1)
    likely = asked.log_probs[0, 0, 2].exp()
    assert dict(found.candidates[0]) == pytest.approx(
        {word: likely[word].item() for word in WORDS}, abs=1e-6
    )
    assert found.found.words[1] == max(WORDS, key=lambda word: likely[word])
    torch.testing.assert_close(found.found.alpha[1], asked.alpha[0, 0, 2])
    torch.testing.assert_close(found.found.parts[1], asked.parts[0, 0, 2])


@pytest.mark.parametrize("seed", range(3))
def test_several_gaps_agree_with_each_other(seed: int) -> None:
    """Each word found is the likeliest of its gap given the others, and so are its figures."""
    decoder, photo = masked(seed), features(1)
    found = fill(decoder, photo, [None, 5, None, None])
    words = found.found.words
    assert words[1] == 5
    for t in range(4):
        asked = said(decoder, photo, words, hidden=t)
        row = asked.log_probs[0, 0, t + 1]
        assert found.found.log_probs[t] == pytest.approx(row[words[t]].item(), abs=1e-5)
        torch.testing.assert_close(found.found.alpha[t], asked.alpha[0, 0, t + 1])
        if t != 1:
            assert words[t] == max(WORDS, key=row.__getitem__)
            assert found.candidates[[0, 2, 3].index(t)][0][0] == words[t]
