"""Output to terminals and to files."""

from __future__ import annotations

import logging
import sys

import pytest

from showattend.cli.terminal import show_log, table, waiting


def test_a_table_in_a_file_keeps_its_lines_whole(capsys: pytest.CaptureFixture[str]) -> None:
    name, figures = "2_dropout_smoothing_and_more", ["0.516 ± 0.004"] * 9
    table("Scores", [[name, *figures]], ["name", *"abcdefghi"])
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == "Scores"
    (line,) = (line for line in lines if "0.516" in line)
    assert line.strip().split(None, 1) == [name, "   ".join(figures)]


def test_a_table_is_complete_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    table("Scores", [["2_dropout_smoothing_and_more", "0.516"]])
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert "2_dropout" in shown
    assert "0.516" in "".join(shown.split())


def test_names_are_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table("Scores", [["gate[vector]", "0.5"], ["x[/y]", "0.4"]], ["name", "CIDEr"])
    shown = capsys.readouterr().out
    assert "gate[vector]" in shown
    assert "x[/y]" in shown


def test_the_log_is_shown_once_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show_log()
    show_log()
    logging.getLogger("showattend.model").warning("%s: is\nodd", "a.json")
    logging.getLogger("showattend.model").info("wrote\t%s", "b.json")
    logging.getLogger("showattend.model").debug("no news")
    assert capsys.readouterr().err == "showattend: a.json: is odd\nwrote\\tb.json\n"


def test_waiting_is_said_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with waiting("loading the model"):
        pass
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with waiting("loading the model"):
        pass
    out, err = capsys.readouterr()
    assert "loading the model" in err
    assert out == ""
