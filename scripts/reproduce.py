"""Reproduce a small part of the figures: the same command twice, and a command made from a record.

    python scripts/reproduce.py

Trains a tiny model twice on synthetic shapes, scores it, builds the command from its record alone,
and runs that. Stops with exit code 1 if weights, captions or scores differ. It takes a minute or
two and needs no data set; docs/reproduce.md has the commands of all figures.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from showattend.cli.app import main as showattend
from showattend.evaluation.reproduce import command, differing, read_record
from showattend.model.checkpoint import FILE_NAME, weights_digest

SIZES = ("encoder.size=64", "decoder.embedding_dim=32", "decoder.hidden_dim=32",
         "decoder.attention_dim=32", "data.toy_images=48", "data.min_count=1", "train.epochs=1",
         "train.batch_size=4", "train.precision=fp32", "search.max_length=12")  # fmt: skip
CONFIG = Path(__file__).parents[1] / "configs" / "tiny.yaml"


def run(*arguments: str) -> None:
    """Run a command of showattend, and stop if it fails."""
    print(f"$ showattend {shlex.join(arguments)}", flush=True)
    if code := showattend(list(arguments)):
        raise SystemExit(f"it ended with exit code {code}")


def without_times(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The epochs of a run without their seconds."""
    return [{key: each[key] for key in each if key != "seconds"} for each in history]


def reproduce(folder: Path) -> list[str]:
    """Train and score twice.

    Args:
        folder: The folder to work in.

    Returns:
        A line for each difference; none if all is reproduced.
    """
    differences = []
    cache = f"data.cache={folder / 'cache'}"
    for name in ("one", "two"):
        run("train", str(CONFIG), *SIZES, cache, f"train.out={folder / name}")
    one, two = (read_record(folder / name / "training.json") for name in ("one", "two"))
    if weights_digest(folder / "one" / FILE_NAME) != weights_digest(folder / "two" / FILE_NAME):
        differences.append("the weights of the second run differ")
    if without_times(one["history"]) != without_times(two["history"]):
        differences.append("the losses or scores of the second run differ")
    (data,) = folder.glob("cache/toy-*/dataset.jsonl")
    first, second = folder / "first.json", folder / "second.json"
    run("evaluate", "--annotations", str(data), "--model", str(folder / "one"), "--split", "val",
        "--output", str(first))  # fmt: skip
    _, *again = command(read_record(first), first)
    run(*again, "--output", str(second))
    rows = differing(*(json.loads(path.read_text(encoding="utf-8")) for path in (first, second)))
    differences += [f"{name}: {a} and {b}" for name, a, b in rows if name != "provenance.command"]
    return differences


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        differences = reproduce(Path(folder))
    for line in differences:
        print(line, file=sys.stderr)
    print("not reproduced" if differences else "reproduced: weights, losses, captions and scores")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
