"""Self-critical training: captions drawn from the model, rewarded by CIDEr-D.

Rennie et al. 2017, "Self-critical Sequence Training for Image Captioning", with several samples
an image, each of which the mean reward of the others is the baseline of (Luo 2020, "A Better
Variant of Self-Critical Sequence Training").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from showattend.decoding.beam import SPECIAL
from showattend.decoding.sampling import sample
from showattend.evaluation.scores.wording import wording
from showattend.text.tokenizer import tokenize
from showattend.text.vocabulary import Vocabulary
from showattend.training.cider_d import CiderD
from showattend.training.losses import attention_penalty, doubly_stochastic_penalty

END = "<end>"
_BANNED = [word for word in SPECIAL if word != Vocabulary.END]  # search never produces these


class PolicyLoss(NamedTuple):
    """What is minimised, and figures for people to read."""

    total: torch.Tensor
    reward: float  # CIDEr-D of the samples, ``<end>`` counted
    penalty: torch.Tensor  # a caption: sum_i (1 - sum_t alpha_ti)^2, detached
    broken_samples: float  # share of the samples that end with what cannot end a caption
    attention: Mapping[str, torch.Tensor] = {}  # the attention's figures, detached


class SelfCritical:
    """The policy gradient of CIDEr-D.

    The loss of one image is - 1/K sum_k (r_k - b_k) log p(y_k), b_k the mean reward of its K - 1
    other samples: unbiased, and needing no greedy caption. ``<end>`` is a word of samples and
    references; a caption that breaks off without it scores less. Samples are drawn without
    dropout, and scored in the mode that the decoder is in: with dropout, as a run trains, the
    gradient is that of the expected reward but for dropout's noise and pull; without, exactly.

    Args:
        references: The human captions of each training image, as written.
        vocabulary: What the model's word numbers mean.
        samples: K.
        max_length: Most words of a sample.
        doubly_stochastic: lambda of the paper's equation 14, on the maps of the samples.
    """

    def __init__(
        self,
        references: Sequence[Sequence[str]],
        vocabulary: Vocabulary,
        *,
        samples: int = 5,
        max_length: int = 30,
        doubly_stochastic: float = 1.0,
    ) -> None:
        self.cider = CiderD([[[*tokenize(t), END] for t in image] for image in references])
        self.vocabulary = vocabulary
        self.samples, self.max_length = samples, max_length
        self.doubly_stochastic = doubly_stochastic

    def __call__(
        self, decoder: Any, annotations: torch.Tensor, images: Sequence[int]
    ) -> PolicyLoss:
        """Draw, reward, and score the draws again with gradients.

        Args:
            decoder: In the mode (dropout or not) that the gradient is to be taken in.
            annotations: [B, H, W, D] in the precision to run in.
            images: Which of the references belong to each of the B images.
        """
        learning = decoder.training
        drawn = sample(
            decoder.eval(), annotations, samples=self.samples, max_length=self.max_length
        )
        decoder.train(learning)
        captions = drawn.captions.clone()  # what inference mode makes, autograd does not take
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
        """CIDEr-D [B, K] of B·K captions, the K of one image beside each other."""
        rows = [image for image in images for _ in range(self.samples)]
        scores = torch.from_numpy(self.cider.score(rows, captions))
        return scores.float().view(len(images), self.samples)

    def _words(self, captions: torch.Tensor) -> tuple[list[list[str]], list[list[str]]]:
        """The words of the samples, and the same with ``<end>`` where it was said."""
        said, closed = [], []
        for numbers in captions.flatten(0, 1).tolist():
            words = self.vocabulary.decode(numbers)
            said.append(words)
            closed.append([*words, END] if Vocabulary.END in numbers else words)
        return said, closed
