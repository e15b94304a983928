"""Thread-safe suppression of library warnings that do not help users."""

from __future__ import annotations

import ctypes
import functools
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Without a handler, Python prints what Pillow logs about damaged files.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# `catch_warnings` alone is not safe in overlapping threads, where the last to leave would restore
# another's filters. So the first thread to enter sets the filters and the last to leave restores
# them.
_lock = threading.Lock()
_users = 0
_filters: warnings.catch_warnings[None] | None = None
_handler: int | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore Pillow's warnings, libtiff's, and matplotlib's about missing glyphs.

    Pillow warns about unusual metadata and large images, and libtiff writes on stderr by itself;
    real problems become an ``ImageError``. Words in a script without a font are visibly drawn as
    boxes.
    """
    global _users, _filters, _handler
    with _lock:
        _users += 1
        if _users == 1:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.|pillow_heif")
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            if set_handler := _libtiff():
                _handler = set_handler(None)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _filters is not None:
                _filters.__exit__(None, None, None)
                _filters = None
                if set_handler := _libtiff():
                    set_handler(_handler)


@functools.cache
def _libtiff() -> Callable[[int | None], int | None] | None:
    """The libtiff function in Pillow that sets the error handler."""
    from PIL import Image

    try:
        set_handler = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError, TypeError):  # it cannot be reached here
        return None
    set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    return set_handler
