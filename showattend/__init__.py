"""Show, Attend and Tell as real software: captions, and where the model looked for each word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from showattend.caption import Caption
    from showattend.captioner import Captioner

__version__ = "0.1.0"
__all__ = ["Caption", "Captioner", "__version__"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: `import showattend` and `showattend --help` do not wait for torch.
    if name == "Captioner":
        from showattend.captioner import Captioner

        return Captioner
    if name == "Caption":
        from showattend.caption import Caption

        return Caption
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
