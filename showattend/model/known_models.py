"""The models on this machine: shipped, trained here, and fetched from the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from showattend.exceptions import CheckpointError
from showattend.model.checkpoint import DEFAULT_MODEL, FILE_NAME, load_meta, shipped_models
from showattend.model.hub import kept_models

RUNS = Path("runs")
"""The folder of runs: `known_models` searches it, two folders deep."""


class Known(NamedTuple):
    """One model.

    Attributes:
        name: Its name for ``--model``.
        where: "shipped", "local" or "from the Hub".
        words: The size of its vocabulary.
        bytes: The size of its file.
    """

    name: str
    where: str
    words: int
    bytes: int


def known_models(runs: Path = RUNS) -> list[Known]:
    """List the models, the default first.

    Files that are not showattend models, such as other libraries' in the Hub's cache, are left out.
    Only headers are read.

    Args:
        runs: The folder of local models.
    """
    shipped = shipped_models()
    names = sorted(shipped, key=lambda name: (name != DEFAULT_MODEL, name))
    places = [(name, "shipped", shipped[name] / FILE_NAME) for name in names]
    places += [(str(file.parent), "local", file) for file in _local(runs)]
    places += [(name, "from the Hub", file) for name, file in kept_models(FILE_NAME)]
    return [found for place in places if (found := _known(*place)) is not None]


def _local(runs: Path) -> Iterator[Path]:
    for pattern in (FILE_NAME, f"*/{FILE_NAME}", f"*/*/{FILE_NAME}"):
        yield from sorted(runs.glob(pattern))


def _known(name: str, where: str, file: Path) -> Known | None:
    try:
        meta = load_meta(file, "a model")
        return Known(name, where, len(meta["vocabulary"]), file.stat().st_size)
    except (CheckpointError, OSError, KeyError, TypeError):
        return None
