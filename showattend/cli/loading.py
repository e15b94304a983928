"""The model that a command uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from showattend.captioner import Captioner


def load_captioner(model: str | None, device: str, precision: str, size: int | None) -> Captioner:
    from showattend.captioner import Captioner
    from showattend.system.device import keep_freed_memory

    keep_freed_memory()  # one batch after the other asks for the same
    return Captioner.from_pretrained(model, device=device, precision=precision, size=size)
