"""Signals to stop wait for the end of a step, once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from showattend.system.signals import Terminated
from showattend.training.stopping import Stop

KINDS = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    """The usual handlers: a shell starts what runs in the background without SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    signal.getsignal(number)  # Python runs handlers between two instructions


@pytest.mark.parametrize(("number", "kind"), KINDS)
def test_a_signal_waits_and_a_second_one_does_not(
    number: int, kind: type[KeyboardInterrupt]
) -> None:
    before = signal.getsignal(number)
    with Stop() as stop:
        with stop.put_off():
            send(number)
            assert stop.asked == number
        with pytest.raises(kind) as first:
            stop.obey()
        assert first.type is kind
        with stop.put_off(), pytest.raises(kind):
            send(number)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("number", "kind"), KINDS)
def test_outside_of_a_step_it_does_not_wait(number: int, kind: type[KeyboardInterrupt]) -> None:
    with Stop() as stop, pytest.raises(kind):
        send(number)
    assert not stop.asked


def test_handlers_of_the_program_are_left_alone() -> None:
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
    try:
        with Stop() as stop, stop.put_off():
            send(signal.SIGTERM)
        assert (seen, stop.asked) == ([1], 0)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_installs_none() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def run() -> None:
        with Stop():
            found.append(signal.getsignal(signal.SIGTERM))

    found: list[object] = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before]
