"""Decoders small enough to enumerate what they can say, and their features."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch

from showattend.model.decoders.lstm import LSTMDecoder
from showattend.model.decoders.protocol import Step
from showattend.model.search_options import SearchOptions
from showattend.text.vocabulary import Vocabulary

END, UNK, START = Vocabulary.END, Vocabulary.UNK, Vocabulary.START


def lstm(seed: int = 0, vocabulary: int = 7) -> LSTMDecoder:
    torch.manual_seed(seed)
    decoder = LSTMDecoder(
        vocabulary_size=vocabulary, feature_dim=5, embedding_dim=6, hidden_dim=6, attention_dim=6
    ).eval()
    for parameter in decoder.parameters():  # far from uniform, so that beams differ
        torch.nn.init.normal_(parameter, std=1.0)
    return decoder


def features(images: int = 3) -> torch.Tensor:
    return torch.randn(images, 4, 5, generator=torch.Generator().manual_seed(1))


class Table:
    """A decoder that says what a function of the words so far says; its map points at step t."""

    def __init__(self, log_probs, size: int = 8) -> None:  # type: ignore[no-untyped-def]
        self.log_probs, self.size = log_probs, size

    def memory(self, features: torch.Tensor) -> torch.Tensor:
        return features

    def start(self, memory: torch.Tensor) -> tuple[torch.Tensor]:
        return _State(torch.zeros(memory.shape[0], 1, 0, dtype=torch.long))

    def step(self, words, state, memory):  # type: ignore[no-untyped-def]
        said = torch.cat([state[0], words.unsqueeze(2)], 2)
        B, K, t = said.shape
        rows = [[self.log_probs(said[b, k, 1:].tolist()) for k in range(K)] for b in range(B)]
        alpha = torch.zeros(B, K, 50)
        # The map encodes the last word read and the time, so that a mixed-up map shows.
        for b, k in itertools.product(range(B), range(K)):
            alpha[b, k, int(said[b, k, -1])] = t
        return Step(torch.tensor(rows), _State(said), alpha, torch.full((B, K), 0.5))


class _State(NamedTuple):
    said: torch.Tensor


def options(**values: float) -> SearchOptions:
    return SearchOptions(**{"max_length": 4, "length_penalty": 0.0, **values})  # type: ignore[arg-type]
