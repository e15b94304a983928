"""Loading the model for a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from showattend.captioner import Captioner


def load_captioner(model: str | None, device: str, precision: str, size: int | None) -> Captioner:
    """Load the model with the options of a command; see `Captioner.from_pretrained`."""
    from showattend.captioner import Captioner
    from showattend.system.device import keep_freed_memory

    keep_freed_memory()  # every batch needs the same blocks
    return Captioner.from_pretrained(model, device=device, precision=precision, size=size)
