"""The training loss: cross-entropy and the doubly stochastic term (paper, section 4.2.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch

from showattend.model.decoders.protocol import Forced

_AT_ONCE = 1 << 18  # logits at a time


class Loss(NamedTuple):
    """What is minimised, and its parts for people to read."""

    total: torch.Tensor  # a caption: cross-entropy (smoothed) plus penalties, summed over it
    cross_entropy: torch.Tensor  # a token: without smoothing, detached
    penalty: torch.Tensor  # a caption: sum_i (1 - sum_t alpha_ti)^2, detached
    attention: Mapping[str, torch.Tensor] = {}  # the attention's figures, detached


def captioning_loss(
    forced: Forced,
    lengths: torch.Tensor,
    *,
    label_smoothing: float = 0.0,
    doubly_stochastic: float = 1.0,
) -> Loss:
    """L = -log p(y | a) + lambda sum_i (1 - sum_t alpha_ti)^2 (equation 14) + the attention's own.

    All terms are summed over one caption and averaged over captions, so that lambda means what
    it means in the paper; padding counts in none.

    Args:
        forced: What teacher forcing yielded.
        lengths: Targets of each caption [B, K]; 0 where there is no caption.
        label_smoothing: Probability spread evenly over the vocabulary.
        doubly_stochastic: lambda.
    """
    real = lengths > 0
    captions = real.sum()
    smoothed, plain = _CrossEntropy.apply(forced.logits, forced.targets, label_smoothing)
    penalty = doubly_stochastic_penalty(forced.coverage, lengths)
    return Loss(
        smoothed / captions + doubly_stochastic * penalty + attention_penalty(forced, lengths),
        plain / len(forced.targets),
        penalty.detach(),
        forced.figures or {},
    )


def doubly_stochastic_penalty(coverage: torch.Tensor | None, lengths: torch.Tensor) -> torch.Tensor:
    """sum_i (1 - sum_t alpha_ti)^2, the mean of the captions that are there (equation 14).

    Args:
        coverage: The sums of the maps of each caption, [B, K, L]; None where there are no maps,
            and then nothing to penalise: zero.
        lengths: Its targets [B, K]; 0 where there is no caption.
    """
    if coverage is None:
        return torch.zeros((), device=lengths.device)
    real = lengths > 0
    return ((1 - coverage) ** 2).sum(-1)[real].sum() / real.sum()


def attention_penalty(forced: Forced, lengths: torch.Tensor) -> torch.Tensor | float:
    """What the attention adds (`Forced.penalty`), the mean of the captions that are there."""
    if forced.penalty is None:
        return 0.0
    real = lengths > 0
    return forced.penalty[real].sum() / real.sum()


class _CrossEntropy(torch.autograd.Function):
    """Sums of the cross-entropy over tokens, smoothed and not, in float32 (at least).

    Logits are the largest tensor of a step by far, N x V. They are read a few rows at a time, and
    neither probabilities nor anything else of that size is kept for backward, which computes the
    softmax anew and writes its gradient once.
    """

    @staticmethod
    def forward(
        ctx: Any, logits_NV: torch.Tensor, targets_N: torch.Tensor, smoothing: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        wide = torch.promote_types(logits_NV.dtype, torch.float32)
        plain, even = logits_NV.new_zeros(2, dtype=wide)
        for logits, targets in _rows(logits_NV, targets_N):
            log_probs = torch.log_softmax(logits, -1, dtype=wide)
            plain -= log_probs.gather(1, targets.unsqueeze(1)).sum()
            if smoothing:
                even -= log_probs.sum() / logits.shape[1]
        ctx.save_for_backward(logits_NV, targets_N)
        ctx.smoothing, ctx.wide = smoothing, wide
        ctx.mark_non_differentiable(plain)
        return (1 - smoothing) * plain + smoothing * even, plain

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits_NV, targets_N = ctx.saved_tensors
        gradient, smoothing = gradients[0], ctx.smoothing
        found_NV = torch.empty_like(logits_NV)
        for logits, targets, found in _rows(logits_NV, targets_N, found_NV):
            p = torch.softmax(logits, -1, dtype=ctx.wide)
            if smoothing:
                p -= smoothing / logits.shape[1]
            target = targets.unsqueeze(1)
            p.scatter_add_(1, target, p.new_full(target.shape, smoothing - 1))
            found.copy_(p.mul_(gradient))
        return found_NV, None, None


def _rows(logits_NV: torch.Tensor, *others: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """A few rows of each at a time on a CPU, so that they stay in its cache."""
    N, V = logits_NV.shape
    rows = max(1, _AT_ONCE // V) if logits_NV.device.type == "cpu" else max(1, N)
    return zip(*(each.split(rows) for each in (logits_NV, *others)), strict=True)
