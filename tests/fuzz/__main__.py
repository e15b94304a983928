"""``python -m tests.fuzz``: run all targets, or some.

    python -m tests.fuzz                            # 200,000 inputs and more
    python -m tests.fuzz --only image --inputs 5000 --seed 3
    python -m tests.fuzz --only image --number 17   # one input again, with its traceback

Inputs that fail are written to --keep, each with a text file that says why; --output writes a
record.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes fork

from showattend.system.files import write_json
from showattend.system.provenance import portable, remember_command, stamp
from tests.fuzz.driver import judge, rows, run
from tests.fuzz.targets import TARGETS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit code is 1 if there are faults."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--only", action="append", choices=TARGETS, help="a target; repeatable")
    parser.add_argument("--inputs", type=int, help="inputs of each target; default: its share")
    parser.add_argument("--seed", type=int, default=0, help="which inputs")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"), help="folder of faults")
    parser.add_argument("--number", type=int, help="run this input only, in this process")
    parser.add_argument("--output", type=Path, help="file for the record")
    given = parser.parse_args(arguments)
    remember_command(sys.argv[1:] if arguments is None else arguments, "tests.fuzz")
    names = given.only or list(TARGETS)
    if given.number is not None:
        with tempfile.TemporaryDirectory() as folder:
            target = TARGETS[names[0]]
            print(judge(target, target.input(given.seed, given.number), Path(folder) / "input"))
        return 0
    outcomes, began = [], time.monotonic()
    for name in names:
        target = TARGETS[name]
        outcomes.append(run(target, given.inputs or target.inputs, given.seed, given.keep))
        print(list(rows(outcomes[-1:]))[2], file=sys.stderr, flush=True)
        for fault in outcomes[-1].faults[:5]:
            print(f"  input {fault.number}: {fault.what.strip()[-600:]}", file=sys.stderr)
    print("\n".join(rows(outcomes)))
    if given.output:
        record = {
            "seed": given.seed,
            "seconds": time.monotonic() - began,
            "targets": [each._asdict() | {"faults": len(each.faults)} for each in outcomes],
            "provenance": stamp(),
        }
        write_json(given.output, portable(record))
    return 1 if any(each.faults for each in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
