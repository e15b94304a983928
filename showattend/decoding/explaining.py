"""Explanations of a word: how much each location of the grid counted for it.

Attention is one of them. The others query the network instead of reading its weights: they follow
the gradient of the word's log-probability, or replace annotations and measure the change. All of
them use only the protocol of decoders (`showattend.model.decoders.protocol`), and explain log p(y_t
| y_1 .. y_{t-1}, a) in a given sentence.

* ``attention``: alpha_t.
* ``grad``: gradient × input, sum_d a_id (d log p / d a_id) (Shrikumar et al. 2016).
* ``gradcam``: sum_d w_d a_id with w_d the mean over locations of d log p / d a_id (Selvaraju et al.
  2017); the annotations are the encoder's last stage.
* ``occlusion``: the log-probability lost when the location has the mean annotation instead (Zeiler
  and Fergus 2014).
* ``integrated``: integrated gradients from a grid of mean annotations (Sundararajan et al. 2017).

Scores have a sign: a location may be evidence against a word. `maps_of` keeps the evidence for it.

Shape suffixes: B grids, T words, S selected words, L locations of an H x W grid, D feature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from showattend.exceptions import UserError
from showattend.model.decoders.protocol import Decoder
from showattend.text.vocabulary import Vocabulary

STEPS = 16
"""Points of the integral of integrated gradients: Gauss-Legendre quadrature."""
BATCH = 64
"""The most grids that the decoder processes at once."""


class _Sentence:
    """A sentence that is forced on the model, with the gradient of its words.

    Args:
        decoder: Any decoder, in eval mode.
        features: Annotations [1, H, W, D].
        words: The T words as numbers.
        wanted: The S places of the words to explain.
    """

    def __init__(
        self, decoder: Decoder, features: torch.Tensor, words: Sequence[int], wanted: Sequence[int]
    ) -> None:
        self.decoder, self.words, self.wanted = decoder, words, wanted
        self.features = features.clone()  # no longer an inference tensor

    def gradients(self, features: torch.Tensor) -> torch.Tensor:
        """Compute d log p(y_t) / d a of grids [B, H, W, D], for wanted words: [S, B, H, W, D]."""
        features = features.detach().clone().requires_grad_()
        log_probs = word_log_probs(self.decoder, features, self.words[: max(self.wanted) + 1])
        found = []
        for t in self.wanted:
            (gradient,) = torch.autograd.grad(
                log_probs[:, t].sum(), features, retain_graph=True, allow_unused=True
            )  # a decoder without attention has none
            found.append(torch.zeros_like(features) if gradient is None else gradient)
        return torch.stack(found)


def _attention(given: _Sentence) -> torch.Tensor:
    with torch.no_grad():
        alpha = _forced(given.decoder, given.features, given.words)[1]
    if alpha is None:
        raise UserError(
            "this model has no attention maps; explain it by grad, gradcam, occlusion or integrated"
        )
    return alpha[0, list(given.wanted)]


def _gradient_times_input(given: _Sentence) -> torch.Tensor:
    return (given.gradients(given.features)[:, 0] * given.features[0]).sum(-1)


def _grad_cam(given: _Sentence) -> torch.Tensor:
    weights_SD = given.gradients(given.features)[:, 0].mean((1, 2))
    return torch.einsum("hwd,sd->shw", given.features[0], weights_SD)


def _occlusion(given: _Sentence) -> torch.Tensor:
    L = given.features.shape[1] * given.features.shape[2]
    present = torch.cat([torch.ones(1, L), 1 - torch.eye(L)]).bool()
    with torch.no_grad():
        log_probs = log_probs_with(
            given.decoder, given.features, mean_grid(given.features), present, given.words
        )
    return (log_probs[:1] - log_probs[1:]).T[list(given.wanted)]


def _integrated_gradients(given: _Sentence) -> torch.Tensor:
    places, weights = np.polynomial.legendre.leggauss(STEPS)
    along = torch.from_numpy((places + 1) / 2).to(given.features).view(-1, 1, 1, 1)
    share = torch.from_numpy(weights / 2).to(given.features).view(1, -1, 1, 1, 1)
    start = mean_grid(given.features)
    path = start + along * (given.features - start)
    mean = (given.gradients(path) * share).sum(1)
    return (mean * (given.features[0] - start[0])).sum(-1)


KINDS: dict[str, Callable[[_Sentence], torch.Tensor]] = {
    "attention": _attention,
    "grad": _gradient_times_input,
    "gradcam": _grad_cam,
    "occlusion": _occlusion,
    "integrated": _integrated_gradients,
}
"""The functions that score the wanted words, by the name of the explanation."""

NAMES = {
    "attention": "attention",
    "grad": "gradient × input",
    "gradcam": "Grad-CAM",
    "occlusion": "occlusion",
    "integrated": "integrated gradients",
}
"""The name of each explanation in figures and tables."""


def explain(
    decoder: Decoder,
    features: torch.Tensor,
    words: Sequence[int],
    kind: str,
    wanted: Sequence[int] | None = None,
) -> torch.Tensor:
    """How much each location counted for words of a given sentence.

    Args:
        decoder: Any decoder, in eval mode.
        features: Annotations of one image, [1, H, W, D].
        words: The sentence: T word numbers, without ``<start>`` and ``<end>``.
        kind: One of `KINDS`.
        wanted: Places of the words to explain; None for all.

    Returns:
        Scores [S, L] float32 on the CPU, in the order of ``wanted``; the higher, the more the
        location supported the word.

    Raises:
        UserError: There is no such kind, or the decoder has no attention maps.
    """
    if kind not in KINDS:
        raise UserError(f"no explanation {kind!r}; choose from {', '.join(KINDS)}")
    places = range(len(words)) if wanted is None else wanted
    if not places:
        return torch.zeros(0, features.shape[1] * features.shape[2])
    with torch.inference_mode(False), torch.enable_grad(), _without_weight_gradients(decoder):
        scores = KINDS[kind](_Sentence(decoder, features, words, places))
    return scores.detach().reshape(len(places), -1).float().cpu()


@contextmanager
def _without_weight_gradients(decoder: Any) -> Iterator[None]:
    """Only annotations get gradients; those of the weights would waste memory."""
    opened = [each for each in decoder.parameters() if each.requires_grad]
    for each in opened:
        each.requires_grad_(False)
    try:
        yield
    finally:
        for each in opened:
            each.requires_grad_(True)


def has_maps(decoder: Decoder, features: torch.Tensor) -> bool:
    """Whether a decoder has attention maps; features [1, H, W, D] are any annotations."""
    with torch.inference_mode():
        return _forced(decoder, features, [Vocabulary.END])[1] is not None


def maps_of(scores_TL: torch.Tensor) -> torch.Tensor:
    """The evidence for each word as maps [T, L] that sum to one; even maps if there is none."""
    positive = scores_TL.clamp(min=0).double()
    total = positive.sum(1, keepdim=True)
    even = torch.full_like(positive, 1 / max(scores_TL.shape[1], 1))
    return torch.where(total > 0, positive / total.clamp(min=1e-300), even).float()


def mean_grid(features: torch.Tensor) -> torch.Tensor:
    """The grid [B, H, W, D] in which every location has the mean annotation of its image."""
    return features.mean((1, 2), keepdim=True).expand_as(features)


def log_probs_with(
    decoder: Decoder,
    features: torch.Tensor,
    replacement: torch.Tensor,
    present_BL: torch.Tensor,
    words: Sequence[int],
) -> torch.Tensor:
    """Log-probabilities [B, T] of a sentence while annotations of an image are replaced.

    Args:
        decoder: Any decoder, in eval mode.
        features: Annotations of one image, [1, H, W, D].
        replacement: The annotations that replace them, [1, H, W, D].
        present_BL: Which locations keep theirs in each of B grids, bool.
        words: The sentence, T word numbers.
    """
    _, H, W, _ = features.shape
    found = []
    for present in present_BL.to(features.device).split(BATCH):
        kept = present.view(-1, H, W, 1)
        grids = torch.where(kept, features, replacement)
        found.append(word_log_probs(decoder, grids, words))
    return torch.cat(found)


def word_log_probs(decoder: Decoder, features: torch.Tensor, words: Sequence[int]) -> torch.Tensor:
    """Log-probabilities [B, T] of a sentence's words for B grids, with gradients.

    Args:
        decoder: Any decoder, in eval mode.
        features: Annotations [B, H, W, D].
        words: The sentence, T word numbers, the same for all grids.
    """
    return _forced(decoder, features, words)[0]


def _forced(
    decoder: Decoder, features: torch.Tensor, words: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Force a sentence on B grids: log-probabilities [B, T] and maps [B, T, L], if any."""
    memory = decoder.memory(features)
    state = decoder.start(memory)
    previous, log_probs, alphas = Vocabulary.START, [], []
    for word in words:
        read = torch.full((len(features), 1), previous, device=features.device)
        step = decoder.step(read, state, memory)
        state, previous = step.state, word
        log_probs.append(step.log_probs[:, 0, word])
        alphas.append(step.alpha)
    looked = [alpha[:, 0] for alpha in alphas if alpha is not None]
    return torch.stack(log_probs, 1), torch.stack(looked, 1) if looked else None
