"""Captions with their scores, and the words that a search may choose.

Shape suffixes: B images, K hypotheses (beams) of an image, T time, L locations, P parts (heads,
hops or levels), V vocabulary, C candidates, N words that would repeat an n-gram.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from showattend.model.decoders.protocol import Step
from showattend.model.fast import largest
from showattend.model.search_options import SearchOptions
from showattend.text.vocabulary import Vocabulary

# Lower than any sum of log-probabilities, but finite, so that sums never become NaN.
BANNED = -1e9
SPECIAL = (Vocabulary.PAD, Vocabulary.START, Vocabulary.END, Vocabulary.UNK)


class Hypothesis(NamedTuple):
    """One caption with its log-probabilities and maps."""

    words: list[int]  # T word ids without special words
    log_probs: list[float]  # T + 1, including <end>; T if cut off at the maximum length
    alpha: torch.Tensor | None  # [T, L] float32; None for a decoder without maps
    beta: torch.Tensor | None  # [T]; None for a decoder without a gate
    score: float  # `score_of(log_probs)`
    parts: torch.Tensor | None = None  # [T, P, L]: the maps of each head, hop or level
    sentinel: torch.Tensor | None = None  # [T]: the sentinel's share of the attention


SEEN = ("alpha", "beta", "parts", "sentinel")
"""The fields of a hypothesis that describe where the model looked; each may be None."""


def seen(step: Step) -> dict[str, torch.Tensor | None]:
    """Return where the model looked in a step, under the names of `Hypothesis`' fields.

    Returns:
        alpha [B, K, L], beta [B, K], parts [B, K, P, L] and sentinel [B, K], or None for each.
    """
    return dict(zip(SEEN, (step.alpha, step.gate, step.parts, step.sentinel), strict=True))


def score_of(log_probs: Sequence[float], length_penalty: float) -> float:
    """Compute the score that ranks captions: log p / length ** length_penalty.

    Args:
        log_probs: The log-probabilities of the words and, unless the caption was cut off, of
            ``<end>``. The length is their number.
        length_penalty: 0 ranks by the total log-probability, 1 by the mean.
    """
    return sum(log_probs) / max(len(log_probs), 1) ** length_penalty


def ways_on(
    log_probs_BKV: torch.Tensor,
    history_BKT: torch.Tensor,
    t: int,
    banned: torch.Tensor,
    options: SearchOptions,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the candidates for the next word of each hypothesis.

    This is the only pass over the vocabulary. It keeps enough of the best words that at least
    ``beam_size`` remain after special words, early ends and repeated n-grams are banned. NaN from a
    broken model counts as banned. Within the prefix, the forced word is the only candidate.

    Args:
        log_probs_BKV: The log-probabilities of the next word.
        history_BKT: The words so far.
        t: The number of words so far.
        banned: The words that may not be chosen now.
        options: The options of the search.

    Returns:
        The words [B, K, C] and their log-probabilities [B, K, C], `BANNED` for banned words.
    """
    V = log_probs_BKV.shape[-1]
    if t < len(options.prefix):
        shape = (*log_probs_BKV.shape[:2], 1)
        words = torch.full(shape, options.prefix[t], device=log_probs_BKV.device)
        return words, as_numbers(log_probs_BKV.gather(2, words))
    said = _completing(history_BKT, options.block_ngrams)
    count = min(options.beam_size + len(banned) + said.shape[2], V)
    best, words = largest(log_probs_BKV, count)
    if (best.isnan() | best.isposinf()).any():  # they rank highest
        best, words = largest(as_numbers(log_probs_BKV), count)
    ban = torch.isin(words, banned)
    if said.shape[2]:
        ban |= (words.unsqueeze(3) == said.unsqueeze(2)).any(3)
    return words, as_numbers(best.masked_fill(ban, BANNED))


def as_numbers(log_probs: torch.Tensor) -> torch.Tensor:
    """Replace NaN, infinities and anything below `BANNED` by `BANNED`; the shape [...] is kept."""
    return log_probs.nan_to_num(nan=BANNED, neginf=BANNED, posinf=BANNED).clamp(min=BANNED)


def _completing(history_BKT: torch.Tensor, n: int) -> torch.Tensor:
    """Find the words [B, K, N] that would repeat an n-gram; ``<pad>`` for windows without one."""
    t = history_BKT.shape[2]
    if not n or t < n:
        return history_BKT[:, :, :0]
    windows = history_BKT.unfold(2, n, 1)  # every n-gram so far
    last = history_BKT[:, :, t - n + 1 :]  # the last n - 1 words
    seen = (windows[..., : n - 1] == last.unsqueeze(2)).all(-1)
    return torch.where(seen, windows[..., -1], Vocabulary.PAD)


def allowed_of(found: Hypothesis, forced: int) -> int:
    """Count the words (and ``<end>``) before the first banned one after ``forced`` given words."""
    choices = enumerate(found.log_probs[forced:], forced)
    return next((t for t, each in choices if each < BANNED / 2), len(found.log_probs))


def cut_short(found: Hypothesis, length: int, length_penalty: float) -> Hypothesis:
    """Cut a hypothesis to its first ``length`` words, and compute its score again."""
    words, log_probs = found.words[:length], found.log_probs[:length]
    score = score_of(log_probs, length_penalty)
    looked = {name: getattr(found, name) for name in SEEN}
    looked = {name: None if each is None else each[:length] for name, each in looked.items()}
    return Hypothesis(words, log_probs, score=score, **looked)
