"""SIGTERM as an exception, so that an ended command says what is kept, as after Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """The system asked the process to end (SIGTERM); exit code 143."""


def terminate(*_: object) -> NoReturn:
    """A handler of SIGTERM.

    Raises:
        Terminated: Always.
    """
    raise Terminated


@contextmanager
def terminable() -> Iterator[None]:
    """Make SIGTERM raise `Terminated` in the main thread, unless the program handles it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
