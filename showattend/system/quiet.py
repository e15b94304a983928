"""Silence for warnings of libraries that tell a user nothing: safe in threads."""

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
    """Ignore Pillow's warnings and matplotlib's about glyphs that no font has.

    Pillow warns of odd metadata and of large images; what matters becomes an ``ImageError``. A
    word in a script without a font is drawn as boxes: that is seen, it need not be heard.

    ``catch_warnings`` alone is not safe in threads that overlap: the last to leave would restore
    the filters of another. So the first thread to enter sets it up and the last one takes it down.
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
