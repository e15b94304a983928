"""What a run shows: lines in a log file, bars on a terminal."""

from __future__ import annotations

import io
import sys

from rich.console import Console

from showattend.training.display import Display
from showattend.training.phases import ADJUSTED

ENTRY = {
    "epoch": 3, "loss": 2.5, "val_loss": 2.75, "BLEU-4": 0.2, "CIDEr": 0.5, "seconds": 125.0,
}  # fmt: skip


def shown(*, terminal: bool) -> str:
    stream = io.StringIO()
    with Display(Console(file=stream, force_terminal=terminal, width=120)) as display:
        display.message("a [bold]path[/bold] and 12 words")
        display.task("Features", 1, 2)
        display.task("Features", 2, 2)
        display.task("Training", 5, 10, "epoch 1/2  loss 3.000")
        display.epoch(ENTRY, best=True)
        display.epoch({"epoch": 4, "loss": 2.25, "seconds": 60.4}, best=False)
    return stream.getvalue()


def test_a_log_file_gets_lines_and_no_bars() -> None:
    assert shown(terminal=False).splitlines() == [
        "a [bold]path[/bold] and 12 words",
        "epoch   3   loss 2.500   validation loss 2.750   BLEU-4 0.200   CIDEr 0.500 *best*   2:05",
        "epoch   4   loss 2.250   1:00",
    ]


def test_a_terminal_shows_the_progress_and_the_lines() -> None:
    text = shown(terminal=True)
    assert "5/10" in text
    assert "loss 3.000" in text
    assert "CIDEr 0.500 *best*" in text


def test_long_lines_are_not_broken() -> None:
    """Neither those of the run nor what is printed meanwhile; a terminal breaks them itself."""
    stream, path = io.StringIO(), f"/photos/{'a long name ' * 10}:dog: [bold].jpg"
    with Display(Console(file=stream, force_terminal=True, width=40)) as display:
        display.task("Captioning", 1, 3)
        display.message(path)
        print(path, end="\tA ")
        print("dog.")
        print(f"note: {path}", file=sys.stderr)
    for line in (path, f"{path.replace(chr(9), ' ')}", f"note: {path}"):
        assert line in stream.getvalue()
    assert "dog." in stream.getvalue()
    assert not isinstance(sys.stdout, type(display)), "standard output is as it was"


def test_file_names_reach_the_terminal_escaped() -> None:
    stream = io.StringIO()
    with Display(Console(file=stream, force_terminal=True, width=80)) as display:
        display.message("skipped: a\x1b]0;owned\x07\u202egpj.b")
        print("a.jpg\tA dog.")
    assert "skipped: a\\x1b]0;owned\\x07\\u202egpj.b" in stream.getvalue()
    assert "a.jpg   A dog." in stream.getvalue()


def test_scores_of_another_measure_are_not_best() -> None:
    stream = io.StringIO()
    Display(Console(file=stream, width=120)).epoch(ENTRY | {"phase": ADJUSTED}, best=True)
    assert "CIDEr 0.500 *kept*" in stream.getvalue()


def test_a_full_bar_goes_and_can_come_again() -> None:
    display = Display(Console(file=io.StringIO(), force_terminal=True))
    for _ in range(2):
        display.task("Validation", 1, 2)
        assert len(display.bars.tasks) == 1
        display.task("Validation", 2, 2)
        assert not display.bars.tasks
    display.task("Training", 2, 2)
    assert len(display.bars.tasks) == 1  # the run's own bar stays to be read
