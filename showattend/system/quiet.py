"""Thread-safe suppression of library warnings that do not help users."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_users = 0
_filters: warnings.catch_warnings[None] | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore Pillow's warnings, and matplotlib's about missing glyphs.

    Pillow warns about unusual metadata and large images; real problems become an ``ImageError``.
    Words in a script without a font are visibly drawn as boxes.

    ``catch_warnings`` alone is not safe in overlapping threads, where the last to leave would
    restore another's filters. So the first thread to enter sets the filters and the last one to
    leave restores them.
    """
    global _users, _filters
    with _lock:
        _users += 1
        if _users == 1:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.|pillow_heif")
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _filters is not None:
                _filters.__exit__(None, None, None)
                _filters = None
