"""The road of docs/design.md: what `Captioner.caption` runs on a JPEG, in reading order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "showattend"
MOST_FILES, MOST_LINES = 8, 1200
MOST_HELPER_LINES = 700

# Notes every function of the package that is entered, in whatever thread, in order.
PROGRAM = """
import inspect, json, os, sys, threading
import showattend
from showattend.captioner import Captioner
root = os.path.dirname(showattend.__file__) + os.sep
captioner = Captioner.from_pretrained()
entered = {}
def note(frame, event, _):
    if event == "call" and frame.f_code.co_filename.startswith(root):
        code = frame.f_code
        if not code.co_name.startswith("<"):  # a part of the function around it
            entered.setdefault((code.co_filename[len(root):], code.co_firstlineno), code)
threading.setprofile(note)
sys.setprofile(note)
caption = captioner.caption(sys.argv[1])
str(caption)
sys.setprofile(None)
threading.setprofile(None)
assert len(caption.words) > 3
found = [
    (path.replace(os.sep, "/"), code.co_qualname, len(inspect.getsource(code).splitlines()))
    for (path, _), code in entered.items()
]
print(json.dumps(found))
"""


class Entered(NamedTuple):
    """A function that ran."""

    file: str
    name: str
    lines: int


@pytest.fixture(scope="module")
def entered() -> list[Entered]:
    """Every function of the package that captioning a JPEG enters, in order."""
    photo = ROOT / "assets" / "photos" / "chelsea.jpg"
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(photo)],
        env={**os.environ, "SHOWATTEND_PLAIN": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return [Entered(*each) for each in json.loads(found.stdout)]


def section() -> str:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    return text.partition("\n## The road\n")[2].partition("\n## ")[0]


def road() -> list[str]:
    """The files to read, in order."""
    return re.findall(r"^\d+\. `([\w/]+\.py)`", section(), re.MULTILINE)


def helpers() -> list[str]:
    """The files of which a function or two run that need not be read."""
    return re.findall(r"^\| `([\w/]+\.py)` \|", section(), re.MULTILINE)


def test_the_list_is_complete(entered: list[Entered]) -> None:
    files = {each.file for each in entered}
    assert files == set(road()) | set(helpers())
    assert not set(road()) & set(helpers())


def test_the_list_is_in_the_order_in_which_a_photograph_passes(entered: list[Entered]) -> None:
    order = list(dict.fromkeys(each.file for each in entered))
    assert road() == [file for file in order if file in road()]


def test_the_road_is_short() -> None:
    assert len(road()) <= MOST_FILES
    lines = {file: (PACKAGE / file).read_text(encoding="utf-8").count("\n") for file in road()}
    assert sum(lines.values()) <= MOST_LINES, lines


def test_what_is_left_out_is_little(entered: list[Entered]) -> None:
    """Of the helpers, whole functions that run are counted."""
    run = [each for each in entered if each.file in helpers()]
    assert sum(each.lines for each in run) <= MOST_HELPER_LINES, run
    lines = {file: (PACKAGE / file).read_text(encoding="utf-8").count("\n") for file in helpers()}
    assert sum(each.lines for each in run) < sum(lines.values()) / 4
