"""Compare the speed of showattend with the usual implementation and with the machine's limits.

python scripts/benchmark/benchmark.py                       all rows; twelve minutes on two cores
python scripts/benchmark/benchmark.py training search       some of them
python scripts/benchmark/benchmark.py --growth              how cost grows, as a plot
python scripts/benchmark/benchmark.py --quick               tiny sizes, to try it out

Writes benchmark.json and benchmark.md (or growth.json and growth.png) to --out, and the JSON to
--output too. Both sides of a
ratio alternate in one process; ratios are medians over rounds, with minimum and maximum in
brackets. The usual implementation, scripts/benchmark/usual.py, has the same weights, and its
results are compared first.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from cached_rows import cached_searching
from family_rows import family
from growth import grow
from image_rows import epochs, evaluation, extraction
from measuring import Rates, Row, as_json, as_markdown, machine, peak
from rows import Setting, cold_start, memory, peak_work, searching, training

from showattend.system.files import write_json
from showattend.system.provenance import portable, remember_command

ROWS: dict[str, Callable[[Setting], list[Row]]] = {
    "start": cold_start,
    "memory": memory,
    "evaluation": evaluation,
    "extraction": extraction,
    "epoch": epochs,
    "search": searching,
    "cache": cached_searching,
    "training": training,
    "family": family,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--repeats", type=int, default=5, help="rounds of each comparison")
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch's default")
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/benchmark"), help="folder to write to"
    )
    parser.add_argument("--output", type=Path, help="another file for the record")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--growth", action="store_true", help="how cost grows with the sizes")
    parser.add_argument("--peak", help=argparse.SUPPRESS)  # what `memory` runs
    options = parser.parse_args(arguments)
    remember_command(sys.argv[1:] if arguments is None else arguments, "benchmark/benchmark.py")
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if options.repeats < 1:
        parser.error("--repeats must be 1 or more")
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.peak:
        peak_work(options.peak, options.quick)
        print(peak())
        return
    options.out.mkdir(parents=True, exist_ok=True)
    rates = Rates.measure(256 if options.quick else 2048)
    about = machine(rates, torch.get_num_threads())
    if options.growth:
        grow(options.out, about, quick=options.quick, output=options.output)
        return
    folder = Path(tempfile.mkdtemp(prefix="showattend-benchmark-"))
    setting = Setting(rates, options.repeats, options.quick, folder)
    rows: list[Row] = []
    try:
        for name in options.rows or ROWS:
            rows += ROWS[name](setting)
            text = as_markdown(rows, about)
            (options.out / "benchmark.md").write_text(text, encoding="utf-8")
            content = portable(as_json(rows, about, torch.get_default_device()))
            for path in filter(None, (options.out / "benchmark.json", options.output)):
                write_json(path, content)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(text)


if __name__ == "__main__":
    main()
