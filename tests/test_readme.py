"""The commands of the README and the guides are the command line's, and its Python runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from showattend.cli.app import app
from showattend.model import checkpoint

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
GUIDES = [
    ROOT / "docs" / f"{name}.md" for name in ("captioning", "finetune", "training", "evaluating")
]
SHOWN = [
    *BLOCKS,
    *(
        each
        for guide in GUIDES
        for each in re.findall(
            r"^```(\w*)\n(.*?)^```", guide.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
    ),
]
COMMANDS = [
    line
    for language, block in SHOWN
    if not language
    for line in block.splitlines()
    if line.startswith("showattend ")
]


@pytest.mark.parametrize("line", list(dict.fromkeys(COMMANDS)))
def test_commands_are_understood(line: str) -> None:
    """Parse as the program would; nothing is run."""
    command = typer.main.get_command(app)
    _, *arguments = shlex.split(line)
    while hasattr(command, "commands"):
        name, *arguments = arguments
        assert name in command.commands, f"no command {name!r}"
        command = command.commands[name]
    command.make_context(command.name, arguments)


def test_the_main_commands_are_shown() -> None:
    shown = {shlex.split(line)[1] for line in COMMANDS}
    assert {"caption", "attend", "prepare", "train", "finetune", "evaluate", "ground"} <= shown


def test_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: list[Path]) -> None:
    """The API's block, as it stands, on a free photograph and the shipped model."""
    (code,) = (block for language, block in BLOCKS if language == "python")
    (tmp_path / "photo.jpg").write_bytes(photos[0].read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize("page", [ROOT / "README.md", *GUIDES], ids=lambda page: page.name)
def test_files_that_are_linked_exist(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_shipped_models_have_cards() -> None:
    models = checkpoint.shipped_models()
    assert checkpoint.DEFAULT_MODEL in models
    for folder in models.values():
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert "showattend evaluate" in card  # its figures stand beside their command
        assert (folder / checkpoint.FILE_NAME).stat().st_size < 32e6
