"""What is only there for speed: every part has a plain twin, and a test that holds it to that.

`fast_twin` is the one place where it is chosen. With SHOWATTEND_PLAIN=1 in the environment all of
it is off, and a debugger steps through the equations of `showattend.model.decoders`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def is_plain() -> bool:
    """Whether SHOWATTEND_PLAIN asks for the plain code."""
    return os.environ.get("SHOWATTEND_PLAIN", "0") not in ("", "0")


def fast_twin(decoder: type, attention: Mapping[str, Any]) -> type:
    """The class that does what a decoder with this attention does, faster; or itself.

    Args:
        decoder: A class of `showattend.model.decoders`.
        attention: A config's attention section.
    """
    from showattend.model.decoders.lstm import LSTMDecoder
    from showattend.model.fast.fused_lstm import FusedLSTMDecoder

    asked = (attention["kind"], attention.get("mode", "soft"), attention.get("sentinel", False))
    if is_plain() or decoder is not LSTMDecoder or asked != ("additive", "soft", False):
        return decoder
    return FusedLSTMDecoder
