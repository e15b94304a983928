"""The interface of attention modules, and the registry of their kinds.

Shape suffixes: B images, K queries of one image (its captions in training, its beams in search),
L locations of an H x W grid, D feature dimension, M query size, A attention size, P parts (heads,
hops or levels), T time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import nn

from showattend.model.kinds import choose_options, options_of
from showattend.model.layers import wide

Keys = tuple[torch.Tensor, ...]
Grid = tuple[int, int]
"""Rows and columns of the annotations; location i is row i // W, column i % W."""


class Attended(NamedTuple):
    """The result of one attention step.

    Attributes:
        context: The context vector, for most kinds a weighted sum of the annotations, [B, K, D].
        alpha: The weights, [B, K, L], at least float32; each row sums to one. With several heads or
            hops, their mean. None for an attention without weights (a fixed context vector).
        parts: The weights of each head, hop or level, [B, K, P, L]; each row sums to one.
            `Attention.part_names` names them. None if there is only one map.
        sentinel: The sentinel's share of the attention, [B, K], from 0 to 1; None without a
            sentinel. ``alpha`` sums to one over the image in either case.
        aside: Tensors [B, K, ...] that `Attention.loss` needs from this step, or None.
    """

    context: torch.Tensor
    alpha: torch.Tensor | None
    parts: torch.Tensor | None = None
    sentinel: torch.Tensor | None = None
    aside: tuple[torch.Tensor, ...] | None = None


class AttentionLoss(NamedTuple):
    """The loss of an attention module.

    Attributes:
        penalty: The weighted loss of each caption, [B, K], summed over its words; it is added to
            the caption's cross-entropy.
        figures: Numbers to log, by name: detached scalars.
    """

    penalty: torch.Tensor
    figures: Mapping[str, torch.Tensor]


class Attention(nn.Module):
    """The base class of attention modules.

    A module contains everything that attention needs: keys, query projection and softmax.

    Example:
        >>> attention = AdditiveAttention(feature_dim=6, query_dim=4, attention_dim=5)
        >>> keys = attention.keys(torch.randn(2, 9, 6), (3, 3))  # two images, nine locations
        >>> attended = attention(torch.randn(2, 3, 4), keys)  # three captions per image
        >>> attended.context.shape, attended.alpha.shape
        (torch.Size([2, 3, 6]), torch.Size([2, 3, 9]))

    Args:
        feature_dim: D.
        query_dim: M.
        attention_dim: A, the size of the space in which queries and keys are compared.

    The kinds' options are keyword arguments of their constructors (`showattend.model.kinds`).

    Attributes:
        why_not: For options of other kinds: why this kind does not take them, for messages.
        needs_last: Whether `forward` reads ``last``. The decoder then keeps the weights of each
            step in its state, starting with uniform weights.
        section: The kind and its options that differ from the defaults; `build_attention` builds
            the module again from them.
    """

    why_not: ClassVar[Mapping[str, str]] = {}
    needs_last: ClassVar[bool] = False

    def __init__(self, *, feature_dim: int, query_dim: int, attention_dim: int) -> None:
        super().__init__()
        self.feature_dim, self.query_dim = feature_dim, query_dim
        self.attention_dim = attention_dim
        self.section: dict[str, Any] = {}

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names of the P maps of `Attended.parts`, for display; empty if there are none."""
        return ()

    def keys(self, features_BLD: torch.Tensor, grid: Grid) -> Keys:
        """Compute everything that depends only on the annotations.

        This is called once per image. All captions, beams and time steps share the keys through the
        batch axis without copies. `forward` does not receive the grid: a kind that needs it keeps
        it in its keys.

        Args:
            features_BLD: The annotations a, in row-major order of the grid.
            grid: H and W; it may differ from the grid in training.

        Returns:
            Tensors [B, ...].
        """
        raise NotImplementedError

    def forward(
        self,
        query_BKM: torch.Tensor,
        keys: Keys,
        last: torch.Tensor | None = None,
        sentinel: torch.Tensor | None = None,
    ) -> Attended:
        """Attend to the annotations.

        Args:
            query_BKM: The queries: a decoder's state.
            keys: The result of the method `keys`.
            last: The weights of the previous step, [B, K, L], for kinds with `needs_last`; None
                for uniform weights, as before the first step.
            sentinel: What the decoder knows without looking, [B, K, M], if the attention was built
                with a sentinel (`showattend.model.attention.sentinel`).

        Returns:
            The context [B, K, D] and the weights [B, K, L].
        """
        raise NotImplementedError

    def loss(
        self,
        asides: Sequence[tuple[torch.Tensor, ...]],
        log_probs_BKT: torch.Tensor,
        real_BKT: torch.Tensor,
    ) -> AttentionLoss:
        """Compute the attention's own loss for whole captions.

        Args:
            asides: `Attended.aside` of each time step.
            log_probs_BKT: The log-probabilities of the reference captions' words.
            real_BKT: Which time steps are not padding, bool.

        Returns:
            The penalty [B, K], and numbers to log.
        """
        raise NotImplementedError


Kind = TypeVar("Kind", bound=type[Attention])
ATTENTIONS: dict[str, type[Attention]] = {}


def register(kind: str) -> Callable[[Kind], Kind]:
    """Register a class under a value of ``attention.kind``."""

    def add(cls: Kind) -> Kind:
        ATTENTIONS[kind] = cls
        return cls

    return add


def build_attention(
    kind: str | Mapping[str, Any],
    *,
    feature_dim: int,
    query_dim: int,
    attention_dim: int,
    **options: Any,
) -> Attention:
    """Build an attention module by the name of its kind.

    Args:
        kind: A name in `ATTENTIONS`, or a config's attention section: a kind with its options.
        feature_dim: D.
        query_dim: M.
        attention_dim: A.
        **options: Options of the kind. Those that only other kinds have must have their defaults.

    Raises:
        ConfigError: The kind or an option is unknown, a value is invalid, or the kind does not take
            an option.
    """
    if not isinstance(kind, str):
        options = {**kind, **options}
    name = kind if isinstance(kind, str) else options.pop("kind", "additive")
    chosen = choose_options("attention", ATTENTIONS, name, options)
    cls = ATTENTIONS[name]
    attention = cls(
        feature_dim=feature_dim, query_dim=query_dim, attention_dim=attention_dim, **chosen
    )
    defaults = {name: declared.default for name, declared in options_of(cls).items()}
    attention.section = {"kind": name} | {k: v for k, v in chosen.items() if v != defaults[k]}
    return attention


def sizes_of(attention: Attention) -> dict[str, Any]:
    """Return the kind and the options that the weights depend on, by their names in a config."""
    section = attention.section
    return {"attention.kind": section["kind"]} | {
        f"attention.{name}": section.get(name, declared.default)
        for name, declared in options_of(type(attention)).items()
        if not declared.about.training
    }


def softmax(scores_BKL: torch.Tensor) -> torch.Tensor:
    """Compute weights [B, K, L] that sum to one over the last axis, in at least float32."""
    return torch.softmax(scores_BKL.to(wide(scores_BKL.dtype)), -1)
