"""The code on docs/attention-family.md is the package's."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import pytest

from showattend.model.attention import ATTENTIONS
from showattend.model.decoders import DECODERS
from showattend.model.decoders.refined import GridSelfAttention

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "attention-family.md"
BLOCK = re.compile(r"<!-- code: (\S+) (?:(\w+)\.)?(\w+) -->\n```python\n(.*?)```\n", re.DOTALL)
BLOCKS = BLOCK.findall(PAGE.read_text(encoding="utf-8"))


def code_of(file: str, owner: str, method: str) -> str:
    """The body of a method, or of a function without an owner, without its docstring."""
    source = (ROOT / "showattend" / file).read_text(encoding="utf-8")
    body = ast.parse(source).body
    if owner:
        (cls,) = (node for node in body if isinstance(node, ast.ClassDef) and node.name == owner)
        body = cls.body
    (function,) = (
        node for node in body if isinstance(node, ast.FunctionDef) and node.name == method
    )
    first = function.body[1] if ast.get_docstring(function) else function.body[0]
    lines = source.splitlines()[first.lineno - 1 : function.end_lineno]
    return textwrap.dedent("\n".join(lines)) + "\n"


@pytest.mark.parametrize(("file", "owner", "method", "shown"), BLOCKS)
def test_what_is_shown_is_what_runs(file: str, owner: str, method: str, shown: str) -> None:
    assert shown == code_of(file, owner, method)


def test_every_kind_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    first = text[: text.index("## 1.")]
    for kind in (*ATTENTIONS, *DECODERS):
        if not kind.startswith("my_"):  # other tests register examples
            assert re.search(rf"\b{kind}\b", first), kind
    shown = {file for file, *_ in BLOCKS}
    kinds = (*ATTENTIONS.values(), *DECODERS.values(), GridSelfAttention)
    files = {Path(cls.__module__.replace(".", "/")) for cls in kinds}
    for file in files:
        if file.parts[0] == "showattend":
            assert file.relative_to("showattend").with_suffix(".py").as_posix() in shown, file
