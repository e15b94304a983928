"""Greedy and beam search over a batch of images, including attention maps.

The search uses only the decoder protocol (`showattend.model.decoders.protocol.Decoder`). For each
time step it records the word of each hypothesis, the hypothesis that the word extends, and the
attention maps. Captions and maps are read back along the same links, so each map belongs to its
word.

Log-probabilities and scores are the same whether a caption was found by search, sampled or forced.
A word's log-probability is the model's own, over the whole vocabulary: special and banned words
cannot be chosen, but the remaining probabilities are not renormalised, so options of the search do
not change the probability of a word. `score_of` computes a caption's score from them.

Shape suffixes: B images, K hypotheses (beams) of an image, L locations, V vocabulary, T time.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch

from showattend.decoding.hypotheses import (
    BANNED,
    SEEN,
    SPECIAL,
    Hypothesis,
    allowed_of,
    cut_short,
    seen,
    ways_on,
)
from showattend.model.decoders.protocol import Decoder, choose_images, map_state
from showattend.model.search_options import SearchOptions, check_words
from showattend.text.vocabulary import Vocabulary


class _Trace(NamedTuple):
    """The record of one time step."""

    images: torch.Tensor  # [B]: the image of each row; finished images are left out
    words: torch.Tensor  # [B, K]
    parents: torch.Tensor  # [B, K]: the beam before the step that each hypothesis extends
    log_probs: torch.Tensor  # [B, K]
    looked: dict[str, torch.Tensor | None]  # `seen(step)`, in the order of the parents' beams


@torch.inference_mode()
def search(
    decoder: Decoder, features: torch.Tensor, options: SearchOptions | None = None
) -> list[list[Hypothesis]]:
    """Find the best captions for a batch of images.

    All hypotheses of an image, finished or not, compete in one pool of ``beam_size`` by their
    length-normalised log-probability. An image is done when every hypothesis in its pool has ended
    or the maximum length is reached; hypotheses that have not ended by then are returned as they
    are. Finished images leave the batch. Special words other than ``<end>`` and words banned by
    ``options`` are never produced. If no other word is possible before the minimum length, the
    caption is cut off there; it may then be empty.

    Args:
        decoder: Any decoder, in eval mode.
        features: Annotations [B, H, W, D].
        options: Options of the search; None for the defaults.

    Returns:
        For each image, ``n_best`` hypotheses, best first; fewer if fewer exist, but at least one.

    Raises:
        ConfigError: A word of the prefix or a banned word is not in the decoder's vocabulary.
    """
    options = options or SearchOptions()
    memory = decoder.memory(features)
    state = decoder.start(memory)
    B, K, device = features.shape[0], options.beam_size, features.device
    if B == 0:
        return []
    END, PAD = Vocabulary.END, Vocabulary.PAD

    words = torch.full((B, 1), Vocabulary.START, device=device)
    history = torch.empty((B, 1, 0), dtype=torch.long, device=device)
    total = torch.zeros((B, 1), dtype=torch.float32, device=device)  # sums of log-probabilities
    length = torch.zeros_like(total)  # words and <end>
    done = torch.zeros((B, 1), dtype=torch.bool, device=device)
    images = torch.arange(B, device=device)  # the image of each row
    scores: dict[int, list[float]] = {}
    trace: list[_Trace] = []
    never = dict.fromkeys([PAD, Vocabulary.START, Vocabulary.UNK, *options.banned])
    banned = torch.tensor([*never, END], device=device)  # <end> only before the minimum length

    for t in range(options.max_length):
        step = decoder.step(words, state, memory)
        state, log_probs = step.state, step.log_probs
        if t == 0:
            check_words((*options.prefix, *options.banned), log_probs.shape[-1])
        now = banned if t < options.min_length else banned[:-1]
        next_BKC, log_probs_BKC = ways_on(log_probs.float(), history, t, now, options)
        # A finished hypothesis has one continuation: itself, at no cost.
        log_probs_BKC.masked_fill_(done.unsqueeze(2), BANNED)
        next_BKC[:, :, 0].masked_fill_(done, PAD)
        log_probs_BKC[:, :, 0].masked_fill_(done, 0.0)
        grown = torch.where(done, length, length + 1)
        power = grown.unsqueeze(2) ** options.length_penalty
        ranked = ((total.unsqueeze(2) + log_probs_BKC) / power).flatten(1)
        _, index = ranked.topk(min(K, ranked.shape[1]), dim=1)
        parents, words = index // next_BKC.shape[2], next_BKC.flatten(1).gather(1, index)

        chosen = log_probs_BKC.flatten(1).gather(1, index)
        total, length = total.gather(1, parents) + chosen, grown.gather(1, parents)
        done = done.gather(1, parents) | (words == END)
        trace.append(_Trace(images, words, parents, chosen, seen(step)))
        over = done.all(1)
        if t + 1 == options.max_length:
            over = torch.ones_like(over)
        # Dropping finished images copies the others, so wait until at least a quarter is done.
        if (count := int(over.sum())) * 4 >= len(over):
            ended = (total / length.clamp(min=1) ** options.length_penalty)[over]
            scores |= zip(images[over].tolist(), ended.tolist(), strict=True)
            if count == len(over):
                break
            left = (~over).nonzero().squeeze(1)
            images, words, parents, history = (
                part[left] for part in (images, words, parents, history)
            )
            total, length, done = total[left], length[left], done[left]
            state = choose_images(state, left)
            memory = choose_images(memory, left)
        state = map_state(state, _take, parents)
        history = torch.cat([_take(history, parents), words.unsqueeze(2)], 2)

    ranks = [scores[image] for image in range(B)]
    return _read_back(trace, ranks, options)


def _take(part_BK: torch.Tensor, parents_BK: torch.Tensor) -> torch.Tensor:
    """Select rows along the K axis for each image: [B, K, ...] to [B, K', ...]."""
    images = torch.arange(part_BK.shape[0], device=part_BK.device).unsqueeze(1)
    return part_BK[images, parents_BK]


def _read_back(
    trace: list[_Trace], scores: list[list[float]], options: SearchOptions
) -> list[list[Hypothesis]]:
    """Follow the links from the last time step to the first."""
    steps, forced = _Steps(trace), len(options.prefix)
    results = []
    for image, ranks in enumerate(scores):
        found: list[Hypothesis] = []
        cut: list[Hypothesis] = []
        order = sorted(range(len(ranks)), key=lambda beam: -ranks[beam])
        for beam in order:
            each = steps.hypothesis(image, beam, ranks[beam], forced)
            # A beam that holds a banned word (if there are more beams than words) is not a caption.
            allowed = allowed_of(each, forced)
            if allowed == len(each.log_probs):
                found.append(each)
            elif not found:
                cut.append(cut_short(each, allowed, options.length_penalty))
            if len(found) == options.n_best:
                break
        results.append(found or [max(cut, key=lambda each: (len(each.words), each.score))])
    return results


class _Steps:
    """A trace as Python numbers, which are faster to read one by one, and its maps as tensors."""

    def __init__(self, trace: list[_Trace]) -> None:
        self.rows = [{image: i for i, image in enumerate(s.images.tolist())} for s in trace]
        self.words, self.parents, self.log_probs = (
            [getattr(step, name).tolist() for step in trace]
            for name in ("words", "parents", "log_probs")
        )
        self.looked = {name: _joined([step.looked[name] for step in trace]) for name in SEEN}
        # The number of beams of an image before each step (one before the first), and the step's
        # first row in the joined maps.
        self.sources = [1, *(step.words.shape[1] for step in trace[:-1])]
        rows = (len(step.images) * k for step, k in zip(trace, self.sources, strict=True))
        self.first = [0, *itertools.accumulate(rows)]

    def hypothesis(self, image: int, beam: int, score: float, forced: int) -> Hypothesis:
        """Read back the hypothesis that ends in a beam of an image."""
        words: list[int] = []
        log_probs: list[float] = []
        rows_read: list[int] = []
        for t in reversed([t for t, rows in enumerate(self.rows) if image in rows]):
            row = self.rows[t][image]
            word, parent = self.words[t][row][beam], self.parents[t][row][beam]
            log_prob = self.log_probs[t][row][beam]
            if word != Vocabulary.PAD or log_prob:  # <pad> with log-probability 0: already ended
                log_probs.append(log_prob)
            if word not in SPECIAL or t < forced:
                words.append(word)
                rows_read.append(self.first[t] + row * self.sources[t] + parent)
            beam = parent
        read = torch.tensor(rows_read[::-1], dtype=torch.long)
        looked = {k: None if each is None else each[read] for k, each in self.looked.items()}
        return Hypothesis(words[::-1], log_probs[::-1], score=score, **looked)


def _joined(parts: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    """Join the steps' tensors [B, K, ...] into one with a row for each beam, on the CPU."""
    found = [part.flatten(0, 1) for part in parts if part is not None]
    return torch.cat(found).float().cpu() if found else None
