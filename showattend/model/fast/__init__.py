"""Faster implementations. Each part has a plain twin, and a test that compares the two.

The functions here are the only place that chooses between them; other modules import nothing else
from this package. SHOWATTEND_PLAIN=1 in the environment turns all of them off, so that a debugger
steps through the equations in `showattend.model.decoders`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

CrossEntropy = Callable[[torch.Tensor, torch.Tensor, float], tuple[torch.Tensor, torch.Tensor]]


def is_plain() -> bool:
    """Whether SHOWATTEND_PLAIN asks for the plain code."""
    return os.environ.get("SHOWATTEND_PLAIN", "0") not in ("", "0")


def has_fast_twin(decoder: type, attention: Mapping[str, Any]) -> bool:
    """Whether there is a faster class for a decoder with this attention.

    Args:
        decoder: A class in `showattend.model.decoders`.
        attention: A config's attention section.
    """
    from showattend.model.decoders.lstm import LSTMDecoder

    asked = (attention["kind"], attention.get("mode", "soft"), attention.get("sentinel", False))
    return decoder is LSTMDecoder and asked == ("additive", "soft", False)


def fast_twin(decoder: type, attention: Mapping[str, Any]) -> type:
    """Return the faster class for a decoder with this attention; the decoder itself if none exists.

    Args:
        decoder: A class in `showattend.model.decoders`.
        attention: A config's attention section.
    """
    if is_plain() or not has_fast_twin(decoder, attention):
        return decoder
    from showattend.model.fast.fused_lstm import FusedLSTMDecoder

    return FusedLSTMDecoder


def compile_step(decoder: Any, dtype: torch.dtype) -> str | None:
    """Compile a decoder's step; see `showattend.model.fast.compiling.compile_step`.

    Returns:
        None on success; otherwise one line with the reason, and the decoder is unchanged.
    """
    if is_plain():
        return "train.compile: SHOWATTEND_PLAIN is set; continuing without it"
    from showattend.model.fast import compiling

    return compiling.compile_step(decoder, dtype)


def light_network(name: str) -> torch.nn.Module | None:
    """Return the network that timm calls ``name``, built without timm; None if timm must build it.

    Its weights are random; see `showattend.model.fast.lite_network`.
    """
    if is_plain():
        return None
    from showattend.model.fast.lite_network import lite_network

    return lite_network(name)


def without_weights() -> AbstractContextManager[None]:
    """Return a context in which modules are built whose weights are assigned next.

    It leaves random numbers outside of it as they are. By default, weights are not drawn, and are
    on the device "meta"; see `showattend.model.fast.undrawn`.
    """
    if is_plain():
        return torch.random.fork_rng(devices=[])
    from showattend.model.fast.undrawn import undrawn

    return undrawn()


def depthwise_gradients() -> AbstractContextManager[Any]:
    """Return a context for the training of depthwise convolutions.

    See `showattend.model.fast.depthwise`.
    """
    if is_plain():
        return nullcontext()
    from showattend.model.fast.depthwise import FastDepthwise

    return FastDepthwise()


def fast_cross_entropy(plain: CrossEntropy) -> CrossEntropy:
    """Return the faster twin of the training loss's cross-entropy.

    Args:
        plain: `showattend.training.losses.cross_entropy`.
    """
    if is_plain():
        return plain
    from showattend.model.fast.entropy_by_rows import cross_entropy_by_rows

    return cross_entropy_by_rows


def largest(values: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the largest values [..., count] and their indices, as `torch.topk` does."""
    if is_plain():
        return torch.topk(values, count)
    from showattend.model.fast.by_blocks import largest_in_blocks

    return largest_in_blocks(values, count)
