"""A masked language model of captions, conditioned on the image.

It follows Devlin et al. 2019 ("BERT"), draws the share of masked words uniformly as in
Ghazvininejad et al. 2019 ("Mask-Predict"), and uses the Transformer of `transformer` without the
causal mask.

Shape suffixes: B images, K captions or beams of an image, T words, L locations, M width, H heads,
V vocabulary.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch

from showattend.model.decoders.protocol import Forced, Step, register, teacher_forcing
from showattend.model.decoders.transformer import Memory, Transformer
from showattend.model.layers import wide

MASK = 0
"""The id of [MASK]. It uses the embedding of <pad>, which no caption contains."""
AHEAD = 4
"""The number of masks after the words so far, while a caption is written."""


class State(NamedTuple):
    """The words so far. Nothing can be cached, since every word attends to those after it."""

    said: torch.Tensor  # [B, K, t]


class Filled(NamedTuple):
    """The predictions for every position of a sentence with masks."""

    log_probs: torch.Tensor  # [B, K, T, V], at least float32
    alpha: torch.Tensor  # [B, K, T, L]
    parts: torch.Tensor  # [B, K, T, layers * H, L]


class Draw(NamedTuple):
    """The masked captions of a training step, with <start> at position 0; all [B, K, T]."""

    words: torch.Tensor  # with MASK at the hidden positions
    there: torch.Tensor  # the positions that exist; the others are padding
    asked: torch.Tensor  # the hidden positions that must be predicted


@register("masked")
class MaskedDecoder(Transformer):
    """p(hidden words | other words, a), with words from both sides; see `Transformer`.

    In training, each caption becomes one of two kinds of sentences, with equal probability:

    * Gaps: any words are hidden, with their share drawn uniformly from 0 to 1. (BERT hides 15 %; a
      model that starts from an empty sentence must have seen all shares.) ``<end>`` is visible, so
      the length is known. `fill` uses sentences like these.
    * Openings: a uniformly drawn number of the first words, then `AHEAD` masks and no ``<end>``, so
      the length is open. `step` uses sentences like these, so search writes captions from left to
      right as with any decoder, with p(y_t | y_<t, masks, a). In training, the further masks are
      predicted too, if the caption has words there.

    In eval mode, teacher forcing runs step by step, with the same log-probabilities as search.

    Arguments are those of `Transformer`.
    """

    scores_captions: ClassVar[bool] = False

    def start(self, memory: Memory) -> State:
        """Return a state without words."""
        image = memory.image_keys[0]
        return State(torch.zeros(image.shape[0], 1, 0, dtype=torch.long, device=image.device))

    def step(self, words_BK: torch.Tensor, state: State, memory: Memory) -> Step:
        """Read one word of each caption [B, K], and all earlier ones again; see `Decoder.step`."""
        said = torch.cat([state.said, words_BK.unsqueeze(2)], 2)
        masks = torch.full_like(words_BK, MASK).unsqueeze(2).expand(-1, -1, AHEAD)
        seen = self.read(torch.cat([said, masks], 2), memory)
        logits = self.scores(seen.hidden[:, :, -AHEAD])
        log_probs = torch.log_softmax(logits.to(wide(logits.dtype)), -1)
        maps = seen.image[:, :, -AHEAD]
        return Step(log_probs, State(said), self.alpha(maps), None, maps)

    def fill(self, words_BKT: torch.Tensor, memory: Memory) -> Filled:
        """Predict every position of whole sentences from the words that are not masked.

        Args:
            words_BKT: ``<start> y_1 .. y_C <end>``, with `MASK` instead of some words.
            memory: The images.

        Returns:
            The log-probabilities [B, K, T, V], and the maps.
        """
        seen = self.read(words_BKT, memory)
        logits = self.scores(seen.hidden)
        log_probs = torch.log_softmax(logits.to(wide(logits.dtype)), -1)
        return Filled(log_probs, self.alpha(seen.image), seen.image)

    def forward(
        self, features: torch.Tensor, captions_BKT: torch.Tensor, lengths_BK: torch.Tensor
    ) -> Forced:
        """Predict the hidden words of one `draw` in training; otherwise run teacher forcing.

        In training, the coverage sums the maps of all words of a sentence. See `teacher_forcing`
        for arguments and result.
        """
        if not self.training:
            steps: Any = self  # without an attention module, which its steps do not need
            return teacher_forcing(steps, features, captions_BKT, lengths_BK)
        drawn = draw(captions_BKT[:, :, : int(lengths_BK.max()) + 1], lengths_BK)
        allowed = drawn.there[:, :, None, None]  # [B, K, heads, asking, asked]
        seen = self.read(drawn.words, self.memory(features), allowed=allowed)
        number_BK = torch.arange(lengths_BK.numel(), device=lengths_BK.device).view_as(lengths_BK)
        numbers = number_BK.unsqueeze(2).expand_as(drawn.asked)[drawn.asked]
        whole = torch.zeros_like(drawn.words)
        whole[:, :, : captions_BKT.shape[2]] = captions_BKT[:, :, : whole.shape[2]]
        said = drawn.there & (whole != MASK)
        said[:, :, 0] = False  # <start> is not a word
        return Forced(
            self.scores(seen.hidden[drawn.asked]),
            whole[drawn.asked],
            numbers,
            (self.alpha(seen.image) * said.unsqueeze(3)).sum(2),
        )


def draw(captions_BKT: torch.Tensor, lengths_BK: torch.Tensor) -> Draw:
    """Hide words of captions, as described at `MaskedDecoder`.

    Args:
        captions_BKT: ``<start> y_1 .. y_C <end>``, padded with ``<pad>``.
        lengths_BK: C + 1 for each caption; 0 if there is none, and then nothing is hidden.

    Returns:
        The captions with masks, [B, K, T + AHEAD - 1].
    """
    B, K, T = captions_BKT.shape
    device, length = captions_BKT.device, lengths_BK.unsqueeze(2)
    place = torch.arange(T + AHEAD - 1, device=device)
    padding = torch.full((B, K, AHEAD - 1), MASK, device=device)
    words = torch.cat([captions_BKT, padding], 2)

    opening = torch.rand(B, K, 1, device=device) < 0.5
    known = (torch.rand(B, K, 1, device=device) * length).long()  # 0 to C words
    ahead = (place > known) & (place <= known + AHEAD)

    random = torch.rand(B, K, len(place), device=device)
    word = (place > 0) & (place < length)
    random = torch.where(word, random, 2.0)
    share = torch.rand(B, K, 1, device=device)
    gaps = word & ((random < share) | (random == random.amin(2, keepdim=True)))  # at least one

    hidden = torch.where(opening, ahead, gaps)
    there = torch.where(opening, place <= known + AHEAD, place <= length)
    return Draw(torch.where(hidden, MASK, words), there, hidden & (place <= length) & (length > 0))
