"""A little of every fuzz target, and the driver: what it must notice, it notices.

`make fuzz` runs all of it (tests/fuzz). The inputs are always the same, so that a failure here is
one of the change at hand.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from showattend.config import Config, from_dict
from showattend.exceptions import DataError, UserError, shown
from tests.fuzz import driver
from tests.fuzz.driver import judge, rows, run
from tests.fuzz.mutations import mutate_bytes
from tests.fuzz.targets import TARGETS, Target, import_all

for package in ("fastapi", "python_multipart", "onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="the extras serve and onnx are absent")
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="processes are forked, measured and limited as on Linux",
)
SHARE = 600
"""Of so many inputs of ``make fuzz`` one is tried here."""


@pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.Spooled:ResourceWarning")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in ("model.json", "onnx") else [])
        for name in TARGETS  # for those two a model is exported first
    ],
)
def test_mutated_files_are_read_or_refused_in_one_line(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = TARGETS[name]
    target.input(12345, 0)
    capfd.readouterr()  # seeds may be made by an export, which is logged
    for number in range(max(5, target.inputs // SHARE)):
        judge(target, target.input(12345, number), tmp_path / "input")
    assert capfd.readouterr() == ("", "")


def test_most_seeds_are_read(tmp_path: Path) -> None:
    """Mutations of what is refused as it is would try nothing but the refusal."""
    for name in (
        "image", "xmp packet", "xmp file", "coco", "json lines", "csv", "instances", "results",
        "config", "hub card", "record", "state",
    ):  # fmt: skip
        target, good = TARGETS[name], 0
        for seed in target.seeds():
            try:
                good += judge(target, seed, tmp_path / "input")
            except Exception:
                raise AssertionError(name) from None
        assert good >= len(target.seeds()) * 0.7, name


def test_inputs_are_always_the_same_and_all_different() -> None:
    target = TARGETS["coco"]
    inputs = [target.input(3, number) for number in range(50)]
    assert inputs == [target.input(3, number) for number in range(50)]
    assert len(set(inputs)) > 40
    assert target.input(4, 0) != target.input(3, 0)


# What the driver notices -----------------------------------------------------------------------


def _crash(content: bytes, folder: Path) -> None:
    faulthandler.disable()
    os.kill(os.getpid(), signal.SIGSEGV)


def _hang(content: bytes, folder: Path) -> None:
    while True:
        pass


def _greedy(content: bytes, folder: Path) -> None:
    assert len(b"x" * 500_000_000)


def _chatty(content: bytes, folder: Path) -> None:
    os.write(2, b"a library's own line\n")


def _lines(content: bytes, folder: Path) -> None:
    raise _RawError("two\nlines")


def _traceback(content: bytes, folder: Path) -> None:
    raise KeyError("images")


class _RawError(Exception):
    pass


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (_crash, "ended with SIGSEGV"),
        (_hang, "took more than"),
        (_greedy, "MB"),
        (_chatty, "a library's own line"),
        (_lines, "several lines"),
        (_traceback, "KeyError: 'images'"),
    ],
)
def test_a_fault_is_noticed_and_kept(
    call: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "SECONDS", 1.0)
    import_all()
    # A forked process starts with the memory of this one, but for pages of files.
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    begins_with = (resident - shared) * os.sysconf("SC_PAGESIZE")
    monkeypatch.setattr(driver, "MOST_MEMORY", begins_with + 250_000_000)

    def sometimes(content: bytes, folder: Path) -> None:
        time.sleep(0.001)
        if content == bad:
            call(content, folder)

    target = Target(
        "odd", lambda: [b"seed of some length"], mutate_bytes, sometimes, (_RawError,), 1
    )
    bad = target.input(0, 3)
    found = run(target, 6, 0, tmp_path / "kept")
    assert [fault.number for fault in found.faults] == [3]
    assert said in found.faults[0].what
    assert (tmp_path / "kept" / "odd-3").read_bytes() == bad
    assert said in (tmp_path / "kept" / "odd-3.txt").read_text()
    assert list(rows([found]))[-1].startswith("| all | 6 | ")


# Any values ------------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def _paths(value: Any) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = [()]
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in keys if isinstance(value, dict | list) else ():
        found += [
            (key, *rest)
            for rest in (_paths(value[key]) if isinstance(value[key], dict | list) else [()])
        ]
    return found


@pytest.mark.parametrize("name", ["coco", "karpathy", "instances"])
@settings(
    max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_value_anywhere_in_json(name: str, tmp_path: Path, data: st.DataObject) -> None:
    target = TARGETS[name]
    value = json.loads(target.seeds()[0])
    path = data.draw(st.sampled_from(_paths(value)))
    new, place = data.draw(PLAIN), value
    if not path:
        value = new
    else:
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = new
    judge(target, json.dumps(value).encode("utf-8", "surrogatepass"), tmp_path / "input")


@settings(max_examples=80, derandomize=True)
@given(
    section=st.sampled_from(["data", "encoder", "attention", "decoder", "train", "search"]),
    data=st.data(),
)
def test_any_value_in_a_config(section: str, data: st.DataObject) -> None:
    fields = getattr(Config(), section).__dataclass_fields__
    key = data.draw(st.sampled_from(sorted(fields)))
    with contextlib.suppress(UserError):
        from_dict(Config, {section: {key: data.draw(PLAIN)}}, "here")


# Messages --------------------------------------------------------------------------------------


def test_an_error_is_one_line_whatever_it_quotes() -> None:
    said = str(DataError("a.json: the name 'x\ny\x1b[31m\u202e' is odd\r\n  and more"))
    assert said == "a.json: the name 'x y\\x1b[31m\\u202e' is odd and more"
    assert str(DataError("Grüße 🐕 und  zwei Leerzeichen")) == "Grüße 🐕 und  zwei Leerzeichen"
    assert len(str(DataError("start " + "x" * 10**6 + " end"))) <= 2000
    assert str(DataError("start " + "x" * 10**6 + " end")).endswith("x end")


def test_a_value_is_shown_whatever_it_is() -> None:
    deep: Any = []
    for _ in range(50_000):
        deep = [deep]
    bomb: Any = ["x"] * 9
    for _ in range(30):
        bomb = [bomb] * 9
    circle: Any = []
    circle.append(circle)
    for value in (deep, bomb, circle, 10**5000, "x" * 10**6, b"\xff" * 1000, {"a": bomb}):
        assert len(shown(value)) <= 80
    assert shown("a dog") == "'a dog'"
    assert shown([1, 2.5, None]) == "[1, 2.5, None]"
    while deep:  # so that Python need not free it at once
        deep = deep[0]
