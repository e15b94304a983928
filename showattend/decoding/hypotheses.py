"""A caption as the decoder found it, its score, and what may not be said.

Shape suffixes: B images, K hypotheses (beams) of an image, T time, L locations, N banned words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from showattend.model.decoders.protocol import Step
from showattend.model.search_options import SearchOptions
from showattend.text.vocabulary import Vocabulary

# Lower than any sum of log-probabilities, and finite: sums and comparisons stay ordinary numbers.
BANNED = -1e9
SPECIAL = (Vocabulary.PAD, Vocabulary.START, Vocabulary.END, Vocabulary.UNK)


class Hypothesis(NamedTuple):
    """One caption as search found it."""

    words: list[int]  # T word ids, no special ones
    log_probs: list[float]  # T + 1 with <end>'s, T when cut off at the maximum length
    alpha: torch.Tensor | None  # [T, L] float32; None of a decoder without maps
    beta: torch.Tensor | None  # [T]; None of one without a gate
    score: float  # `score_of` the log-probabilities
    parts: torch.Tensor | None = None  # [T, P, L]: the maps of each head, hop or level
    sentinel: torch.Tensor | None = None  # [T]: the share of the attention that it got


SEEN = ("alpha", "beta", "parts", "sentinel")
"""What a hypothesis tells of where the model looked, by its fields; each may be None."""


def seen(step: Step) -> dict[str, torch.Tensor | None]:
    """Where the model looked in a step, [B, K, ...], by the names of a hypothesis' fields."""
    return dict(zip(SEEN, (step.alpha, step.gate, step.parts, step.sentinel), strict=True))


def score_of(log_probs: Sequence[float], length_penalty: float) -> float:
    """What captions are ranked by: log p / length ** length_penalty.

    Args:
        log_probs: One a word and, unless the caption was cut off, ``<end>``'s; their number is
            the length.
        length_penalty: 0 ranks by probability, 1 by the mean.
    """
    return sum(log_probs) / max(len(log_probs), 1) ** length_penalty


def ways_on(
    log_probs_BKV: torch.Tensor,
    history_BKT: torch.Tensor,
    t: int,
    banned: torch.Tensor,
    options: SearchOptions,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The words that may follow each hypothesis and lead into the pool: its ``beam_size`` best.

    The vocabulary is read once, here: of a row's words, the best are taken, so many more than the
    beam that enough are left when special words, early ends and repeated n-grams are banned. A
    broken model's NaN is a ban too. Up to the prefix's last word, the one that is forced is all
    there is.

    Returns:
        The words [B, K, C] and their log-probabilities, `BANNED` for what is banned.
    """
    V = log_probs_BKV.shape[-1]
    if t < len(options.prefix):
        shape = (*log_probs_BKV.shape[:2], 1)
        words = torch.full(shape, options.prefix[t], device=log_probs_BKV.device)
        return words, as_numbers(log_probs_BKV.gather(2, words))
    said = _completing(history_BKT, options.block_ngrams)
    count = min(options.beam_size + len(banned) + said.shape[2], V)
    best, words = log_probs_BKV.topk(count, dim=2)
    if (best.isnan() | best.isposinf()).any():  # they count as greatest
        best, words = as_numbers(log_probs_BKV).topk(count, dim=2)
    ban = torch.isin(words, banned)
    if said.shape[2]:
        ban |= (words.unsqueeze(3) == said.unsqueeze(2)).any(3)
    return words, as_numbers(best.masked_fill(ban, BANNED))


def as_numbers(log_probs: torch.Tensor) -> torch.Tensor:
    """Log-probabilities [...] in which NaN, infinity and what is lower are `BANNED`."""
    return log_probs.nan_to_num(nan=BANNED, neginf=BANNED, posinf=BANNED).clamp(min=BANNED)


def _completing(history_BKT: torch.Tensor, n: int) -> torch.Tensor:
    """The words [B, K, N] that would complete an n-gram said before; ``<pad>`` where none would."""
    t = history_BKT.shape[2]
    if not n or t < n:
        return history_BKT[:, :, :0]
    windows = history_BKT.unfold(2, n, 1)  # every n-gram said so far
    last = history_BKT[:, :, t - n + 1 :]  # the n - 1 words that the next one would complete
    seen = (windows[..., : n - 1] == last.unsqueeze(2)).all(-1)
    return torch.where(seen, windows[..., -1], Vocabulary.PAD)


def allowed_of(found: Hypothesis, forced: int) -> int:
    """How many of the words (and ``<end>``) come before the first that is banned."""
    choices = enumerate(found.log_probs[forced:], forced)
    return next((t for t, each in choices if each < BANNED / 2), len(found.log_probs))


def cut_short(found: Hypothesis, length: int, length_penalty: float) -> Hypothesis:
    """A hypothesis of its first words only."""
    words, log_probs = found.words[:length], found.log_probs[:length]
    score = score_of(log_probs, length_penalty)
    looked = {name: getattr(found, name) for name in SEEN}
    looked = {name: None if each is None else each[:length] for name, each in looked.items()}
    return Hypothesis(words, log_probs, score=score, **looked)
