"""The commands of all pages are accepted by the command line, and the README's Python runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from showattend.cli.app import app, with_command
from showattend.model import checkpoint

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("assets/**/*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    """The language and the content of each block of code."""
    return FENCE.findall(page.read_text(encoding="utf-8"))


def commands(page: Path, program: str) -> list[str]:
    """The command lines of a page that start a program, joined where they go over several lines."""
    lines = [
        line.removeprefix("$ ")
        for language, block in blocks(page)
        if not language
        for line in re.sub(r"\\\n\s*", "", block).splitlines()
    ]
    return [line for line in lines if line.startswith(f"{program} ")]


def mentions(page: Path) -> list[str]:
    """The commands in running text, which may be incomplete; "showattend maps 1" is a format."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = [" ".join(each.split()) for each in re.findall(r"`(showattend [^`]+)`", text)]
    return [each for each in found if not re.fullmatch(r"showattend \w+ \d+", each)]


def of_all(find: object, *more: str) -> list[object]:
    """Each command once, as a parameter named after its page."""
    found = {line: page for page in reversed(PAGES) for line in find(page, *more)}  # type: ignore[operator]
    return [pytest.param(line, id=f"{found[line].name}: {line}") for line in reversed(found)]


def command_of(line: str) -> tuple[object, list[str]]:
    """The command that a line starts, and its arguments."""
    command = typer.main.get_command(app)
    arguments = with_command(shlex.split(line, comments=True)[1:])
    while arguments and hasattr(command, "commands") and not arguments[0].startswith("-"):
        name, *arguments = arguments
        assert name in command.commands, f"no command {name!r}"
        command = command.commands[name]
    return command, arguments


@pytest.mark.parametrize("line", of_all(commands, "showattend"))
def test_commands_are_accepted(line: str) -> None:
    """Parse as the program would; nothing is run."""
    command, arguments = command_of(line)
    if arguments == ["--install-completion"]:  # to parse it is to do it
        assert any(arguments[0] in each.opts for each in command.params)
        return
    command.make_context(command.name, arguments)


@pytest.mark.parametrize("line", of_all(mentions))
def test_commands_in_the_text_exist(line: str) -> None:
    """Check the command and its options; required arguments may be missing."""
    command, arguments = command_of(line.replace("...", ""))
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    assert {each for each in arguments if each.startswith("-")} <= known


@pytest.mark.parametrize("line", of_all(commands, "python"))
def test_options_of_scripts_exist(line: str) -> None:
    """Look for the script, and for each option in its source; nothing is imported."""
    _, script, *arguments = shlex.split(line, comments=True)
    if not script.startswith("scripts/"):  # the exported program, which has its own tests
        return
    source = (ROOT / script).read_text(encoding="utf-8")
    for option in (each for each in arguments if each.startswith("--")):
        assert f'"{option}"' in source, f"{script} has no option {option}"


def test_the_main_commands_are_shown() -> None:
    shown = {shlex.split(line)[1] for page in PAGES for line in commands(page, "showattend")}
    assert {"caption", "attend", "prepare", "train", "finetune", "evaluate", "ground"} <= shown


def test_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: list[Path]) -> None:
    """The API's block, as it stands, on a free photograph and the shipped model."""
    (code,) = (block for language, block in blocks(ROOT / "README.md") if language == "python")
    (tmp_path / "photo.jpg").write_bytes(photos[0].read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(
        r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        file, _, heading = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        assert not heading or heading in anchors(linked), target


def test_shipped_models_have_cards() -> None:
    models = checkpoint.shipped_models()
    assert checkpoint.DEFAULT_MODEL in models
    for folder in models.values():
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert "showattend evaluate" in card  # its scores come with their command
        assert (folder / checkpoint.FILE_NAME).stat().st_size < 32e6
