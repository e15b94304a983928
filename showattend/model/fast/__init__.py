"""Faster implementations. Each part has a plain twin, and a test that compares the two.

`fast_twin` is the only place that chooses between them. SHOWATTEND_PLAIN=1 in the environment turns
all of them off, so that a debugger steps through the equations in `showattend.model.decoders`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def is_plain() -> bool:
    """Whether SHOWATTEND_PLAIN asks for the plain code."""
    return os.environ.get("SHOWATTEND_PLAIN", "0") not in ("", "0")


def fast_twin(decoder: type, attention: Mapping[str, Any]) -> type:
    """Return the faster class for a decoder with this attention; the decoder itself if none exists.

    Args:
        decoder: A class in `showattend.model.decoders`.
        attention: A config's attention section.
    """
    from showattend.model.decoders.lstm import LSTMDecoder
    from showattend.model.fast.fused_lstm import FusedLSTMDecoder

    asked = (attention["kind"], attention.get("mode", "soft"), attention.get("sentinel", False))
    if is_plain() or decoder is not LSTMDecoder or asked != ("additive", "soft", False):
        return decoder
    return FusedLSTMDecoder
