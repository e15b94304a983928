"""Java programs that answer line by line, started once and shared by all scorers of a process.

Starting METEOR takes seven seconds of processor time, and scoring a thousand captions three. A
program is stopped after two idle minutes, and at the end of this process, or, if that comes without
warning (SIGKILL), because its input closes.
"""

from __future__ import annotations

import atexit
import io
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar, cast

T = TypeVar("T")

IDLE = 120.0
"""Seconds after which idle programs are stopped."""


class JavaProgram:
    """A running program.

    Args:
        command: The command line.
        folder: Its working directory.

    Attributes:
        complaints: The lines of its standard error so far; complete once it is stopped.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.command = list(command)
        self.complaints: list[str] = []
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self.command, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0
        )
        self._to, said, complained = (
            cast("io.FileIO", each)
            for each in (self._process.stdin, self._process.stdout, self._process.stderr)
        )
        self._from = io.BufferedReader(said)
        self._errors = io.TextIOWrapper(io.BufferedReader(complained), "utf-8", errors="replace")
        self._sending = threading.Lock()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()  # an unread pipe could fill up and block

    @property
    def runs(self) -> bool:
        """Whether it is running. Ctrl-C reaches all processes of a terminal and may end it."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, questions: Sequence[str]) -> Iterator[str]:
        """Send lines, and read lines back as they come.

        All questions are sent while answers are read, so neither pipe can fill up and block. Do
        not read beyond the last answer.

        Args:
            questions: Lines without line breaks. Characters that cannot be encoded are sent as "?".

        Returns:
            An iterator over its answers, without line breaks.

        Raises:
            ValueError: It ended.
        """
        data = "".join(line + "\n" for line in questions).encode("utf-8", errors="replace")
        threading.Thread(target=self._send, args=(data,), daemon=True).start()
        while line := self._from.readline():
            yield line.decode("utf-8", errors="replace").rstrip("\r\n")
        raise ValueError("it ended early")

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        with self._sending:  # sending has failed by now
            self._to.close()
        self._from.close()
        self._errors.close()

    def leave(self) -> None:
        """Close our end of its input in a forked process, which does not own the program."""
        self._to.close()
        self._process.returncode = 0  # otherwise Python warns that it still runs

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        with self._sending:
            try:
                while rest:
                    rest = rest[self._to.write(rest) or 0 :]
            except (OSError, ValueError):  # it ended, as reading its answers will show
                pass

    def _listen(self) -> None:
        self.complaints.extend(self._errors)


_running: dict[str, JavaProgram] = {}
_inherited: list[JavaProgram] = []
_lock = threading.RLock()
_clock: threading.Timer | None = None
_used = 0.0


def asked(name: str, command: Sequence[str], folder: Path, work: Callable[[JavaProgram], T]) -> T:
    """Use a program, starting it unless it is running.

    Args:
        name: Its name here.
        command: Its command line; a program of that name with another one is stopped.
        folder: Its working directory.
        work: Uses it. If this fails, the program is stopped.

    Returns:
        The result of ``work``.

    Raises:
        OSError: It cannot be started.
    """
    with _lock:
        program = _started(name, command, folder)
        try:
            return work(program)
        except BaseException:
            del _running[name]
            program.stop()
            raise
        finally:
            _wind()


def begin(name: str, command: Sequence[str], folder: Path) -> None:
    """Start a program that will be needed soon, so that it loads in the meantime.

    Raises:
        OSError: It cannot be started.
    """
    with _lock:
        _started(name, command, folder)
        _wind()


def stop_all() -> None:
    """Stop all running programs."""
    global _clock
    with _lock:
        if _clock is not None:
            _clock.cancel()
            _clock = None
        while _running:
            _running.popitem()[1].stop()


def _started(name: str, command: Sequence[str], folder: Path) -> JavaProgram:
    program = _running.get(name)
    if program is not None and (program.command != list(command) or not program.runs):
        del _running[name]
        program.stop()
        program = None
    if program is None:
        program = _running[name] = JavaProgram(command, folder)
    return program


def _wind() -> None:
    """Restart the timer of `IDLE` seconds."""
    global _clock, _used
    _used = time.monotonic()
    if _clock is None and _running:
        _clock = _timer(IDLE)


def _timer(seconds: float) -> threading.Timer:
    made = threading.Timer(seconds, _struck)
    made.daemon = True
    made.start()
    return made


def _struck() -> None:
    """Stop programs that were idle for this long, or wait for the rest of that time."""
    global _clock
    with _lock:
        left = _used + IDLE - time.monotonic()
        _clock = _timer(left) if left > 0 and _running else None
        if _clock is None:
            stop_all()


def _forked() -> None:
    """Leave the programs to the parent process."""
    global _lock, _clock
    _lock, _clock = threading.RLock(), None
    while _running:
        program = _running.popitem()[1]
        program.leave()
        _inherited.append(program)  # the parent's threads may have locked its pipes for good


atexit.register(stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
