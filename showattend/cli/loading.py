"""Loading the model for a command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from showattend.cli.terminal import waiting

if TYPE_CHECKING:
    from showattend.captioner import Captioner
    from showattend.export.engine import OnnxCaptioner


def load_captioner(model: str | None, device: str, precision: str, size: int | None) -> Captioner:
    """Load the model with the options of a command; see `Captioner.from_pretrained`."""
    with waiting("loading the model"):
        from showattend.captioner import Captioner
        from showattend.system.device import keep_freed_memory

        keep_freed_memory()  # every batch needs the same blocks
        return Captioner.from_pretrained(model, device=device, precision=precision, size=size)


def unhurried(captioner: Captioner | OnnxCaptioner) -> int:
    """The number of images to caption at once, so that a progress bar moves.

    Captions do not depend on it. Without a GPU, a few at once cost no time either; one at a time
    would, because the weights are read for every batch.
    """
    has_gpu = str(getattr(captioner, "device", "cpu")) != "cpu"
    return 32 if has_gpu or not sys.stderr.isatty() else 4
