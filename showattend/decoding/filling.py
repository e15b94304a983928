"""Filling the gaps of a sentence about a photograph.

A masked decoder (`MaskedDecoder.fill`) predicts the missing words from the words on both sides. Any
other decoder writes from left to right only, so a search is used: by Bayes' rule
p(gap | left, right) is proportional to p(gap | left) p(right | left, gap).

Shape suffixes: K sentences, T words, L locations, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from showattend.decoding.forced import force
from showattend.decoding.hypotheses import BANNED, SPECIAL, Hypothesis, as_numbers, score_of
from showattend.model.decoders.protocol import Decoder, map_state
from showattend.model.search_options import SearchOptions
from showattend.text.vocabulary import Vocabulary

WIDTH = 100
"""The number of sentences that the search keeps."""
MASK = Vocabulary.PAD
"""The word that marks a gap for `MaskedDecoder.fill`."""


class Filling(NamedTuple):
    """A sentence with its gaps filled, and the candidates for each gap.

    Attributes:
        found: The most probable sentence found, with its maps. With a masked decoder, each
            log-probability is that of a word given all the others, and there is none for
            ``<end>``, which is given.
        candidates: For each gap, in order: words and their probabilities, best first.
    """

    found: Hypothesis
    candidates: list[list[tuple[int, float]]]


@torch.inference_mode()
def fill(
    decoder: Decoder,
    features: torch.Tensor,
    words: Sequence[int | None],
    *,
    candidates: int = 5,
    length_penalty: float = SearchOptions.length_penalty,
) -> Filling:
    """Fill the gaps of a sentence about one image.

    Args:
        decoder: Any decoder, in eval mode.
        features: Annotations of the image, [1, H, W, D].
        words: Word ids, ``<unk>`` allowed; None for a gap of one word.
        candidates: The most words to return for a gap.
        length_penalty: The length penalty of the score (`score_of`).

    Returns:
        The filled sentence, and the candidates for each gap.
    """
    gaps = [t for t, word in enumerate(words) if word is None]
    ask: Callable[..., Any] | None = getattr(decoder, "fill", None)
    if ask is None:
        return _by_search(decoder, features, words, gaps, candidates, length_penalty)
    return _by_asking(decoder, ask, features, words, gaps, candidates, length_penalty)


def _by_asking(
    decoder: Decoder,
    ask: Callable[..., Any],
    features: torch.Tensor,
    words: Sequence[int | None],
    gaps: list[int],
    candidates: int,
    length_penalty: float,
) -> Filling:
    """Fill the most certain gap first; then revise each, given the others, until none changes."""
    memory = decoder.memory(features)
    numbers = [Vocabulary.START, *(MASK if w is None else w for w in words), Vocabulary.END]
    row = torch.tensor(numbers, device=features.device)

    def masked(places: Sequence[Sequence[int]]) -> Any:
        """Read copies of the sentence, each with its own places masked."""
        rows = row.repeat(len(places), 1)
        for each, hidden in zip(rows, places, strict=True):
            each[[t + 1 for t in hidden]] = MASK
        return ask(rows.unsqueeze(0), memory)

    left = list(gaps)
    while left:
        best, said = _words(masked([left]).log_probs[0, 0, [t + 1 for t in left]]).max(1)
        surest = int(best.argmax())
        row[left.pop(surest) + 1] = said[surest]
    for _ in range(2 * len(gaps)):
        filled = masked([[t] for t in gaps])
        own = torch.arange(len(gaps)), torch.tensor(gaps) + 1
        likely = _words(filled.log_probs[0][own])
        now = likely.gather(1, row[own[1]].unsqueeze(1)).squeeze(1)
        gain, better = likely.max(1)
        most = int((gain - now).argmax())
        if gain[most] <= now[most]:
            break
        row[gaps[most] + 1] = better[most]

    every = range(len(words))
    filled = masked([[t] for t in every])
    own = torch.arange(len(words)), torch.arange(len(words)) + 1
    log_probs_TV = filled.log_probs[0][own]
    said = row[1:-1]
    log_probs = log_probs_TV.gather(1, said.unsqueeze(1)).squeeze(1).tolist()
    found = Hypothesis(
        said.tolist(),
        log_probs,
        alpha=filled.alpha[0][own].float().cpu(),
        beta=None,
        score=score_of(log_probs, length_penalty),
        parts=filled.parts[0][own].float().cpu(),
    )
    best, which = _words(log_probs_TV[gaps]).exp().topk(min(candidates, log_probs_TV.shape[1]))
    return Filling(
        found,
        [
            [(w, p) for w, p in zip(row_w, row_p, strict=True) if w not in SPECIAL]
            for row_w, row_p in zip(which.tolist(), best.tolist(), strict=True)
        ],
    )


def _words(log_probs_TV: torch.Tensor) -> torch.Tensor:
    """Ban special words in log-probabilities [T, V]."""
    allowed = as_numbers(log_probs_TV.float())
    allowed[:, list(SPECIAL)] = BANNED
    return allowed


def _by_search(
    decoder: Decoder,
    features: torch.Tensor,
    words: Sequence[int | None],
    gaps: list[int],
    candidates: int,
    length_penalty: float,
) -> Filling:
    """Search for the `WIDTH` most probable sentences with these words.

    A candidate's probability is the share of those sentences' probability that has it in the gap.
    """
    device = features.device
    memory = decoder.memory(features)
    state = decoder.start(memory)
    previous = torch.full((1, 1), Vocabulary.START, device=device)
    total = torch.zeros(1, device=device)
    said = torch.zeros((1, 0), dtype=torch.long, device=device)
    for word in [*words, Vocabulary.END]:
        step = decoder.step(previous, state, memory)
        likely_KV = as_numbers(step.log_probs[0].float())
        if word is None:
            scores = (total.unsqueeze(1) + _words(likely_KV)).flatten()
            scores, index = scores.topk(min(WIDTH, len(scores)))
            index, total = index[scores > BANNED / 2], scores[scores > BANNED / 2]
            parents, new = index // likely_KV.shape[1], index % likely_KV.shape[1]
        else:
            parents = torch.arange(len(total), device=device)
            new, total = torch.full_like(parents, word), total + likely_KV[:, word]
        state = map_state(step.state, _rows, parents)
        said, previous = torch.cat([said[parents], new.unsqueeze(1)], 1), new.unsqueeze(0)
    shares = total.double().softmax(0)
    best = said[int(total.argmax()), :-1].tolist()
    found = []
    for t in gaps:
        sums: dict[int, float] = {}
        for word, share in zip(said[:, t].tolist(), shares.tolist(), strict=True):
            sums[word] = sums.get(word, 0.0) + share
        found.append(sorted(sums.items(), key=lambda each: -each[1])[:candidates])
    return Filling(force(decoder, features, best, length_penalty), found)


def _rows(part_BK: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
    return part_BK[:, parents]
