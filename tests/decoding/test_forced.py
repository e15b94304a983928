"""Sentences that the model is given."""

from __future__ import annotations

import pytest
import torch

from showattend.decoding.forced import force, force_all
from tests.decoding.small_decoders import UNK, features, lstm


def test_sentences_forced_together_are_forced_as_they_are_alone() -> None:
    decoder, image = lstm(), features(1)
    sentences = [[4, UNK, 6], [], [5], [4, 5, 6, 6]]
    for words, each in zip(sentences, force_all(decoder, image, sentences), strict=True):
        alone = force(decoder, image, words)
        assert each.words == words
        assert each.log_probs == pytest.approx(alone.log_probs, abs=1e-5)
        assert each.score == pytest.approx(alone.score, abs=1e-5)
        assert each.score == pytest.approx(sum(each.log_probs) / (len(words) + 1) ** 0.7, abs=1e-5)
        torch.testing.assert_close(each.alpha, alone.alpha)
        torch.testing.assert_close(each.beta, alone.beta)
    assert force_all(decoder, image, []) == []
    (mean,) = force_all(decoder, image, [[4, 5]], length_penalty=1.0)
    assert mean.score == pytest.approx(sum(mean.log_probs) / 3, abs=1e-5)
