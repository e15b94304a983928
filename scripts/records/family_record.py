"""Keep the results of runs of configs/family in docs/records/family.json, row by row.

    showattend compare configs/family/additive.yaml --out runs/family --instances instances.json \
        --images DIR --captions captions.json
    python scripts/records/family_record.py runs/family

All rows take hours, and need not be trained in one go or on one machine. Rows of runs that are in
the folder are added or replaced; others stay. The differences to the first row are computed from
the CIDEr of each image, which the record holds, by the paired bootstrap of `compare`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from kept_records import FOLDER, ROOT

from showattend.data.readers import read_json
from showattend.evaluation.scores.statistics import paired_difference
from showattend.exceptions import UserError
from showattend.system.files import write_json
from showattend.system.provenance import file_digest, portable, remember_command, stamp
from showattend.training.compare import plan, read_finished
from showattend.training.comparison import Comparison, notes, summarize
from showattend.training.run_scores import GROUNDING

FIRST = "additive"
"""The row that the others are compared with."""
RECORD = FOLDER / "family.json"
LEARNED = ("epoch", "loss", "CIDEr", "estimator_variance", "estimator_second_moment", "baseline")
"""What is kept of each epoch."""


def row_of(config: Path, out: Path) -> dict[str, Any] | None:
    """The row of a config's finished run with seed 0; None if it is not finished.

    Args:
        config: A YAML file of configs/family.
        out: The folder of the comparison.

    Raises:
        UserError: The results cannot be read, or belong to another config.
    """
    (row,) = plan([config])
    made = Comparison([row], out, 1, "")
    folder = Path(row.run(out, 0).train.out)
    found = read_finished(row.run(out, 0))
    if found is None:
        return None
    made.results[row.name, 0] = found
    if (folder / GROUNDING).is_file():
        made.grounding[row.name, 0] = read_json(folder / GROUNDING)
    (summary,) = summarize(made)["rows"]
    kept = ("name", "description", "objective", "runs", "best_epochs", "lengths", "grounding")
    trained = read_json(folder / "training.json")
    return {
        **{key: summary[key] for key in kept},
        "config": config.resolve().relative_to(ROOT).as_posix(),
        "figures": {name: each["mean"] for name, each in summary["figures"].items()},
        "words": found["wording"]["words"],
        "parameters": found["cost"]["parameters"],
        "references": found["evaluation"]["references"],
        "history": [
            {key: epoch[key] for key in LEARNED if key in epoch} for epoch in trained["history"]
        ],
        "notes": [line for line in notes(made) if not line.startswith("Command")],
        "CIDEr of each image": " ".join(
            f"{each['scores']['CIDEr']:.4f}" for each in found["captions"]
        ),
    }


def with_differences(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with their difference in CIDEr to `FIRST`, which comes first; the others by name."""
    ordered = sorted(map(dict, rows), key=lambda row: (row["name"] != FIRST, row["name"]))
    for row in ordered:
        row.pop("difference", None)
    first, *others = ordered
    if first["name"] != FIRST:
        return ordered
    for row in others:
        if row["references"] == first["references"]:
            found = paired_difference(_images(row), _images(first), len(others))
            row["difference"] = found["CIDEr"]
    return ordered


def _images(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"scores": {"CIDEr": float(each)}} for each in row["CIDEr of each image"].split()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="the folder of `showattend compare`")
    parser.add_argument("--output", type=Path, default=RECORD, help="the record")
    args = parser.parse_args(arguments)
    remember_command(sys.argv[1:] if arguments is None else arguments, "records/family_record.py")
    try:
        kept = read_json(args.output)["rows"] if args.output.is_file() else []
        rows = {row["name"]: row for row in kept}
        found = 0
        for config in sorted((ROOT / "configs" / "family").glob("*.yaml")):
            if (row := row_of(config, args.out)) is not None:
                rows[row["name"]] = portable(row)
                found += 1
        if not found:
            raise UserError(f"{args.out}: holds no finished run of a config of configs/family")
        made = {
            "provenance": portable(stamp(torch.device("cpu"))),
            "rows": with_differences(list(rows.values())),
        }
        write_json(args.output, made)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(rows)} rows, {found} from {args.out}")
    print(f"{file_digest(args.output)}  {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
