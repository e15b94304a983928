"""The contract of attention, and the registry of its kinds.

Shape suffixes: B images, K queries of one image (its captions in training, its beams in search),
L locations of an H x W grid, D feature dimension, M query size, A attention size, P parts (heads,
hops or levels), T time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import nn

from showattend.exceptions import ConfigError
from showattend.model.layers import wide

Keys = tuple[torch.Tensor, ...]
Grid = tuple[int, int]
"""Rows and columns of the annotations; location i is row i // W, column i % W."""


class Attended(NamedTuple):
    """What a query got to see.

    Attributes:
        context: The weighted sum of the annotations, [B, K, D].
        alpha: The weights, [B, K, L] float32 at least, each row sums to one; heads and hops are
            reduced to their mean. None where nothing is weighted (a fixed context vector).
        parts: The weights of each head, hop or level, [B, K, P, L], each row sums to one;
            `Attention.part_names` names them. None where there is but one map.
        sentinel: The share of the attention that went to the sentinel, [B, K], 0 to 1; None
            without one. ``alpha`` sums to one over the image all the same.
        aside: What `Attention.loss` needs of this step, tensors [B, K]; None where there is none.
    """

    context: torch.Tensor
    alpha: torch.Tensor | None
    parts: torch.Tensor | None = None
    sentinel: torch.Tensor | None = None
    aside: tuple[torch.Tensor, ...] | None = None


class AttentionLoss(NamedTuple):
    """A loss of the attention's own.

    Attributes:
        penalty: Of each caption, [B, K], summed over its words and weighted; it is added to the
            caption's cross-entropy.
        figures: Numbers to log, by name: scalars, detached.
    """

    penalty: torch.Tensor
    figures: Mapping[str, torch.Tensor]


class Attention(nn.Module):
    """One way to choose where to look; it owns its keys, its query projection and its softmax.

    Example:
        >>> attention = AdditiveAttention(feature_dim=6, query_dim=4, attention_dim=5)
        >>> keys = attention.keys(torch.randn(2, 9, 6), (3, 3))  # two images, nine locations
        >>> attended = attention(torch.randn(2, 3, 4), keys)  # three captions of each
        >>> attended.context.shape, attended.alpha.shape
        (torch.Size([2, 3, 6]), torch.Size([2, 3, 9]))

    Args:
        feature_dim: D.
        query_dim: M.
        attention_dim: A, the size of the space in which queries and keys are compared.

    Attributes:
        uses: The options of the config's attention section that the kind takes, as keyword
            arguments of its constructor.
        trains: Those of them that no weight depends on.
        why_not: Why the kind has no use for an option that others have, for messages.
        needs_last: Whether `forward` reads ``last``. A decoder then keeps the weights of each
            step in its state; it begins with even ones.
        section: The kind and those of its options that are not the defaults: what builds it again.
    """

    uses: ClassVar[tuple[str, ...]] = ()
    trains: ClassVar[tuple[str, ...]] = ()
    why_not: ClassVar[Mapping[str, str]] = {}
    needs_last: ClassVar[bool] = False

    def __init__(self, *, feature_dim: int, query_dim: int, attention_dim: int) -> None:
        super().__init__()
        self.feature_dim, self.query_dim = feature_dim, query_dim
        self.attention_dim = attention_dim
        self.section: dict[str, Any] = {}

    @property
    def part_names(self) -> tuple[str, ...]:
        """What the P maps of `Attended.parts` are, for people; empty where there are none."""
        return ()

    def keys(self, features_BLD: torch.Tensor, grid: Grid) -> Keys:
        """All that depends on the annotations alone, tensors [B, ...].

        Called once an image: every caption, beam and time step shares them through the batch
        axis, and nothing is copied. `forward` is not told the grid again: a kind that needs it
        puts it into its keys.

        Args:
            features_BLD: The annotations a, row by row of the grid.
            grid: H and W. It may be another than in training.
        """
        raise NotImplementedError

    def forward(
        self,
        query_BKM: torch.Tensor,
        keys: Keys,
        last: torch.Tensor | None = None,
        sentinel: torch.Tensor | None = None,
    ) -> Attended:
        """Attend.

        Args:
            query_BKM: What asks: a decoder's state.
            keys: Of `keys`.
            last: The weights of the step before, [B, K, L], for kinds that go on from there
                (`needs_last`); None stands for even ones, as before the first step.
            sentinel: What the decoder knows without looking, [B, K, M], for an attention that was
                built with a sentinel (`showattend.model.attention.sentinel`).
        """
        raise NotImplementedError

    def loss(
        self,
        asides: Sequence[tuple[torch.Tensor, ...]],
        log_probs_BKT: torch.Tensor,
        real_BKT: torch.Tensor,
    ) -> AttentionLoss:
        """The attention's own loss for captions that were read to their end.

        Args:
            asides: `Attended.aside` of each time step.
            log_probs_BKT: Of the words that people wrote.
            real_BKT: Which time steps are no padding.
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


OPTIONS: dict[str, Any] = {
    "mode": "soft",
    "sentinel": False,
    "heads": 8,
    "hops": 4,
    "hop_penalty": 0.1,
    "regions": 3,
    "grid": 7,
    "filters": 16,
    "kernel": 5,
    "sampled": 0.5,
    "reward": 1.0,
    "entropy": 0.01,
}
"""The options that some kind takes, and their defaults: the config's attention section."""


def build_attention(
    kind: str | Mapping[str, Any],
    *,
    feature_dim: int,
    query_dim: int,
    attention_dim: int,
    **options: Any,
) -> Attention:
    """An attention module by the name of its kind.

    Args:
        kind: One of `ATTENTIONS`; or a config's attention section: a kind with its options.
        feature_dim: D.
        query_dim: M.
        attention_dim: A.
        **options: Keys of `OPTIONS`. One that the kind does not use must have its default.

    Raises:
        ConfigError: There is no such kind; or an option means nothing, or nothing to this kind.
    """
    if not isinstance(kind, str):
        options = {**kind, **options}
        kind = options.pop("kind", "additive")
    if kind not in ATTENTIONS:
        raise ConfigError(f"attention.kind is {kind!r}; it must be one of {', '.join(ATTENTIONS)}")
    cls = ATTENTIONS[kind]
    chosen = {}
    for name, value in options.items():
        if name not in OPTIONS:
            raise ConfigError(f"attention.{name}: no such option; known: {', '.join(OPTIONS)}")
        if name in cls.uses:
            chosen[name] = value
        elif value != OPTIONS[name]:
            raise ConfigError(_unused(kind, name, value))
    attention = cls(
        feature_dim=feature_dim, query_dim=query_dim, attention_dim=attention_dim, **chosen
    )
    attention.section = {"kind": kind} | {k: v for k, v in chosen.items() if v != OPTIONS[k]}
    return attention


def _unused(kind: str, name: str, value: Any) -> str:
    users = ", ".join(other for other, cls in ATTENTIONS.items() if name in cls.uses)
    reason = ATTENTIONS[kind].why_not.get(name)
    return (
        f"attention.{name} is {value!r}, which attention.kind {kind} does not take"
        + (f": {reason}" if reason else "")
        + f"; leave it out, or use one of {users}"
    )


def sizes_of(attention: Attention) -> dict[str, Any]:
    """The kind, and the options that weights depend on, by the names that a config gives them."""
    names = (name for name in attention.uses if name not in attention.trains)
    values = attention.section
    return {"attention.kind": values["kind"]} | {
        f"attention.{name}": values.get(name, OPTIONS[name]) for name in names
    }


def softmax(scores_BKL: torch.Tensor) -> torch.Tensor:
    """Weights over the last axis in float32 (at least), whatever the precision of the products."""
    return torch.softmax(scores_BKL.to(wide(scores_BKL.dtype)), -1)
