"""The training loss's cross-entropy, a few tokens at a time.

The logits, N x V, are by far the largest tensor of a step. They are read a few rows at a time, and
nothing else of that size is kept for the backward pass, which recomputes the softmax and writes the
gradient once. The plain twin is `showattend.training.losses.cross_entropy`.

Shape suffixes: N tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

_AT_ONCE = 1 << 18  # logits at a time


def cross_entropy_by_rows(
    logits_NV: torch.Tensor, targets_N: torch.Tensor, smoothing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the cross-entropy summed over tokens, in at least float32.

    Args:
        logits_NV: Unnormalised log-probabilities of the words.
        targets_N: The words of the reference captions.
        smoothing: The probability that is spread evenly over the vocabulary.

    Returns:
        Two scalars: with smoothing, and without it and without a gradient.
    """
    smoothed, plain = _CrossEntropy.apply(logits_NV, targets_N, smoothing)
    return smoothed, plain


class _CrossEntropy(torch.autograd.Function):
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
    """Split tensors [N, ...] into blocks of rows that stay in a CPU's cache."""
    N, V = logits_NV.shape
    rows = max(1, _AT_ONCE // V) if logits_NV.device.type == "cpu" else max(1, N)
    return zip(*(each.split(rows) for each in (logits_NV, *others)), strict=True)
