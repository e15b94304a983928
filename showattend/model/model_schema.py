"""The schema of every file that describes a model: the header of its weights, and model.json.

A file is checked once, when it is read and before anything is built from it. Every number has an
upper bound, so that a damaged or hostile file can exhaust neither memory nor time.

The exported program contains this module, so it imports nothing that the program lacks.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from showattend.exceptions import shown
from showattend.text.printable import is_word

Check = Callable[[Any, str], None]
"""Takes a value and its place; raises a ValueError that names the place, the value and what is
valid.
"""

MOST_PIXELS = 4096
"""A side of the network's input."""
MOST_WORDS = 1_000_000


def parse_json(text: str | bytes) -> Any:
    """Read JSON.

    Raises:
        ValueError: It is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def section(required: dict[str, Check], optional: dict[str, Check] | None = None) -> Check:
    """An object with these keys; other keys are from later versions, and are ignored."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(value, where, "an object")
        for key in required:
            if key not in value:
                raise ValueError(f"{where} has no {key}")
        for key, inner in (required | (optional or {})).items():
            if key in value:
                inner(value[key], key if where == "it" else f"{where}.{key}")

    return check


def items(inner: Check, least: int = 0, most: int = MOST_WORDS) -> Check:
    """A list of ``least`` to ``most`` values of one kind."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            length = f"{least}" if least == most else f"{least} to {most:,}"
            raise _wrong(value, where, f"a list of {length}")
        for i, each in enumerate(value):
            inner(each, f"{where}[{i}]")

    return check


def number(least: float, most: float, *, whole: bool = False) -> Check:
    """A finite number in a range."""

    def check(value: Any, where: str) -> None:
        kind = int if whole else int | float
        good = isinstance(value, kind) and not isinstance(value, bool)
        if not good or not least <= value <= most:  # NaN is in no range
            what = "whole number" if whole else "number"
            raise _wrong(value, where, f"a {what} from {least:,} to {most:,}")

    return check


def text(*known: str) -> Check:
    """A text; one of these, if given."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or (known and value not in known):
            raise _wrong(value, where, f"one of {', '.join(known)}" if known else "text")

    return check


def or_null(inner: Check) -> Check:
    """Null, or a value that another check accepts."""

    def check(value: Any, where: str) -> None:
        if value is not None:
            inner(value, where)

    return check


def word(value: Any, where: str) -> None:
    """A word of a vocabulary."""
    if not is_word(value):
        raise _wrong(value, where, "a word without blanks or control characters")


def _wrong(value: Any, where: str, wanted: str) -> ValueError:
    quoted = json.dumps(value[:100]) if isinstance(value, str) else shown(value, 60)
    quoted = quoted if len(quoted) <= 60 else f"{quoted[:57]}..."
    return ValueError(f"{where} is {quoted}; it must be {wanted}")


RANGES: dict[str, tuple[int, int, Any]] = {  # minimum, maximum and type of each option
    **dict.fromkeys(("beam_size", "n_best", "max_length"), (1, 1000, int)),
    **dict.fromkeys(("min_length", "block_ngrams"), (0, 1000, int)),
    "length_penalty": (0, 10, int | float),
}
_SEARCH = {
    name: number(least, most, whole=kind is int) for name, (least, most, kind) in RANGES.items()
}
SEARCH = section({}, _SEARCH)
INPUT = {
    "size": number(1, MOST_PIXELS, whole=True),
    "fit": text("squash", "crop", "pad"),
    "interpolation": text("bicubic", "bilinear"),
}
PREPROCESSING = section(
    {
        "size": INPUT["size"],
        "mean": items(number(-10, 10), 3, 3),
        "std": items(number(1e-6, 10), 3, 3),
    },
    INPUT,
)
FAMILIARITY = section(
    {"size": INPUT["size"], "residuals": items(number(-1, 2), 2, 100_000)},
)
CALIBRATION = section(
    {}, {"unsure_below": number(0, 1), "familiarity": or_null(FAMILIARITY), "measured": section({})}
)
MODEL = section(
    {
        "config": section({"encoder": section({}), "decoder": section({}), "search": SEARCH}),
        "vocabulary": items(word),
        "preprocessing": PREPROCESSING,
        "encoder_fingerprint": text(),
    },
    {"record": section({}), "calibration": CALIBRATION},
)
"""The header of a model's weights."""
NETWORK = section({"inputs": items(text(), 1, 100), "outputs": items(text(), 1, 100)})
EXPORT = section(
    {
        "preprocessing": section(INPUT | {"fill": items(number(0, 255, whole=True), 3, 3)}),
        "vocabulary": items(text(), 5),
        "grid": items(number(1, MOST_PIXELS, whole=True), 2, 2),
        "search": section({name: _SEARCH[name] for name in RANGES if name != "n_best"}, _SEARCH),
    },
    {
        "name": text(),
        "networks": section({}, dict.fromkeys(("encoder", "initial", "step"), NETWORK)),
        "part_names": items(text(), 0, 1000),
        "unsure_below": number(0, 1),
        "familiarity": or_null(FAMILIARITY),
    },
)
"""model.json of an export; its vocabulary begins with the four special tokens."""
