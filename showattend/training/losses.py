"""The training loss: cross-entropy and the doubly stochastic term (paper, section 4.2.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional as F

from showattend.decoders.lstm import Forced


class Loss(NamedTuple):
    """What is minimised, and its parts for people to read."""

    total: torch.Tensor  # a caption: cross-entropy (smoothed) plus penalty, each summed over it
    cross_entropy: torch.Tensor  # a token: without smoothing, detached
    penalty: torch.Tensor  # a caption: sum_i (1 - sum_t alpha_ti)^2, detached


def captioning_loss(
    forced: Forced,
    lengths: torch.Tensor,
    *,
    label_smoothing: float = 0.0,
    doubly_stochastic: float = 1.0,
) -> Loss:
    """L = -log p(y | a) + lambda sum_i (1 - sum_t alpha_ti)^2 (equation 14).

    Both terms are summed over one caption and averaged over captions, so that lambda means what
    it means in the paper; padding counts in neither.

    Args:
        forced: What teacher forcing yielded.
        lengths: Targets of each caption [B, K]; 0 where there is no caption.
        label_smoothing: Probability spread evenly over the vocabulary.
        doubly_stochastic: lambda.
    """
    real = lengths > 0
    captions = real.sum()
    log_probs = torch.log_softmax(
        forced.logits.to(torch.promote_types(forced.logits.dtype, torch.float32)), -1
    )
    plain = F.nll_loss(log_probs, forced.targets, reduction="sum")
    smoothed = plain
    if label_smoothing:
        even = -log_probs.mean(-1).sum()
        smoothed = (1 - label_smoothing) * plain + label_smoothing * even
    penalty = doubly_stochastic_penalty(forced.coverage, lengths)
    return Loss(
        smoothed / captions + doubly_stochastic * penalty,
        plain.detach() / len(forced.targets),
        penalty.detach(),
    )


def doubly_stochastic_penalty(coverage: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """sum_i (1 - sum_t alpha_ti)^2, the mean of the captions that are there (equation 14).

    Args:
        coverage: The sums of the maps of each caption, [B, K, L].
        lengths: Its targets [B, K]; 0 where there is no caption.
    """
    real = lengths > 0
    return ((1 - coverage) ** 2).sum(-1)[real].sum() / real.sum()
