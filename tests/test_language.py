"""Plain English, and complete docstrings.

`PHRASES` lists turns of phrase that this project does not use, each with a better one. They are
searched for in the pages, and in the docstrings, comments and messages of the code. Every public
function has a docstring, with the shapes of its tensors and the errors that it raises.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("assets/**/*.md")])
PACKAGE = sorted((ROOT / "showattend").rglob("*.py"))
SOURCES = [*PACKAGE, *sorted((ROOT / "scripts").rglob("*.py"))]

UNITS = (
    "image|photo|photograph|caption|line|word|beam|record|side|pixel|run|step|batch|process|epoch"
    "|location|cell|token|head|shard|row"
)
PER = (
    "(?:one|once|computed|pixels|images|captions?|words?|maps?|lines?|lists?|rows?|hypotheses"
    "|bytes|[kMG]B|files?|scores?|average|penalty|batches|steps|parts)"
)
NOT = "text|list|file|image|photo|photograph|map|number|path|object|cache|record|model|page|word"
PHRASES = {
    r"\banew\b": "again",
    r"\b[Tt]old\b": "called with",
    r"\bshall\b": "will, must",
    r"\bchoose (?:of|by)\b": "use one of, select with",
    r"\b(?:stands?|standing) (?:beside|side by side)\b": "is next to",
    r"\b[Ww]hat precedes\b": "what comes before",
    r"\bthe others rest\b": "the others wait",
    r"\bfalls? silent\b": "ends",
    r"\bknows? of it\b": "knows about it",
    r"\bmends?\b|\bmended\b": "fix",
    r"\bwhoever\b": "anyone who",
    r"\bmeans nothing\b": "is invalid",
    r"\bgoes without saying\b": "is implied",
    r"\bin so many words\b": "explicitly",
    r"\b[Ii]t is no\b": "it is not a",
    r"\bpassed over\b": "ignored, skipped",
    r"\b(?:go|goes|going|went) on (?:from|where|with)\b": "continue",
    r"\bby lot\b": "at random",
    r"\bheld against\b": "compared with",
    r"\bputs? people in\b": "invent people",
    r"\blaid over white\b": "composited over white",
    r"\b(?:is|are) obeyed\b": "is applied, is respected",
    r"\b[Aa]s of `": "see",
    rf"\b{PER} an? (?:{UNITS})\b": "per",
    r"\btwo words twice\b": "word pair repeated",
    r"\bgives? way to\b": "is replaced by",
    r"\b(?:[Ss]ay|says|said|[Tt]ell|tells) (?:nothing )?of\b": "describe, say about",
    r"\b[Ss]omebody (?:else|who|has|had|is|may)\b": "someone, others; or use the passive",
    r"\b(?:asks?|asked) (?:nobody|anybody|no other)\b": "contacts no other",
    r"\b(?:beside|besides) (?:it|them|the shards|the image)\b": "next to, in addition to",
    r"\b(?:[Ww]hat|where|when|while|if) one (?:sees|gets|reads|goes|meets)\b": "you see",
    r"\b(?:None|[Ee]mpty|zero|True|False|nothing) where\b": "None if",
    r"\bholds? no words?\b": "has no words",
    rf"(?<!here )\bis no (?:{NOT})\b": "is not a",
    r"\b(?:is|are|be|was|were) made to say\b": "is forced on",
    r"\bsp(?:oke|eaks?) (?:for|against) (?:the|a|each) word": "is evidence for",
    r"\bof whatever\b": "of any",
    r"\bfor ever\b": "forever",
    r"\bwhat (?:it|they) (?:is|are) worth\b": "how useful it is",
    r"\ball else\b": "everything else",
    r"\bof then\b": "at the time",
}
"""Regular expressions of phrases to avoid, and what to write instead."""

FRAGMENT = re.compile(
    r"^\s+\**\w+: "
    r"(?:Of|As|How many|In (?:pixels|bytes|bits|seconds)|From \d|Where (?:to|it|they))\b",
    re.MULTILINE,
)
"""A description in Args or Attributes that reads on from the name: "seed: Of the draw."."""

SHAPE = re.compile(
    r"\[[^\]\n]*\b(?:[A-Z]\w{0,2}'?|\d|height|width|size|count|words|pixels|cells)\b[^\]\n]*\]"
    r"|_[A-Z]{1,5}\d?\b|\(T,\)|\[\.\.\.|scalar"
)
"""A shape such as [B, K, V] or [height, width], or a name with a shape suffix."""

QUOTATION = re.compile(r'"[^"]*\s[^"]*\s[^"]*"')
"""Three words or more in quotation marks may be anybody's."""

COMMANDS = re.compile(r"showattend/cli/\w+_command\.py")
"""The docstring of a command is its help text, and does not list errors."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def marked(paths: list[Path]) -> list[object]:
    """The paths as parameters."""
    return [pytest.param(path, id=name(path)) for path in paths]


def prose(text: str, is_page: bool) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page, or of the comments and the strings with spaces in a module."""
    if is_page:
        yield from enumerate(text.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for offset, line in enumerate(node.value.splitlines()):
                yield node.lineno + offset, line


def problems_of_language(text: str, is_page: bool) -> list[str]:
    found = []
    for number, line in prose(text, is_page):
        for phrase, better in PHRASES.items():
            if match := re.search(phrase, QUOTATION.sub('""', line)):
                found.append(f"line {number}: {match[0]!r}; better: {better}")
    return found


ERRORS = {
    node.name
    for node in ast.parse((ROOT / "showattend/exceptions.py").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ClassDef)
}
Public = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(module: ast.Module) -> Iterator[tuple[str, Public]]:
    """The public functions, classes and methods of a module, with their qualified names."""

    def within(parent: ast.AST, before: str) -> Iterator[tuple[str, Public]]:
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, Public) and not node.name.startswith("_"):
                overload = any("overload" in ast.unparse(each) for each in node.decorator_list)
                if not overload:
                    yield f"{before}{node.name}", node
                if isinstance(node, ast.ClassDef):
                    yield from within(node, f"{before}{node.name}.")

    yield from within(module, "")


def raised(node: ast.AST) -> set[str]:
    """The names of the package's errors that leave a function by a ``raise`` in its own body."""
    errors = set()
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        errors |= {ast.unparse(node.exc.func)} & ERRORS
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            errors |= raised(child)
    if isinstance(node, ast.Try):
        caught = {ast.unparse(each.type) for each in node.handlers if each.type is not None}
        within = set().union(*map(raised, node.body))
        elsewhere = set().union(*map(raised, [*node.handlers, *node.orelse, *node.finalbody]))
        errors -= (within & caught) - elsewhere
    return errors


def problems_of_docstrings(text: str, *, lists_errors: bool = True) -> list[str]:
    found = []
    for where, node in public(ast.parse(text)):
        doc = ast.get_docstring(node) or ""
        if not doc:
            found.append(f"{where} has no docstring")
            continue
        found += [f"{where}: fragment {match[0].strip()!r}" for match in FRAGMENT.finditer(doc)]
        if isinstance(node, ast.ClassDef):
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        typed = [(each.arg, each.annotation) for each in arguments] + [("", node.returns)]
        arrays = [
            argument
            for argument, hint in typed
            if hint is not None and re.search(r"\b(?:Tensor|ndarray)\b", ast.unparse(hint))
        ]
        suffixed = any(SHAPE.search(argument) for argument in arrays)
        if arrays and not suffixed and not SHAPE.search(doc):
            found.append(f"{where} does not give the shapes of its tensors")
        for error in sorted(raised(node)) if lists_errors else ():
            if not re.search(rf"^\s*{error}: ", doc, re.MULTILINE):
                found.append(f"{where} raises {error}, which is not in its docstring")
    return found


@pytest.mark.parametrize("path", marked([*PAGES, *SOURCES]))
def test_text(path: Path) -> None:
    text, is_page = path.read_text(encoding="utf-8"), path.suffix == ".md"
    found = problems_of_language(text, is_page)
    if path in PACKAGE:
        found += problems_of_docstrings(text, lists_errors=not COMMANDS.fullmatch(name(path)))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "The search shall know of it.",
        "Each step computes the quotients anew.",
        "no style 'dim'; choose of heat, light",
        "reporter: Told how it goes.",
        "Another stage stands beside the last one.",
        "What precedes the stage is cached.",
        "It is no number.",
        "seed: As of `prepare`.",
        "n_best: captions an image",
        "one score a location",
        "an average a word",
        "computed once an image",
        "What an image file's head says of it.",
        "details: Say of each word the gate, too.",
        "replaces descriptions by somebody else",
        "A page asks nobody for more.",
        "put each word's probability beside it",
        "What one sees in the terminal.",
        "None where there are none.",
        "its captions hold no word",
        "a file that is no image",
        "The captions are made to say.",
        "what speaks for each word",
        "a file of whatever library",
    ],
)
def test_phrases_are_found(line: str) -> None:
    assert problems_of_language(line, True)
    assert problems_of_language(f"# {line}\n", False)
    assert not problems_of_language(f'They wrote: "{line}"', True)


CODE = """
def good(maps: np.ndarray) -> None:
    '''Draw maps [T, H, W].

    Raises:
        UserError: They are empty.
    '''
    raise UserError("empty")

def caught() -> None:
    '''Raise nothing.'''
    try:
        raise UserError("empty")
    except UserError:
        pass
"""


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("", "", None),
        ("Draw maps [T, H, W]", "Draw maps", "good does not give the shapes"),
        ("UserError: They", "ConfigError: They", "good raises UserError"),
        ("Raise nothing.", "", "caught has no docstring"),
        ("except UserError", "except ConfigError", "caught raises UserError"),
        ("Raises:\n        User", "Args:\n        width: In pixels.\n\n    Raises:\n        User",
         "good: fragment"),
        ("Raises:\n        User", "Args:\n        epoch: From 0.\n\n    Raises:\n        User",
         "good: fragment"),
        ("Raises:\n        User", "Args:\n        seed: Of the draw.\n\n    Raises:\n        User",
         "good: fragment"),
    ],
)  # fmt: skip
def test_docstrings_are_checked(old: str, new: str, problem: str | None) -> None:
    found = problems_of_docstrings(CODE.replace(old, new))
    assert [each.startswith(problem or "") for each in found] == [True] * bool(problem), found
