"""Ctrl-C and SIGTERM during training: the step is finished and the state saved first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from showattend.system.signals import Terminated, terminate

_KINDS: dict[int, type[KeyboardInterrupt]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
}


class Stop:
    """A context manager in which stop signals can be deferred.

    A second signal does not wait. Handlers are only installed in the main thread, and only if the
    program has none of its own.

    Example:
        >>> with Stop() as stop:
        ...     with stop.put_off():
        ...         step()
        ...         if stop.asked:
        ...             stop.obey()
    """

    def __init__(self) -> None:
        self.asked = 0  # the signal's number
        self._wait = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            usual: dict[int, tuple[Any, ...]] = {
                signal.SIGINT: (signal.default_int_handler,),
                signal.SIGTERM: (signal.SIG_DFL, terminate),
            }
            for number, handlers in usual.items():
                if signal.getsignal(number) in handlers:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        _: type[BaseException] | None,
        __: BaseException | None,
        ___: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Only record the first signal, in ``asked``."""
        self._wait = True
        try:
            yield
        finally:
            self._wait = False

    def obey(self) -> NoReturn:
        """End the run, after a signal to this process or another of the run.

        Raises:
            KeyboardInterrupt: Always; `Terminated` for SIGTERM.
        """
        raise _KINDS.get(self.asked, KeyboardInterrupt)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self._wait and not self.asked:
            self.asked = number
        else:
            raise _KINDS[number]
