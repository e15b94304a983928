"""The row of the Transformer's cache: beam search with it, and without."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from measuring import Row, alternate, row
from rows import Setting

from showattend.decoding.beam import search
from showattend.decoding.hypotheses import Hypothesis
from showattend.model.decoders.protocol import Step
from showattend.model.decoders.transformer import Memory, TransformerDecoder
from showattend.model.search_options import SearchOptions


class Said(NamedTuple):
    """The words of each hypothesis, [B, K, t]."""

    words: torch.Tensor


class Recomputing:
    """A decoder without its cache: every step reads all words of every hypothesis again."""

    def __init__(self, decoder: TransformerDecoder) -> None:
        self.decoder, self.memory = decoder, decoder.memory

    def start(self, memory: Memory) -> Said:
        """Return a state without words."""
        image = memory.image_keys[0]
        return Said(torch.zeros(len(image), 1, 0, dtype=torch.long, device=image.device))

    def step(self, words_BK: torch.Tensor, state: Said, memory: Memory) -> Step:
        """Read them all, for the scores after the last."""
        words = torch.cat([state.words, words_BK.unsqueeze(2)], 2)
        seen = self.decoder.read(words, memory, allowed=self.decoder.allowed(words.shape[2]))
        log_probs = self.decoder.scores(seen.hidden[:, :, -1]).float().log_softmax(-1)
        maps = seen.image[:, :, -1]
        return Step(log_probs, Said(words), self.decoder.alpha(maps), None, maps)


def cached_searching(setting: Setting) -> list[Row]:
    """Beam search of the Transformer for captions of maximum length, in float32."""
    sizes = setting.sizes
    torch.manual_seed(0)
    width = {"hidden_dim": 8, "feedforward_dim": 16, "heads": 2} if setting.quick else {}
    decoder = TransformerDecoder(
        vocabulary_size=sizes.vocabulary, feature_dim=sizes.feature, **width
    ).eval()
    features = torch.randn(max(1, sizes.searched // 4), sizes.locations, sizes.feature)
    options = SearchOptions(
        beam_size=sizes.beams, max_length=sizes.longest, min_length=sizes.longest
    )
    found: dict[str, list[list[Hypothesis]]] = {}

    def run(name: str, decoder: Any) -> None:
        found[name] = search(decoder, features, options)

    contenders = {
        "cache": partial(run, "cache", decoder),
        "usual": partial(run, "usual", Recomputing(decoder)),
    }
    seconds = alternate(contenders, setting.repeats)
    pairs = [(one[0], other[0]) for one, other in zip(found["cache"], found["usual"], strict=True)]
    same = sum(one.words == other.words for one, other in pairs)
    assert same == len(pairs), f"only {same} of {len(pairs)} captions are the same"
    apart = max(abs(one.score - other.score) for one, other in pairs)
    assert apart < 1e-5, f"the scores differ by {apart}"
    note = f"{same} of {len(pairs)} captions of {sizes.longest} words identical, "
    note += f"scores to {apart:.0e}"
    name = "search of the Transformer, its cache against reading all words again"
    return [row(name, seconds, "cache", note=note)]
