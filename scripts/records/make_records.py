r"""Measure the documents' figures of the shipped models again, and report what no longer agrees.

    python scripts/records/make_records.py --data DATA              everything (hours on two cores)
    python scripts/records/make_records.py --data DATA 'everyday_*'  some records
    python scripts/records/make_records.py --check                  measures nothing

DATA has the folders everyday, coco_subset and flickr8k, each with captions_val.json and images;
coco_subset also has captions_train.json and instances.json. Each record is a command's --output;
whole ones go to --out, and without their lists of captions to docs/records. An existing record of
the shipped weights is not measured again, unless --again is given.

Then the documents' tables and sentences from records are rewritten (doc_tables.py), and every other
number that no record supports is listed (doc_numbers.py), with exit status 1. Records of
times, memory and counts are made by the commands in docs/reproduce.md.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from doc_numbers import disagreements
from doc_tables import OF_MODEL, fill, needed
from keep_record import kept
from kept_records import FOLDER, MODELS, ON_THIS_MACHINE, ROOT, is_stale, read_records

from showattend.evaluation.reproduce import read_record
from showattend.exceptions import UserError
from showattend.system.files import write_json
from showattend.system.provenance import file_digest

OBJECTS = (
    "--annotations",
    "data/coco_subset/instances.json",
    "--images",
    "data/coco_subset/images",
)
SIZES = (320, 192, 256, 384, 448)
"""Sides of the input in pixels at which `everyday` is grounded, its own first."""
BEFORE = "2b65aa7"
"""The last commit before the package was rebuilt with one contract for every part."""
HUMAN = ("--captions", "data/coco_subset/captions_train.json")


class Measure(NamedTuple):
    """A record and its command.

    Attributes:
        name: Its name.
        command: The command, without --output: `showattend`, or a script of scripts/.
    """

    name: str
    command: tuple[str, ...]


def measures() -> list[Measure]:
    """All records of pages except those of speed, the quickest kinds first."""
    found = []
    for model in MODELS:
        said = ("--device", "cpu", "--model", model)
        ground = ("showattend", "ground", *said, *OBJECTS)
        found.append(Measure(f"{model}_ground", ground))
        found.append(Measure(f"{model}_ground_human", (*ground, *HUMAN)))
        looked = ("looked_somewhere.py", "data/flickr8k/images", "--model", model)
        found.append(Measure(f"{model}_looked", looked))
    pairs = [(model, data) for model in MODELS for data in OF_MODEL[model]]
    for model, data in sorted(pairs, key=lambda pair: pair[1] == "flickr8k"):
        files = ("--annotations", f"data/{data}/captions_val.json")
        images = ("--images", f"data/{data}/images")
        score = ("showattend", "evaluate", "--device", "cpu", "--model", model, *files, *images)
        found.append(Measure(f"{model}_{data}", score))
        report: tuple[str, ...] = (
            "showattend",
            "errors",
            *files,
            "--results",
            f"{model}_{data}.json",
        )
        report += ("--train", f"data/{data}/captions_train.json") if model == data else ()
        found.append(Measure(f"{model}_{data}_errors", report))
        if data != "everyday":
            same = ("same_as_before.py", BEFORE, "--model", model, *files, *images)
            found.append(Measure(f"{model}_before_{data}", same))
    sizes = [f"{size}=everyday@{size}" for size in SIZES]
    pairs_of = [word for size in SIZES[1:] for word in ("--pair", str(size), str(SIZES[0]))]
    command = ("ground_models.py", *sizes, *pairs_of, *OBJECTS, *HUMAN, "--out", "kept")
    found.append(Measure("everyday_sizes", command))
    half = ("half_features.py", "everyday", "--annotations", "data/coco_subset/captions_val.json")
    found.append(Measure("everyday_half_features", (*half, "--images", "data/coco_subset/images")))
    faithful: tuple[str, ...] = (
        "showattend",
        "ground",
        "--device",
        "cpu",
        "--model",
        "everyday",
        *OBJECTS,
    )
    faithful += ("--faithful",)
    found.append(Measure("everyday_faithful_human", (*faithful, *HUMAN)))
    found.append(Measure("everyday_faithful", (*faithful, "--pixels", "40")))
    found.append(Measure("everyday_faithful_other", (*faithful, "--replace", "other")))
    shown = needed() - ON_THIS_MACHINE
    return [each for each in found if each.name in shown]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="records, also as patterns; default: all")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data sets")
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/records"), help="folder of whole records"
    )
    parser.add_argument("--again", action="store_true", help="also measure existing records")
    parser.add_argument("--check", action="store_true", help="measure nothing")
    args = parser.parse_args(arguments)
    chosen = [each for each in measures() if not args.names or _is_named(each.name, args.names)]
    failed = []
    try:
        if not chosen:
            raise UserError(f"no record is named {args.names[0]}")
        if not args.check:
            failed = [each.name for each in chosen if not made(each, args)]
        records = read_records()
        for path in fill(records):
            print(f"wrote {path.relative_to(ROOT)}")
        wrong = disagreements(records)
    except (UserError, KeyError) as error:
        print(f"make_records: {error.args[0]}", file=sys.stderr)
        return 2
    print("\n".join(wrong) or "every number of the documents agrees with its record")
    for name in failed:
        print(f"{name}: not measured, see above", file=sys.stderr)
    return 1 if wrong or failed else 0


def _is_named(name: str, wanted: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, each) for each in wanted)


def made(measure: Measure, args: argparse.Namespace) -> bool:
    """Measure a record and keep it, unless it exists; return whether it exists now.

    Raises:
        UserError: The data are missing, or a file cannot be read or written.
    """
    whole = args.out.resolve() / f"{measure.name}.json"
    if args.again or not whole.is_file() or not _is_current(read_record(whole), whole):
        if not args.data.is_dir():
            raise UserError(f"{args.data}: no such folder; give the data sets with --data")
        whole.parent.mkdir(parents=True, exist_ok=True)
        print(f"{measure.name} ...", flush=True)
        # The commands name files below data/, so that a record has no paths of this machine.
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            (place / "data").symlink_to(args.data.resolve())
            for other in whole.parent.glob("*.json"):
                (place / other.name).symlink_to(other)
            if not _run(measure.command, place, whole):
                return False
    write_json(FOLDER / whole.name, kept(read_record(whole)))
    print(f"{file_digest(FOLDER / whole.name)}  {FOLDER.relative_to(ROOT) / whole.name}")
    return True


def _is_current(record: dict[str, object], whole: Path) -> bool:
    """Whether a record is of the shipped weights, and one of errors of the captions next to it."""
    made_from = record.get("provenance")
    data = made_from.get("data") if isinstance(made_from, dict) else None
    if isinstance(data, dict) and "results" in data:
        captions = whole.with_name(whole.name.replace("_errors", ""))
        return data["results"] == file_digest(captions)
    return not is_stale(record)


def _run(command: Sequence[str], place: Path, whole: Path) -> bool:
    """Run the command of a record in a folder; its output is moved into place when complete."""
    program = [sys.executable, "-m", "showattend"]
    if command[0].endswith(".py"):
        program = [sys.executable, str(ROOT / "scripts" / command[0])]
    fresh = place / f"{whole.stem}.new.json"
    words = [*program, *command[1:], "--output", fresh.name]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        words, cwd=place, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.DEVNULL
    )
    if done.returncode or not fresh.is_file():
        print(f"{shlex.join(words)} failed ({done.returncode})", file=sys.stderr)
        return False
    write_json(whole, json.loads(fresh.read_text(encoding="utf-8")))
    return True


if __name__ == "__main__":
    sys.exit(main())
