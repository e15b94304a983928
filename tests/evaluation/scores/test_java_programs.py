"""Java programs that run once for all scorers: the same answers, and an end with us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from showattend.evaluation.scores import java, java_programs
from showattend.evaluation.scores.java_programs import JavaProgram

ECHO = """
import sys
print("ready", file=sys.stderr, flush=True)
for line in sys.stdin:
    if line.startswith("die"):
        print("too much", file=sys.stderr, flush=True)
        sys.exit(3)
    print(line.upper(), end="", flush=True)
"""
COMMAND = [sys.executable, "-c", ECHO]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    java.forget()
    yield
    java.forget()


def ask(*lines: str) -> tuple[list[str], int]:
    """The answers, and the process that gave them."""

    def work(program: JavaProgram) -> tuple[list[str], int]:
        answers = program.ask(lines)
        return [next(answers) for _ in lines], program.pid

    return java_programs.asked("echo", COMMAND, Path.cwd(), work)


def alive(pid: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int, within: float = 20) -> bool:
    end = time.monotonic() + within
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def test_one_process_answers_everybody() -> None:
    answers, pid = ask("a", "b")
    assert answers == ["A", "B"]
    found: list[tuple[list[str], int]] = []
    threads = [threading.Thread(target=lambda: found.append(ask("c", "d"))) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [(["C", "D"], pid)] * 4
    many = [f"line {number} " + "x" * 300 for number in range(3000)]  # more than pipes hold
    assert ask(*many) == ([line.upper() for line in many], pid)
    java_programs.stop_all()
    assert gone(pid)


def test_one_that_died_is_started_again() -> None:
    _, first = ask("a")
    with pytest.raises(ValueError, match="ended early"):
        ask("b", "die", "c")
    answers, second = ask("d")
    assert answers == ["D"]
    assert second != first
    os.kill(second, signal.SIGTERM)  # SIGINT may be ignored here
    assert gone(second)
    assert ask("e")[0] == ["E"]


def test_one_that_nobody_asks_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java_programs, "IDLE", 0.5)
    _, pid = ask("a")
    time.sleep(0.3)
    assert ask("b")[1] == pid
    assert gone(pid)
    assert ask("c")[0] == ["C"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_leaves_it_alone() -> None:
    _, pid = ask("a")
    if (child := os.fork()) == 0:
        other = ask("b")
        os._exit(0 if other[0] == ["B"] and other[1] != pid else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ask("c") == (["C"], pid)


STAYS = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
from showattend.evaluation.scores import java, java_programs
if sys.argv[1] == "java":
    java.begin_meteor()
    java.tokenize_ptb(["A dog."])
else:
    java_programs.begin("echo", sys.argv[1:], Path.cwd())
print(*(each.pid for each in java_programs._running.values()), flush=True)
time.sleep(600)
"""


def ends(command: list[str], number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STAYS, *command], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        pids = [int(each) for each in process.stdout.readline().split()]
        assert pids
        assert all(map(alive, pids))
        process.send_signal(number)
        process.wait(timeout=60)
    assert all(gone(pid, within=200) for pid in pids)  # METEOR reads its tables before its input


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_this_process(number: int) -> None:
    ends(COMMAND, number)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_both_java_programs_end_with_this_process(number: int) -> None:
    ends(["java"], number)


ENDINGS = [
    "a dog in the U.S.", "a man named Mr.", "he waits etc.", "it is 5 p.m.", "near St.", "a 10-",
    "wait...", "he said \"stop\"", "the dogs'", "isn't", "a dog \u2013", "AT&T", "3.", "a.b.c.",
    "-LRB-", "Jr.", "vs.", "\U0001f436", "fig.", "no.",
]  # fmt: skip


@pytest.mark.slow
def test_a_caption_is_tokenized_as_if_it_were_the_last_of_a_file() -> None:
    """Whatever it ends in: the tokenizer may look beyond the end of a line."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

    jar = java._package_file("tokenizer/stanford-corenlp-3.4.1.jar")
    command = [str(java.find_java()), *java._JVM_FLAGS, "-cp", str(jar)]
    command += ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    for text in ENDINGS:
        data = (text + "\n").encode()
        alone = subprocess.run(command, input=data, capture_output=True, check=True).stdout
        words = alone.decode().split("\n")[0].split()
        wanted = " ".join(word for word in words if word not in PUNCTUATIONS)
        assert java._tokenize([text]) == [wanted], text


@pytest.mark.slow
def test_several_sets_are_scored_by_one_program_each() -> None:
    """METEOR is the dearest to start; the figures are those of a program of their own."""
    references = [["a dog runs fast", "the dog is running"], ["two children play"]]
    sets = [["a dog runs", "children play ball"], ["the cat sleeps", ""]]
    together = [java.meteor(references, each) for each in sets]
    pid = java_programs._running["METEOR"].pid
    assert java.meteor(references, sets[0]) == together[0]
    assert java_programs._running["METEOR"].pid == pid
    java.forget()
    assert java.meteor(references, sets[1]) == together[1]
    assert gone(pid)
    tokens = java.tokenize_ptb(["A dog isn't here.", "A cat (black)"])
    running = java_programs._running["the PTB tokenizer"].pid
    assert java.tokenize_ptb(["Two dogs."]) == ["two dogs"]
    assert java_programs._running["the PTB tokenizer"].pid == running
    assert tokens == ["a dog is n't here", "a cat -lrb- black -rrb-"]
