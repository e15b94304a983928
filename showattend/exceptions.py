"""Errors that a user can fix. The message is one line: what is wrong, where, and what to do.

The command line prints that line and exits with 2, or continues with the other inputs and exits
with 1. It never shows a traceback for these errors.
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake in the input that the user can fix; ``str(error)`` is one line for them."""


class ImageError(UserError):
    """An image file that cannot be opened, is damaged, or is too large."""


class ConfigError(UserError):
    """A configuration with an unknown key, a value of the wrong type, or conflicting values."""


class DataError(UserError):
    """Annotations or a data set that cannot be read or contain nothing usable."""


class CheckpointError(UserError):
    """A model file that is missing, damaged, or in another format."""


class Terminated(KeyboardInterrupt):
    """The system asked the process to end (SIGTERM); exit code 143."""


def one_line(error: Exception) -> str:
    """An error's reason in one line."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(reason.split()) or type(error).__name__
