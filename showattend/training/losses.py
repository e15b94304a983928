"""The training loss: cross-entropy and the doubly stochastic term (paper, section 4.2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

from showattend.config import TrainConfig
from showattend.data.loader import Batch
from showattend.model.decoders.protocol import Forced
from showattend.model.fast import fast_cross_entropy
from showattend.model.layers import wide


class Loss(NamedTuple):
    """The loss and its parts, all scalars."""

    total: torch.Tensor  # per caption: smoothed cross-entropy plus penalties, summed over words
    cross_entropy: torch.Tensor  # per token, without smoothing, detached
    penalty: torch.Tensor  # per caption: sum_i (1 - sum_t alpha_ti)^2, detached
    attention: Mapping[str, torch.Tensor] = {}  # the attention's figures, detached


def figures_of(loss: Any) -> dict[str, float]:
    """Return the numbers of a `Loss`, or of another tuple with ``total`` and ``attention``."""
    values = loss._replace(total=loss.total.detach())._asdict()
    values |= values.pop("attention")
    return {key: float(value) for key, value in values.items()}


def captioning_loss(
    forced: Forced,
    lengths: torch.Tensor,
    *,
    label_smoothing: float = 0.0,
    doubly_stochastic: float = 1.0,
) -> Loss:
    """L = -log p(y | a) + lambda sum_i (1 - sum_t alpha_ti)^2 (equation 14) + the attention's own.

    All terms are summed over the words of a caption and averaged over captions, so that lambda has
    the same meaning as in the paper. Padding does not count.

    Args:
        forced: The result of teacher forcing.
        lengths: The number of targets of each caption, [B, K]; 0 if there is no caption.
        label_smoothing: The probability that is spread evenly over the vocabulary.
        doubly_stochastic: lambda.

    Returns:
        The loss and its parts, scalars.
    """
    real = lengths > 0
    captions = real.sum()
    entropy = fast_cross_entropy(cross_entropy)
    smoothed, plain = entropy(forced.logits, forced.targets, label_smoothing)
    penalty = doubly_stochastic_penalty(forced.coverage, lengths)
    return Loss(
        smoothed / captions + doubly_stochastic * penalty + attention_penalty(forced, lengths),
        plain / len(forced.targets),
        penalty.detach(),
        forced.figures or {},
    )


def cross_entropy(
    logits_NV: torch.Tensor, targets_N: torch.Tensor, smoothing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the cross-entropy summed over tokens, in at least float32.

    Args:
        logits_NV: Unnormalised log-probabilities of the words.
        targets_N: The words of the reference captions.
        smoothing: The probability that is spread evenly over the vocabulary.

    Returns:
        Two scalars: with smoothing, and without it and detached.
    """
    logits = logits_NV.to(wide(logits_NV.dtype))
    smoothed = F.cross_entropy(logits, targets_N, label_smoothing=smoothing, reduction="sum")
    return smoothed, F.cross_entropy(logits.detach(), targets_N, reduction="sum")


def batch_loss(
    decoder: Any, annotations: torch.Tensor, batch: Batch, settings: TrainConfig
) -> Loss:
    """`captioning_loss` of a batch.

    Args:
        decoder: The decoder, in training mode.
        annotations: [B, H, W, D].
        batch: Its captions and lengths.
        settings: The section ``train`` of the config.
    """
    lengths = batch.lengths.to(annotations.device)
    return captioning_loss(
        decoder(annotations, batch.captions.to(annotations.device), lengths),
        lengths,
        label_smoothing=settings.label_smoothing,
        doubly_stochastic=settings.doubly_stochastic,
    )


def doubly_stochastic_penalty(coverage: torch.Tensor | None, lengths: torch.Tensor) -> torch.Tensor:
    """Compute sum_i (1 - sum_t alpha_ti)^2 (equation 14), averaged over captions.

    Args:
        coverage: The sum of each caption's maps, [B, K, L]; None if there are no maps.
        lengths: The number of targets of each caption, [B, K]; 0 if there is no caption.

    Returns:
        A scalar; zero if there are no maps.
    """
    if coverage is None:
        return torch.zeros((), device=lengths.device)
    real = lengths > 0
    return ((1 - coverage) ** 2).sum(-1)[real].sum() / real.sum()


def attention_penalty(forced: Forced, lengths: torch.Tensor) -> torch.Tensor | float:
    """Average the attention's own loss (`Forced.penalty`, [B, K]) over captions; 0 without one.

    Args:
        forced: The result of teacher forcing.
        lengths: The number of targets of each caption, [B, K]; 0 if there is no caption.
    """
    if forced.penalty is None:
        return 0.0
    real = lengths > 0
    return forced.penalty[real].sum() / real.sum()
