"""The notebooks of docs/notebooks run from top to bottom, and show what they promise."""

from __future__ import annotations

import ast
import importlib
import os
import time
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.py"))
MINUTES = 10


@pytest.fixture
def notebooks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that runs notebooks and makes pages of them."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts" / "docs")
    return importlib.import_module("notebooks")


def test_there_are_three() -> None:
    assert [each.stem for each in NOTEBOOKS] == [
        "from_the_equations_up",
        "see_where_it_looks",
        "teach_it_your_photographs",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_are_text_and_code(path: Path, notebooks: ModuleType) -> None:
    cells = notebooks.cells_of(path)
    assert cells[0].kind == "markdown"
    assert cells[0].text.startswith("# ")
    code = [cell.text for cell in cells if cell.kind == "code"]
    assert len(code) >= 6
    for each in code:
        ast.parse(each)
    said = "\n".join(cell.text for cell in cells)
    assert "shared/data" not in said


def shown_by(path: Path, notebooks: ModuleType) -> list[Any]:
    """Run a notebook's cells as a kernel does; return the value of each cell's last expression."""
    names: dict[str, Any] = {"__name__": "__main__"}
    values = []
    for cell in notebooks.cells_of(path):
        if cell.kind != "code":
            continue
        body = ast.parse(cell.text).body
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), str(path), "exec"), names)
        if isinstance(last, ast.Expr):
            values.append(eval(compile(ast.Expression(last.value), str(path), "eval"), names))
    return values


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run(path: Path, notebooks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """All three within ten minutes: a third each, and the clock of a busy machine counts double."""
    monkeypatch.chdir(path.parent)
    began = time.process_time()
    values = shown_by(path, notebooks)
    shown = [each._repr_html_() for each in values if hasattr(each, "_repr_html_")]
    assert sum("showattend-frame" in (each or "") for each in shown) >= 2
    assert time.process_time() - began < 2 * 60 * MINUTES / 3


@pytest.mark.slow
@pytest.mark.skipif(
    any(find_spec(name) is None for name in ("jupytext", "nbclient", "ipykernel")),
    reason="the extra docs is absent",
)
def test_one_runs_in_a_kernel(
    tmp_path: Path, notebooks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quickest, in a real kernel, and as a page: the viewer in files of its own."""
    root = Path(__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    path = next(each for each in NOTEBOOKS if each.stem == "see_where_it_looks")
    made = notebooks.run([path], tmp_path)
    text, files = notebooks.page_of(path, made[path.stem])
    assert text.count("<iframe") == len(files) >= 4
    assert all(content.startswith(b"<!DOCTYPE html>") for content in files.values())
    assert "A " in text
