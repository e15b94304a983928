"""Errors that a user can fix. The message is one line: what is wrong, where, and what to do.

The command line prints that line and exits with 2, or continues with the other inputs and exits
with 1. It never shows a traceback for these errors.
"""

from __future__ import annotations

import re
import reprlib

_MOST = 2000
"""The most characters of a message, which may quote a file's content of any length."""


CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""Characters that a terminal obeys instead of showing them: control characters, separators of lines
and paragraphs, and marks that reverse the direction of the text around them."""


def escaped(text: str) -> str:
    r"""Text with each of `CONTROLS` as an escape sequence: ``\x1b``."""
    return CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


class UserError(Exception):
    """A mistake in the input that the user can fix; ``str(error)`` is one line for them.

    Names and values in the message may come from anywhere: line breaks become blanks, other control
    characters are escaped, and long messages are cut in the middle.

    Attributes:
        elsewhere: Whether another process of the run reports it.
    """

    elsewhere = False

    def __str__(self) -> str:
        """The message as one line."""
        text = super().__str__()
        if not text.isprintable():
            text = re.sub(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", text)
            text = escaped(text)
        if len(text) > _MOST:
            text = f"{text[: _MOST - 500]} ... {text[-490:]}"
        return text


class ImageError(UserError):
    """An image file that cannot be opened, is damaged, or is too large."""


class ConfigError(UserError):
    """A configuration with an unknown key, a value of the wrong type, or conflicting values."""


class DataError(UserError):
    """Annotations or a data set that cannot be read or contain nothing usable."""


class CheckpointError(UserError):
    """A model file that is missing, damaged, or in another format."""


def one_line(error: Exception) -> str:
    """An error's reason in one line."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.split()) or type(error).__name__


def shown(value: object, most: int = 80) -> str:
    """A value as a message quotes it: one line, shortened, whatever it holds.

    A YAML file of ten lines may hold a list whose text has a billion elements, JSON may be nested
    more deeply than Python can write, and Python does not write integers of over 4,300 digits.
    """
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxlong, short.maxother = 4, most, most, most
    short.maxlist = short.maxtuple = short.maxdict = 8
    try:
        text = short.repr(value)
    except ValueError:
        text = "a number of thousands of digits"
    return text if len(text) <= most else f"{text[: most - 3]}..."
