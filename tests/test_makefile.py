"""The Makefile and CI: every test runs somewhere, and PyTorch's CPU build can be asked for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "tests").rglob("*.py"))
}
OTHER_NAMES = {
    "mkdocstrings_handlers": "mkdocstrings-python",
    "fsspec": "s3fs",
    "starlette": "fastapi",
}
"""Modules that do not have their distribution's name, or come with another one."""
TARGETS = [f".venv/ready{each}" for each in ("", "-dev", "-docs", "-slow")]


def modules_that_tests_skip_without() -> Iterator[tuple[str, str]]:
    one = r"(?:importorskip|find_spec)\(\s*\"([\w.]+)\""
    several = r"find_spec\(name\) is None for name in \(([^)]*)\)"
    for file, source in SOURCES.items():
        names = re.findall(one, source)
        for group in re.findall(several, source):
            names += re.findall(r"\w+", group)
        for name in names:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names:
                yield file, OTHER_NAMES.get(top, top).replace("_", "-").lower()


def installed(lines: str) -> set[str]:
    """The distributions that commands of the Makefile install by name or by an extra of ours."""
    extras = {each for group in re.findall(r"'\.\[([\w,]+)\]'", lines) for each in group.split(",")}
    wanted = list(PROJECT["dependencies"])
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]
    wanted += re.findall(r"'(\w[\w-]*)(?:\[\w+\])?'", lines)
    return {re.split(r"[\[<>=~ ]", each)[0].replace("_", "-").lower() for each in wanted}


def test_what_tests_need_is_installed_by_a_target() -> None:
    there = installed(MAKEFILE)
    needed = list(modules_that_tests_skip_without())
    assert len(needed) > 20
    assert [(file, name) for file, name in needed if name not in there] == []


def test_programs_that_tests_need_are_installed_by_ci() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    programs = {
        name
        for source in SOURCES.values()
        for name in re.findall(r"skipif\(\s*not shutil\.which\(\"(\w+)\"\)", source)
    }
    assert {"exiftool", "exiv2"} <= programs
    (checked,) = re.findall(r"for program in (.*); do", script)
    assert programs | {"chromium", "nginx"} <= set(checked.split())


def commands(*arguments: str) -> list[str]:
    """What make would run, all targets being out of date."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("target", TARGETS)
def test_every_environment_can_have_the_cpu_build(target: str) -> None:
    """As the Dockerfile: PyTorch first, from the index that is given."""
    lines = [each for each in commands(target, "TORCH_INDEX=an-address") if "pip install" in each]
    first, second = lines
    assert first.endswith('--index-url "an-address" torch torchvision')
    assert "--editable" in second
    assert "index" not in second
    (only,) = (each for each in commands(target, "TORCH_INDEX=") if "pip install" in each)
    assert only == second


def test_slow_tests_build_the_site() -> None:
    (line,) = (each for each in commands("test-slow") if "pip install" in each)
    assert {"zensical", "jupytext", "captum", "transformers"} <= installed(line)
    assert "not slow" not in "\n".join(commands("test-slow"))
