"""The command line: ``app`` is the program, and every command has a file of its own."""

from __future__ import annotations

from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line, as `showattend.cli.app.main` does; the installed program calls this."""
    from showattend.cli.app import main as run

    return run(args)
