"""Self-critical training: captions sampled from the model, rewarded by CIDEr-D.

This is Rennie et al. 2017, "Self-critical Sequence Training for Image Captioning", with several
samples per image: the baseline of each is the mean reward of the others (Luo 2020, "A Better
Variant of Self-Critical Sequence Training").

Shape suffixes: B images, K samples of an image, L locations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from showattend.decoding.hypotheses import SPECIAL
from showattend.decoding.sampling import sample
from showattend.evaluation.scores.wording import wording
from showattend.text.vocabulary import Vocabulary
from showattend.training.cider_d import CiderD
from showattend.training.losses import attention_penalty, doubly_stochastic_penalty

END = "<end>"
_BANNED = [word for word in SPECIAL if word != Vocabulary.END]  # search never produces these


class PolicyLoss(NamedTuple):
    """The loss, and figures to report."""

    total: torch.Tensor  # a scalar
    reward: float  # mean CIDEr-D of the samples, including <end>
    penalty: torch.Tensor  # per caption: sum_i (1 - sum_t alpha_ti)^2, detached
    broken_samples: float  # the share of samples whose last word cannot end a caption
    attention: Mapping[str, torch.Tensor] = {}  # the attention's figures, detached


class SelfCritical:
    """The policy gradient of CIDEr-D.

    The loss of one image is - 1/K sum_k (r_k - b_k) log p(y_k), where b_k is the mean reward of the
    other K - 1 samples. The estimator is unbiased and needs no greedy caption. ``<end>`` counts as
    a word of samples and references, so a caption without it scores less. Samples are drawn without
    dropout, but scored in the decoder's mode. Without dropout, the expected gradient is exactly
    that of the expected reward; with dropout, as in training, it has dropout's noise and bias.

    Args:
        references: The human captions of each training image, as lists of words.
        vocabulary: The model's vocabulary.
        samples: K.
        max_length: The most words of a sample.
        doubly_stochastic: lambda of the paper's equation 14, for the maps of the samples.
    """

    def __init__(
        self,
        references: Iterable[Sequence[Sequence[str]]],
        vocabulary: Vocabulary,
        *,
        samples: int = 5,
        max_length: int = 30,
        doubly_stochastic: float = 1.0,
    ) -> None:
        self.cider = CiderD([[[*words, END] for words in image] for image in references])
        self.vocabulary = vocabulary
        self.samples, self.max_length = samples, max_length
        self.doubly_stochastic = doubly_stochastic

    def __call__(
        self, decoder: Any, annotations: torch.Tensor, images: Sequence[int]
    ) -> PolicyLoss:
        """Sample captions, reward them, and score them again with gradients.

        Args:
            decoder: The decoder, in training mode (with dropout) or eval mode.
            annotations: Annotations [B, H, W, D] in the precision of the computation.
            images: The index of each of the B images in the references.

        Returns:
            The loss, a scalar, and figures to report.
        """
        learning = decoder.training
        drawn = sample(
            decoder.eval(), annotations, samples=self.samples, max_length=self.max_length
        )
        decoder.train(learning)
        captions = drawn.captions.clone()  # autograd does not accept tensors from inference mode
        lengths = drawn.lengths.clone()
        said, closed = self._words(captions)
        rewards = self.rewards(images, closed).to(annotations.device)
        advantage = rewards - (rewards.sum(1, keepdim=True) - rewards) / (self.samples - 1)

        forced = decoder(annotations, captions, lengths)
        logits = forced.logits.to(torch.promote_types(forced.logits.dtype, torch.float32))
        logits[:, _BANNED] = -torch.inf
        log_probs = torch.log_softmax(logits, -1).gather(1, forced.targets.unsqueeze(1)).squeeze(1)
        weighted = (log_probs * advantage.flatten()[forced.captions]).sum()
        penalty = doubly_stochastic_penalty(forced.coverage, lengths)
        return PolicyLoss(
            self.doubly_stochastic * penalty
            + attention_penalty(forced, lengths)
            - weighted / lengths.numel(),
            float(rewards.mean()),
            penalty.detach(),
            wording(said)["bad_endings"],
            forced.figures or {},
        )

    def rewards(self, images: Sequence[int], captions: list[list[str]]) -> torch.Tensor:
        """Compute CIDEr-D [B, K] for B·K captions, with the K captions of an image in a row."""
        rows = [image for image in images for _ in range(self.samples)]
        scores = torch.from_numpy(self.cider.score(rows, captions))
        return scores.float().view(len(images), self.samples)

    def _words(self, captions: torch.Tensor) -> tuple[list[list[str]], list[list[str]]]:
        """Return the words of the samples, and the same with ``<end>`` if it was sampled."""
        said, closed = [], []
        for numbers in captions.flatten(0, 1).tolist():
            words = self.vocabulary.decode(numbers)
            said.append(words)
            closed.append([*words, END] if Vocabulary.END in numbers else words)
        return said, closed
