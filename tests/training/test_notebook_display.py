"""What a run shows in a notebook."""

from __future__ import annotations

import pytest

from showattend.training.notebook_display import NotebookDisplay
from showattend.training.reporter import Silent, default_reporter
from tests.system.test_notebook_bars import Kernel
from tests.training.test_display import ENTRY


def test_a_notebook_gets_bars_and_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(default_reporter(), Silent)
    cell = Kernel(monkeypatch)
    reporter = default_reporter()
    assert isinstance(reporter, NotebookDisplay)
    reporter.message("12 [words]")
    reporter.task("Training", 5, 10, "epoch 1/2")
    reporter.epoch(ENTRY, best=True)
    assert "epoch 1/2" in cell.shown[-1]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "12 [words]"
    assert "CIDEr 0.500" in lines[1]
