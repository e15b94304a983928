"""Runs targets in processes of their own, within limits of time and memory, and keeps what fails.

An input is right if it is read, or refused with one of the target's errors in one line. It is a
fault if anything else is raised, if anything is printed, if it takes more than `SECONDS` or if the
process uses more than `MOST_MEMORY`, and if a C library ends the process.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import resource
import signal
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.fuzz.targets import Target, emptied, import_all

SECONDS = 10.0
"""An input that takes longer hangs: seconds at work, so that a busy machine does not count."""
MOST_MEMORY = 1_000_000_000
"""Bytes: the peak of a process, the interpreter and PyTorch included (about 0.4 GB)."""
_ADDRESSES = 4 << 30  # bytes that a process may map besides those of its start
_CHUNK = 1_000  # inputs of one process
_SHARED = struct.Struct("qqqqdd")


class Fault(NamedTuple):
    """An input that was neither read nor refused as it should be."""

    target: str
    number: int
    what: str


class Outcome(NamedTuple):
    """What became of a target's inputs."""

    target: str
    inputs: int
    read: int
    refused: int
    seconds: float  # of the processors, not of the clock
    slowest: float  # the same, of one input
    memory: int  # bytes, the peak of a process
    faults: list[Fault]


def judge(target: Target, content: bytes, folder: Path) -> bool:
    """Try one input.

    Returns:
        Whether it was read; False if it was refused as it should be.

    Raises:
        AssertionError: It was refused in several lines, or at length.
        Exception: Any other fault.
    """
    try:
        target.call(content, emptied(folder))
    except target.allowed as error:
        said = str(error)
        assert said, "an empty message"
        assert len(said.splitlines()) == 1, f"several lines: {said!r}"
        assert len(said) < 4000, f"a message of {len(said)} signs"
        return False
    return True


def run(target: Target, inputs: int, seed: int, keep: Path | None = None) -> Outcome:
    """Run a target.

    Args:
        target: The target.
        inputs: How many inputs.
        seed: Which inputs.
        keep: A folder for inputs that fail; None keeps none.
    """
    import_all()  # before the processes fork: it takes seconds
    target.seeds()
    faults: list[Fault] = []
    shared = mmap.mmap(-1, _SHARED.size)
    read = refused = memory = done = 0
    slowest, began = 0.0, _cpu()
    while done < inputs:
        stop = min(done + _CHUNK, inputs)
        shared[:] = _SHARED.pack(done, 0, 0, 0, 0.0, 0.0)
        with TemporaryDirectory(dir=_quick_folder()) as folder:
            found = Path(folder) / "faults"
            child = os.fork()
            if child == 0:
                _work(target, range(done, stop), seed, Path(folder), shared)
            ended = _wait(child, shared)
            number, good, bad, peak, slow, _ = _SHARED.unpack(shared[:])
            read, refused, memory = read + good, refused + bad, max(memory, peak)
            slowest = max(slowest, slow)
            for line in found.read_text(errors="replace").split("\0") if found.exists() else ():
                if line:
                    at, _, what = line.partition(" ")
                    faults.append(Fault(target.name, int(at), what))
            if ended:
                faults.append(Fault(target.name, number, ended))
                done = number + 1
            else:
                done = stop
    if keep is not None:
        for fault in faults:
            _keep(fault, target.input(seed, fault.number), keep)
    seconds = _cpu() - began
    return Outcome(target.name, inputs, read, refused, seconds, slowest, memory, faults)


def _quick_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _wait(child: int, shared: mmap.mmap) -> str:
    """Wait for a process; why it ended before its time, or ""."""
    at, started = -1, time.monotonic()
    while True:
        if (now := _SHARED.unpack(shared[:])[0]) != at:
            at, started = now, time.monotonic()
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return "" if code == 0 else f"the process ended with {_named(code)}"
        began = _SHARED.unpack(shared[:])[-1]
        waiting = time.monotonic() - started > 60 * SECONDS
        if _worked(child) - began > SECONDS or waiting:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"took more than {SECONDS:g} seconds"
        time.sleep(0.02)


def _worked(child: int) -> float:
    """Seconds that a process has been at work."""
    try:
        values = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def _named(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"code {code}"


def _work(target: Target, numbers: range, seed: int, folder: Path, shared: mmap.mmap) -> None:
    """The process: never returns."""
    code = 70
    with contextlib.suppress(BaseException):
        warnings.simplefilter("error")
        # Starlette leaves the rest of a form that it refuses to the garbage collector.
        warnings.filterwarnings("ignore", "Unclosed file <tempfile.Spooled", ResourceWarning)
        logging.getLogger("showattend").addHandler(logging.NullHandler())  # as the command line has
        with Path("/proc/self/statm").open() as file:
            now = int(file.read().split()[0]) * mmap.PAGESIZE
        resource.setrlimit(resource.RLIMIT_AS, (now + _ADDRESSES,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        chatter = os.open(folder / "chatter", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(chatter, 1)
        os.dup2(chatter, 2)
        good = bad = 0
        slowest, most = 0.0, MOST_MEMORY
        with (folder / "faults").open("a", errors="backslashreplace") as faults:
            for number in numbers:
                began, peak = time.process_time(), _peak()
                shared[:] = _SHARED.pack(number, good, bad, peak, slowest, began)
                what = ""
                try:
                    if judge(target, target.input(seed, number), folder / "input"):
                        good += 1
                    else:
                        bad += 1
                except BaseException:
                    what = traceback.format_exc()[-3000:]
                slowest = max(slowest, time.process_time() - began)
                peak = _peak()
                if peak > most:
                    most = peak + 10_000_000  # the kernel counts a little late
                    what = what or f"uses {peak / 1e6:,.0f} MB"
                sys.stdout.flush()
                sys.stderr.flush()
                if size := os.fstat(chatter).st_size:
                    said = os.pread(chatter, min(size, 500), 0)
                    os.ftruncate(chatter, 0)
                    what = what or f"prints {said!r}"
                if what:
                    faults.write(f"{number} {what}\0")
                    faults.flush()
        shared[:] = _SHARED.pack(numbers.stop, good, bad, _peak(), slowest, time.process_time())
        code = 0
    os._exit(code)


def _cpu() -> float:
    """Seconds that the processes that have ended were at work."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _keep(fault: Fault, content: bytes, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{fault.target.replace(' ', '-')}-{fault.number}"
    (folder / stem).write_bytes(content)
    (folder / f"{stem}.txt").write_text(fault.what, errors="backslashreplace")


def rows(outcomes: list[Outcome]) -> Iterator[str]:
    """A table in Markdown."""
    yield "| target | inputs | read | refused | faults | CPU seconds | slowest | peak |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for each in outcomes:
        yield (
            f"| {each.target} | {each.inputs:,} | {each.read:,} | {each.refused:,} | "
            f"{len(each.faults)} | {each.seconds:.0f} | {each.slowest * 1000:,.0f} ms | "
            f"{each.memory / 1e6:,.0f} MB |"
        )
    inputs, read, refused = (sum(each[i] for each in outcomes) for i in (1, 2, 3))
    faults, seconds = sum(len(each.faults) for each in outcomes), sum(o.seconds for o in outcomes)
    slowest, memory = max(o.slowest for o in outcomes), max(o.memory for o in outcomes)
    yield (
        f"| all | {inputs:,} | {read:,} | {refused:,} | {faults} | {seconds:.0f} | "
        f"{slowest * 1000:,.0f} ms | {memory / 1e6:,.0f} MB |"
    )
