"""A masked language model of captions, conditioned on the image: BERT over a picture.

Devlin et al. 2019 ("BERT"), with the uniformly drawn share of masked words of Ghazvininejad et al.
2019 ("Mask-Predict"), and the Transformer of `transformer` without its causal mask.

Shape suffixes: B images, K captions or beams of an image, T words, L locations, M width, V
vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from showattend.model.decoders.protocol import Forced, Step, register, teacher_forcing
from showattend.model.decoders.transformer import Memory, Transformer
from showattend.model.layers import wide

MASK = 0
"""[MASK] is the embedding of <pad>, which no caption holds."""
AHEAD = 4
"""How many masks follow the words said so far, while a caption is written."""


class State(NamedTuple):
    """The words said so far; nothing is cached, for every word sees those after it."""

    said: torch.Tensor  # [B, K, t]


class Filled(NamedTuple):
    """What a sentence with masks may hold at each place."""

    log_probs: torch.Tensor  # [B, K, T, V], float32 at least
    alpha: torch.Tensor  # [B, K, T, L]
    parts: torch.Tensor  # [B, K, T, layers * H, L]


class Draw(NamedTuple):
    """What a training step hides of its captions, <start> at place 0; all [B, K, T]."""

    words: torch.Tensor  # with MASK where something is hidden
    there: torch.Tensor  # which places the sentence has: others are padding
    asked: torch.Tensor  # which hidden places are to be said


@register("masked")
class MaskedDecoder(Transformer):
    """p(hidden words | other words, a), every word seen from both sides; see `Transformer`.

    Trained on two kinds of sentences, half of the captions each:

    * gaps: any words hidden, their share drawn uniformly from 0 to 1 (BERT hides 15 of 100; a
      model that must begin with nothing has to see all shares). ``<end>`` is there: the length
      is known. This is what `fill` asks.
    * openings: the first words, a number drawn uniformly, then `AHEAD` masks and no ``<end>``:
      the length is open. This is what `step` asks, and so how a caption is written, by search as
      by any decoder: left to right, each word of p(y_t | y_<t, masks, a). Masks after it are asked
      for too where the caption has words there.

    In eval mode teacher forcing goes step by step: its log-probabilities are those of search.
    """

    def start(self, memory: Memory) -> State:
        """Nothing said."""
        image = memory.image_keys[0]
        return State(torch.zeros(image.shape[0], 1, 0, dtype=torch.long, device=image.device))

    def step(self, words_BK: torch.Tensor, state: State, memory: Memory) -> Step:
        """One word; see `Decoder.step`. All words are read again."""
        said = torch.cat([state.said, words_BK.unsqueeze(2)], 2)
        masks = torch.full_like(words_BK, MASK).unsqueeze(2).expand(-1, -1, AHEAD)
        seen = self.read(torch.cat([said, masks], 2), memory)
        logits = self.scores(seen.hidden[:, :, -AHEAD])
        log_probs = torch.log_softmax(logits.to(wide(logits.dtype)), -1)
        maps = seen.image[:, :, -AHEAD]
        return Step(log_probs, State(said), self.alpha(maps), None, maps)

    def fill(self, words_BKT: torch.Tensor, memory: Memory) -> Filled:
        """What the places of whole sentences may hold, given all that is not masked.

        Args:
            words_BKT: ``<start> y_1 .. y_C <end>`` with `MASK` in the place of some words.
            memory: The images.
        """
        seen = self.read(words_BKT, memory)
        logits = self.scores(seen.hidden)
        log_probs = torch.log_softmax(logits.to(wide(logits.dtype)), -1)
        return Filled(log_probs, self.alpha(seen.image), seen.image)

    def forward(
        self, features: torch.Tensor, captions_BKT: torch.Tensor, lengths_BK: torch.Tensor
    ) -> Forced:
        """In training: the hidden words of one `draw`, and maps of every place of the sentences.

        Otherwise teacher forcing, step by step.
        """
        if not self.training:
            steps: Any = self  # it has no attention module, and its steps no aside
            return teacher_forcing(steps, features, captions_BKT, lengths_BK)
        drawn = draw(captions_BKT[:, :, : int(lengths_BK.max()) + 1], lengths_BK)
        allowed = drawn.there[:, :, None, None]  # [B, K, heads, asking, asked]
        seen = self.read(drawn.words, self.memory(features), allowed=allowed)
        number_BK = torch.arange(lengths_BK.numel(), device=lengths_BK.device).view_as(lengths_BK)
        numbers = number_BK.unsqueeze(2).expand_as(drawn.asked)[drawn.asked]
        whole = torch.zeros_like(drawn.words)
        whole[:, :, : captions_BKT.shape[2]] = captions_BKT[:, :, : whole.shape[2]]
        said = drawn.there & (whole != MASK)
        said[:, :, 0] = False  # <start> is no word
        return Forced(
            self.scores(seen.hidden[drawn.asked]),
            whole[drawn.asked],
            numbers,
            (self.alpha(seen.image) * said.unsqueeze(3)).sum(2),
        )


def draw(captions_BKT: torch.Tensor, lengths_BK: torch.Tensor) -> Draw:
    """Hide words of captions, as `MaskedDecoder` says.

    Args:
        captions_BKT: ``<start> y_1 .. y_C <end>``, padded.
        lengths_BK: C + 1 each; 0 where there is no caption, and then nothing is hidden.
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
    gaps = word & ((random < share) | (random == random.amin(2, keepdim=True)))  # one at least

    hidden = torch.where(opening, ahead, gaps)
    there = torch.where(opening, place <= known + AHEAD, place <= length)
    return Draw(torch.where(hidden, MASK, words), there, hidden & (place <= length) & (length > 0))
