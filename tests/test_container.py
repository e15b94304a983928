"""The Dockerfile: what it copies, and the commands of docs/install.md that build and run it."""

from __future__ import annotations

import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import typer.main

from showattend.cli.app import app

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINES = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8")).splitlines()
PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")


def instructions(name: str) -> list[str]:
    return [line.removeprefix(f"{name} ") for line in LINES if line.startswith(f"{name} ")]


def commands(program: str) -> list[list[str]]:
    return [shlex.split(line) for line in PAGE.splitlines() if line.startswith(f"{program} ")]


def copied() -> set[str]:
    return {source for line in instructions("COPY") for source in line.split()[:-1]}


def test_it_copies_what_the_wheel_is_made_of() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    project = PROJECT["project"]
    needed = {"pyproject.toml", project["readme"], *project["license-files"]}
    assert copied() == needed | {*wheel["packages"], *wheel["force-include"]}
    assert all((ROOT / each).exists() for each in copied())


def test_what_it_copies_is_sent_to_docker() -> None:
    first, *others = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert first == "*"
    assert {line[1:] for line in others if line.startswith("!")} == copied()


def test_its_command_is_one_of_ours() -> None:
    (entry,) = instructions("ENTRYPOINT")
    program, name, *options = (each.strip('" ') for each in entry.strip("[]").split(","))
    assert program in PROJECT["project"]["scripts"]
    serve = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    for *_, image in (line for line in commands("docker") if line[1] == "build"):
        assert image == "."
    runs = [line for line in commands("docker") if line[1] == "run"]
    assert len(runs) == 2
    for line in runs:
        given = line[line.index("showattend") + 1 :]
        context = serve.make_context(name, [*options, *given])
        (published,) = (line[i + 1] for i, each in enumerate(line) if each == "--publish")
        assert instructions("EXPOSE") == [str(context.params["port"])]
        assert published == f"127.0.0.1:{context.params['port']}:{context.params['port']}"
        assert context.params["host"] == "0.0.0.0"


def test_its_arguments_and_extras_exist() -> None:
    (build,) = (line for line in commands("docker") if line[1] == "build")
    name, _, value = build[build.index("--build-arg") + 1].partition("=")
    assert [f'{name}=""'] == instructions("ARG")
    assert value == f"${name}"
    extras = set(re.findall(r"\[(\w+)\]['\"]", PAGE + "\n".join(instructions("RUN"))))
    assert (
        {"serve", "onnx", "heif", "lite"}
        <= extras
        <= set(PROJECT["project"]["optional-dependencies"])
    )
    python = instructions("FROM")[0]
    (version,) = re.findall(r"python:(\d\.\d+)", python)
    assert f"Programming Language :: Python :: {version}" in PROJECT["project"]["classifiers"]


def test_it_is_an_ordinary_user() -> None:
    (user,) = instructions("USER")
    assert not fnmatch(user, "0*")
    assert user != "root"
    assert "--read-only" in PAGE


def test_no_page_names_an_index_of_packages() -> None:
    for file in ("Dockerfile", "docs/install.md", "README.md"):
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not re.search(
            r"https?://(?!127\.0\.0\.1|photos\.example|arxiv\.org)[\w./-]+", text
        ), file


def test_types_are_announced() -> None:
    assert (ROOT / "showattend" / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["project"]["classifiers"]
