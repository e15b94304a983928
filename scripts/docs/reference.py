"""Generated reference pages: from docstrings, the command line and the config."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from showattend.cli.app import app
from showattend.config import Config, keys_of

PACKAGE = Path(__file__).parents[2] / "showattend"
ROOMS = {
    "captioner": ("captioner", "given", "caption", "caption_forms", "exceptions"),
    "images": ("images", "images/metadata"),
    "text": ("text",),
    "model": ("model",),
    "attention": ("model/attention",),
    "decoders": ("model/decoders",),
    "fast": ("model/fast",),
    "decoding": ("decoding",),
    "data": ("data", "data/coco"),
    "training": ("training",),
    "evaluation": ("evaluation", "evaluation/scores"),
    "grounding": ("evaluation/grounding",),
    "mistakes": ("evaluation/mistakes",),
    "visualize": ("visualize",),
    "export": ("export", "export/cluster"),
    "server": ("server",),
    "configuration": ("config",),
    "system": ("system",),
}
"""The pages of the API reference, and the files and folders of the package on each.

Of a folder, the modules in it, and not those in its folders.
"""


def modules_of(room: str) -> list[str]:
    """The dotted names of the modules on a page."""
    found = []
    for each in ROOMS[room]:
        path = PACKAGE / each
        files = sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        names = [file.relative_to(PACKAGE.parent).with_suffix("") for file in files]
        found += [".".join(name.parts) for name in names if name.name != "__init__"]
    return found


def api_pages() -> Iterator[tuple[str, str]]:
    """Yield the API's pages: a directive for each module, which mkdocstrings fills in."""
    for room in ROOMS:
        parts = [f"# {room.capitalize()}\n"]
        if room == "captioner":
            parts = ["# Captioner and Caption\n"]
        parts += [f"::: {module}\n" for module in modules_of(room)]
        yield f"api/{room}.md", "\n".join(parts)


def command_pages() -> Iterator[tuple[str, str]]:
    """Yield a page for each command, with all of its arguments and options."""
    program: Any = typer.main.get_command(app)
    context = program.make_context("showattend", [], resilient_parsing=True)
    for name in program.list_commands(context):
        yield f"commands/{name}.md", _command(program.commands[name], f"showattend {name}", 1)


def _command(command: Any, title: str, level: int) -> str:
    context = command.make_context(title, [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    text = [f"{'#' * level} {title}", _plain(command.help or ""), f"```\n{title} {usage}\n```"]
    for kind, heading in (("argument", "Argument"), ("option", "Option")):
        rows = [
            (_code(record[0]), _plain(record[1]).replace("\n", " ").replace("|", r"\|"))
            for each in command.get_params(context)
            if each.param_type_name == kind and (record := each.get_help_record(context))
        ]
        if rows:
            table = [f"| {heading} | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)]
            text.append("\n".join(table))
    if command.epilog:
        _, *examples = command.epilog.split("\n\n")
        text.append("```\n" + "\n".join(examples) + "\n```")
    for name, other in getattr(command, "commands", {}).items():
        text.append(_command(other, f"{title} {name}", level + 1))
    return "\n\n".join(text) + "\n"


def _code(names: str) -> str:
    return "`" + names.replace("|", r"\|") + "`"


def _plain(text: str) -> str:
    """A help text as Markdown, with markup escaped and lines unwrapped."""
    paragraphs = ("\\\n".join(each.splitlines()) for each in text.split("\n\n"))
    return "\n\n".join(paragraphs).replace("<", "&lt;").replace("*", r"\*").replace("\\\n", "\n")


def config_page() -> str:
    """The page of all config keys, with their defaults."""
    text = [
        "# Config\n",
        "Every key of a config, as `showattend train` and `finetune` read it. Any can be set on "
        "the command line, as in `train.epochs=20`.\n",
    ]
    for section in dataclasses.fields(Config):
        kind: Any = section.default_factory  # the section's class
        text.append(f"## {section.name}\n\n{_line(kind)}\n")
        rows = ["| Key | Default | |", "|---|---|---|"]
        for key in keys_of(kind):
            about = _plain(key.help).replace("|", r"\|")
            shown = "null" if key.default is None else str(key.default).lower()
            if not isinstance(key.default, bool) and key.default is not None:
                shown = str(key.default) or "(none)"
            rows.append(f"| `{section.name}.{key.name}` | `{shown}` | {about} |")
        text.append("\n".join(rows) + "\n")
    return "\n".join(text)


def _line(kind: type) -> str:
    return inspect.getdoc(kind) or ""
