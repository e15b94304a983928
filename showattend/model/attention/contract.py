"""The contract of attention, and the registry of its kinds.

Shape suffixes: B images, K queries of one image (its captions in training, its beams in search),
L locations, D feature dimension, M query size, A attention size, H heads or hops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import nn

from showattend.exceptions import ConfigError
from showattend.model.layers import wide

Keys = tuple[torch.Tensor, ...]


class Attended(NamedTuple):
    """What a query got to see.

    Attributes:
        context: The weighted sum of the annotations, [B, K, D].
        alpha: The weights, [B, K, L] float32 at least, each row sums to one; heads and hops are
            reduced to their mean. None where nothing is weighted (a fixed context vector).
        parts: The weights of each head or hop, [B, K, H, L]; None where there is one.
    """

    context: torch.Tensor
    alpha: torch.Tensor | None
    parts: torch.Tensor | None = None


class Attention(nn.Module):
    """One way to choose where to look; it owns its keys, its query projection and its softmax.

    Example:
        >>> attention = AdditiveAttention(feature_dim=6, query_dim=4, attention_dim=5)
        >>> keys = attention.keys(torch.randn(2, 9, 6))  # two images, nine locations
        >>> attended = attention(torch.randn(2, 3, 4), keys)  # three captions of each
        >>> attended.context.shape, attended.alpha.shape
        (torch.Size([2, 3, 6]), torch.Size([2, 3, 9]))

    Args:
        feature_dim: D.
        query_dim: M.
        attention_dim: A, the size of the space in which queries and keys are compared.
    """

    def __init__(self, *, feature_dim: int, query_dim: int, attention_dim: int) -> None:
        super().__init__()
        self.feature_dim, self.query_dim = feature_dim, query_dim
        self.attention_dim = attention_dim

    def keys(self, features_BLD: torch.Tensor) -> Keys:
        """All that depends on the annotations alone, tensors [B, ...].

        Called once an image: every caption, beam and time step shares them through the batch
        axis, and nothing is copied.
        """
        raise NotImplementedError

    def forward(
        self, query_BKM: torch.Tensor, keys: Keys, last: torch.Tensor | None = None
    ) -> Attended:
        """Attend.

        Args:
            query_BKM: What asks: a decoder's state.
            keys: Of `keys`.
            last: The weights of the step before, [B, K, L], for kinds that go on from there; None
                at the first step.
        """
        raise NotImplementedError


Kind = TypeVar("Kind", bound=type[Attention])
ATTENTIONS: dict[str, type[Attention]] = {}


def register(kind: str) -> Callable[[Kind], Kind]:
    """Make a class known as ``attention.kind``."""

    def add(cls: Kind) -> Kind:
        ATTENTIONS[kind] = cls
        return cls

    return add


def build_attention(
    kind: str, *, feature_dim: int, query_dim: int, attention_dim: int
) -> Attention:
    """An attention module by the name of its kind.

    Raises:
        ConfigError: There is no such kind.
    """
    if kind not in ATTENTIONS:
        raise ConfigError(f"attention.kind is {kind!r}; it must be one of {', '.join(ATTENTIONS)}")
    return ATTENTIONS[kind](
        feature_dim=feature_dim, query_dim=query_dim, attention_dim=attention_dim
    )


def softmax(scores_BKL: torch.Tensor) -> torch.Tensor:
    """Weights over the last axis in float32 (at least), whatever the precision of the products."""
    return torch.softmax(scores_BKL.to(wide(scores_BKL.dtype)), -1)
