"""Progress bars in a notebook: shown where IPython runs a kernel, and nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from showattend.system import notebook_bars
from showattend.system.notebook_bars import MANY, NotebookBars, counted, in_notebook


class Kernel:
    """Stands in for IPython in a kernel; keeps what a cell shows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kernel: bool = True) -> None:
        self.shown: list[str] = []
        ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
        shell = SimpleNamespace(kernel=object()) if kernel else SimpleNamespace()
        ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
        display.HTML = str  # type: ignore[attr-defined]
        display.display = self.display  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        monkeypatch.setitem(sys.modules, "IPython.display", display)
        monkeypatch.setattr(notebook_bars, "_SECONDS", 0.0)

    def display(self, text: str, display_id: bool) -> Kernel:
        assert display_id
        self.shown.append(text)
        return self

    def update(self, text: str) -> None:
        self.shown.append(text)


def test_a_notebook_is_not_told_to_install_widgets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A library that advises on import, as tqdm does in a kernel without ipywidgets."""
    (tmp_path / "tqdm").mkdir()
    (tmp_path / "tqdm" / "__init__.py").touch()
    advice = "IProgress not found. Please update jupyter and ipywidgets."
    (tmp_path / "tqdm" / "auto.py").write_text(f"import warnings\nwarnings.warn({advice!r})\n")
    for name in [each for each in sys.modules if each.partition(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    notebook_bars.without_advice()
    assert "tqdm.auto" not in sys.modules, "not in a notebook: nothing to do"
    Kernel(monkeypatch)
    notebook_bars.without_advice()  # warnings are errors
    assert sys.modules["tqdm.auto"].__file__ == str(tmp_path / "tqdm" / "auto.py")
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.delitem(sys.modules, name)


def test_only_a_kernel_is_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    assert not in_notebook()
    Kernel(monkeypatch, kernel=False)  # IPython's prompt in a terminal
    assert not in_notebook()
    Kernel(monkeypatch)
    assert in_notebook()


def test_a_bar_moves_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Kernel(monkeypatch)
    bars = NotebookBars()
    bars.task("Features <1>", 1, 4, "a & b")
    bars.task("Training", 2, 10)
    assert 'max="4" value="1"' in cell.shown[-1]
    assert "Features &lt;1&gt;" in cell.shown[-1]
    assert "a &amp; b" in cell.shown[-1]
    assert 'max="10" value="2"' in cell.shown[-1]
    bars.task("Features <1>", 4, 4)
    assert "Features" not in cell.shown[-1]
    assert "Training" in cell.shown[-1]
    bars.close()
    assert cell.shown[-1] == ""


def test_many_images_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Kernel(monkeypatch)
    assert list(counted(iter("ab"), ["x"] * (MANY - 1), "Captioning")) == ["a", "b"]
    assert list(counted(iter("ab"), iter("ab"), "Captioning")) == ["a", "b"]  # of unknown number
    assert cell.shown == []
    results = list(range(MANY))
    assert list(counted(iter(results), results, "Captioning")) == results
    assert f"{MANY // 2} of {MANY}" in "".join(cell.shown)
    assert cell.shown[-1] == ""


def test_a_program_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    results = list(range(MANY))
    found = iter(results)
    assert counted(found, results, "Captioning") is found
