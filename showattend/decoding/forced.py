"""Scoring given sentences: their log-probabilities, and where the model looks for each word.

Shape suffixes: K sentences, T words, L locations, D feature.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from showattend.decoding.hypotheses import SEEN, Hypothesis, score_of, seen
from showattend.model.decoders.protocol import Decoder, repeat
from showattend.model.search_options import SearchOptions
from showattend.text.vocabulary import Vocabulary


def force(
    decoder: Decoder,
    features: torch.Tensor,
    words: Sequence[int],
    length_penalty: float = SearchOptions.length_penalty,
) -> Hypothesis:
    """Score one sentence about one image, features [1, H, W, D]; see `force_all`."""
    return force_all(decoder, features, [words], length_penalty)[0]


@torch.inference_mode()
def force_all(
    decoder: Decoder,
    features: torch.Tensor,
    sentences: Sequence[Sequence[int]],
    length_penalty: float = SearchOptions.length_penalty,
) -> list[Hypothesis]:
    """Score the given sentences about one image, and record where the model looks.

    Args:
        decoder: Any decoder, in eval mode.
        features: Annotations of the image, [1, H, W, D].
        sentences: Word ids, ``<unk>`` allowed, without ``<start>`` and ``<end>``.
        length_penalty: The length penalty of the scores (`score_of`).

    Returns:
        One hypothesis per sentence, as search returns them: T words, T + 1 log-probabilities
        (including ``<end>``), maps and score.
    """
    if not sentences:
        return []
    memory = decoder.memory(features)
    state = repeat(decoder.start(memory), len(sentences))
    lengths = [len(words) + 1 for words in sentences]
    targets = torch.full((len(sentences), max(lengths)), Vocabulary.END)
    for row, words in zip(targets, sentences, strict=True):
        row[: len(words)] = torch.tensor(words, dtype=torch.long)
    targets = targets.to(features.device)
    previous = torch.full_like(targets[:, 0], Vocabulary.START)
    log_probs, looked = [], []
    for target in targets.T:
        step = decoder.step(previous.unsqueeze(0), state, memory)
        state, previous = step.state, target
        log_probs.append(step.log_probs[0].gather(1, target.unsqueeze(1)).squeeze(1))
        looked.append(seen(step))
    likely_KT = torch.stack(log_probs, 1).cpu()
    every = {name: _in_order([each[name] for each in looked]) for name in SEEN}
    found = []
    for k, (words, length) in enumerate(zip(sentences, lengths, strict=True)):
        likely, T = likely_KT[k, :length].tolist(), len(words)
        mine = {name: None if each is None else each[k, :T] for name, each in every.items()}
        score = score_of(likely, length_penalty)
        found.append(Hypothesis(list(words), likely, score=score, **mine))
    return found


def _in_order(parts: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    """Stack the steps' tensors [1, K, ...] to [K, T, ...], on the CPU; None if there are none."""
    found = [part[0] for part in parts if part is not None]
    return torch.stack(found, 1).float().cpu() if found else None
