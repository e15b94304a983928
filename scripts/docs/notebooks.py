"""Notebooks of docs/notebooks: run in a kernel, and made into pages of the site."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

MINUTES = 60
"""The longest that a cell may take: on a busy machine, one took more than ten."""
_FRAME = re.compile(r'srcdoc="([^"]*)"')


class Cell(NamedTuple):
    """One cell.

    Attributes:
        kind: "markdown" or "code".
        text: Its source.
    """

    kind: str
    text: str


def cells_of(path: Path) -> list[Cell]:
    """Read the cells of a notebook in jupytext's percent format, without jupytext.

    So the site can be built, and the notebooks tested, without it.
    """
    source = path.read_text(encoding="utf-8")
    parts = re.split(r"^# %%(.*)\n", source, flags=re.MULTILINE)
    cells = []
    for mark, text in zip(parts[1::2], parts[2::2], strict=True):
        if "[markdown]" in mark:
            lines = [re.sub(r"^# ?", "", line) for line in text.strip().splitlines()]
            cells.append(Cell("markdown", "\n".join(lines)))
        else:
            cells.append(Cell("code", text.strip()))
    return cells


def run(sources: Iterable[Path], out: Path) -> dict[str, Path]:
    """Run notebooks from top to bottom in a kernel of this Python; return the .ipynb files by name.

    Needs the extra docs.
    """
    import jupytext
    import nbformat
    from nbclient import NotebookClient

    out.mkdir(parents=True, exist_ok=True)
    made = {}
    for source in sources:
        print(f"running {source.name}", flush=True)
        notebook = jupytext.read(source)
        NotebookClient(
            notebook,
            extra_arguments=["--IPKernelApp.log_level=40"],  # its warning of unencrypted TCP
            timeout=60 * MINUTES,
            resources={"metadata": {"path": str(source.parent)}},
        ).execute()
        made[source.stem] = out / f"{source.stem}.ipynb"
        nbformat.write(notebook, made[source.stem])
    return made


def page_of(source: Path, executed: Path | None) -> tuple[str, dict[str, bytes]]:
    """A notebook as a page: its text and code, and each cell's output below it.

    Args:
        source: The notebook.
        executed: The same as .ipynb, with outputs; None for no outputs.

    Returns:
        The page's text, and the files next to it, by name.
    """
    shown: list[list[dict[str, Any]]] = []
    if executed is not None:
        values = json.loads(executed.read_text(encoding="utf-8"))
        shown = [each.get("outputs", []) for each in values["cells"] if each["cell_type"] == "code"]
    text: list[str] = []
    files: dict[str, bytes] = {}
    number = 0
    for cell in cells_of(source):
        if cell.kind == "markdown":
            text.append(cell.text)
            continue
        text.append(f"``` python\n{cell.text}\n```")
        for output in _merged(shown[number]) if shown else ():
            for part, name, content in _output(output, f"{source.stem}-{len(files) + 1}"):
                text.append(part)
                if content:
                    files[name] = content
        number += 1
    return "\n\n".join(text) + "\n", files


def _merged(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outputs of a cell, with lines that were printed one by one as one text."""
    merged: list[dict[str, Any]] = []
    for each in outputs:
        kind = each["output_type"], each.get("name")
        if kind == ("stream", "stdout") and merged and merged[-1].get("name") == "stdout":
            merged[-1] = merged[-1] | {"text": _joined(merged[-1]["text"]) + _joined(each["text"])}
        elif not (kind[0] == "display_data" and not _joined(each["data"].get("text/html", "-"))):
            merged.append(each)  # without the remains of a progress bar
    return merged


def _output(output: dict[str, Any], name: str) -> Iterator[tuple[str, str, bytes]]:
    """One output as Markdown, with the name and content of the file that it refers to."""
    if output["output_type"] == "stream":
        if output["name"] == "stdout":
            yield f"``` text\n{_joined(output['text']).rstrip()}\n```", "", b""
        return
    data = output.get("data", {})
    if "text/html" in data:
        shown = _joined(data["text/html"])
        if not (frame := _FRAME.search(shown)):
            yield re.sub(r"\n\s*\n", "\n", shown), "", b""
            return
        # The viewer in a separate file: the page loads quickly, and is searchable as text.
        title = re.search(r'title="([^"]*)"', shown)
        height = re.search(r"height: (\d+)px", shown)
        yield (
            f'<iframe class="notebook" src="{name}.html" title="{title[1] if title else ""}" '
            f'sandbox="allow-scripts" height="{height[1] if height else 600}" loading="lazy">'
            "</iframe>",
            f"{name}.html",
            html.unescape(frame[1]).encode(),
        )
    elif "image/png" in data:
        picture = base64.b64decode(_joined(data["image/png"]))
        yield f"![What the cell shows]({name}.png)", f"{name}.png", picture
    elif "text/plain" in data:
        yield f"``` text\n{_joined(data['text/plain'])}\n```", "", b""


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
