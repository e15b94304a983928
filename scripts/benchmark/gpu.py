"""Test, measure and train on a GPU, in one command and a given time.

    python scripts/benchmark/gpu.py --minutes 8 [--pack FOLDER] [--out FOLDER]

Runs tests/test_gpu.py, then the table of gpu_rows.py, then trains the config in the time that is
left (gpu_training.py). Run it in a folder of pack_gpu.py, or in a checkout with --pack. Packages
that the machine's Python lacks are taken from the pack. Each part is a process with its own time
limit, and report.md and report.json are written after every result, so an interrupted run keeps its
results. The checkpoint is stored in float16, in parts of at most 15 MB:

    cat checkpoint/model.safetensors.* > model.safetensors

Without a GPU everything runs on the CPU (--device cpu), and the report says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PART = 15_000_000
"""The most bytes of a part of the checkpoint."""
TESTS, TABLE = 0.3, 0.2
"""Shares of the time for the tests and the table; training has the rest."""
END = 20.0
"""Seconds reserved for the end: the checkpoint's last parts and the report."""


class Report:
    """The results so far, always on disk.

    Args:
        folder: The folder of report.json and report.md.
        about: The machine and the settings.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder = folder
        waiting = {"state": "not reached"}
        self.found: dict[str, Any] = {
            "about": about, "tests": waiting, "table": waiting, "training": waiting,
        }  # fmt: skip
        self.write()

    def set(self, part: str, **values: Any) -> None:
        """Replace a part."""
        self.found[part] = values
        self.write()

    def write(self) -> None:
        """Write both files, each atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, text in (
            ("report.json", json.dumps(self.found, indent=1) + "\n"),
            ("report.md", self.markdown()),
        ):
            aside = self.folder / f"{name}.part"
            aside.write_text(text, encoding="utf-8")
            aside.replace(self.folder / name)

    def markdown(self) -> str:
        """The report as Markdown."""
        about, tests, table, training = self.found.values()
        lines = ["# Run on " + str(about["device"]), ""]
        lines += [f"- {key}: {value}" for key, value in about.items()]
        lines += ["", "## Tests", "", f"{tests['state']}. {tests.get('summary', '')}".rstrip()]
        lines += [f"- {line}" for line in tests.get("failed", [])]
        lines += [f"- {line}" for line in tests.get("skipped", [])]
        lines += ["", "## Table", "", f"{table['state']}. {table.get('problem', '')}".rstrip(), ""]
        if rows := table.get("rows"):
            lines += ["| | median | lowest | highest | |", "|---|---:|---:|---:|---|"]
            for row in rows:
                cells = [f"{row[key]:.3g} {row['unit']}" if key in row else "" for key in
                         ("median", "low", "high")]  # fmt: skip
                lines.append(f"| {row['name']} | {' | '.join(cells)} | {row['note']} |")
        lines += [
            "",
            "## Training",
            "",
            f"{training['state']}. {training.get('problem', '')}".rstrip(),
        ]
        lines += [f"- {line}" for line in training.get("plan", [])]
        if history := training.get("history"):
            lines += ["", "| epoch | phase | seconds | loss | CIDEr | BLEU-4 |",
                      "|---:|---|---:|---:|---:|---:|"]  # fmt: skip
            for entry in history:
                figures = [f"{entry[key]:.3f}" if key in entry else "" for key in
                           ("loss", "CIDEr", "BLEU-4")]  # fmt: skip
                lines.append(
                    f"| {entry['epoch']} | {entry['phase']} | {entry['seconds']:.0f} | "
                    + " | ".join(figures) + " |"
                )  # fmt: skip
        if parts := training.get("parts"):
            lines += ["", f"The checkpoint, in float16: {', '.join(parts)}; join them with `cat`."]
        return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it.

    Returns:
        0 if all parts finished, and no test failed.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--pack", type=Path, help="a folder of pack_gpu.py; default: this one")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu"), metavar="FOLDER")
    parser.add_argument("--device", help="cpu, cuda, mps; default: cuda where there is one")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try it out")
    parser.add_argument("--tests", help="what pytest selects with -k")
    parser.add_argument("overrides", nargs="*", metavar="SECTION.KEY=VALUE")
    options = parser.parse_args(arguments)
    end = time.monotonic() + 60 * options.minutes
    pack = (options.pack or ROOT).resolve()
    if not (pack / "pack.json").is_file():
        parser.error(f"{pack}: is not a folder of pack_gpu.py; give --pack")
    filled = fill_in(pack)
    import torch

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    gpu = torch.cuda.get_device_name() if device == "cuda" else device
    packed = json.loads((pack / "pack.json").read_text(encoding="utf-8"))
    about = {
        "device": gpu, "torch": torch.__version__, "cuda": torch.version.cuda,
        "python": platform.python_version(), "minutes": options.minutes,
        "from the pack": ", ".join(filled) or "nothing",
        "METEOR": "not computed: it needs Java, which is not packed",
        "Triton": "no kernel of our own",
        **{key: packed.get(key) for key in ("config", "images", "left out", "size",
                                            "webp quality", "code")},
    }  # fmt: skip
    report = Report(options.out.resolve(), about)
    settings = {
        "device": device, "quick": options.quick, "out": str(options.out.resolve()),
        "pack": str(pack), "overrides": options.overrides, "config": packed["config"],
    }  # fmt: skip
    ends = [time.monotonic() + share * 60 * options.minutes for share in (TESTS, TESTS + TABLE)]
    passed = run_tests(report, device, options.tests, ends[0])
    passed &= run_part(report, "table", "gpu_rows.py", settings, ends[1])
    passed &= run_part(report, "training", "gpu_training.py", settings, end - END)
    store_checkpoint(report)
    print((report.folder / "report.md").read_text(encoding="utf-8"))
    return 0 if passed else 1


def fill_in(pack: Path) -> list[str]:
    """Let this process and its children import missing packages from the pack.

    Returns:
        The names of these packages.
    """
    filled, paths = [], [str(ROOT)]
    for folder in sorted((pack / "site").glob("*")):
        if importlib.util.find_spec(folder.name) is None:
            filled.append(folder.name)
            paths.append(str(folder))
    for path in paths:
        sys.path.insert(0, path)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(paths + ([before] if before else []))
    return filled


def run_tests(report: Report, device: str, chosen: str | None, end: float) -> bool:
    """Run tests/test_gpu.py."""
    model = ROOT / "assets/model/everyday/model.safetensors"
    select = chosen or ""
    notes = []
    if not model.is_file():
        without = "not captions_in_half and not captions_maps"
        select = f"({select}) and {without}" if select else without
        notes = ["captions of a shipped model: not run, it is not in the pack"]
    command = [
        sys.executable, "-m", "pytest", "-v", "--no-header", "-rfEs", "--tb=short",
        "-p", "no:cacheprovider", "-o", "addopts=", "tests/test_gpu.py",
    ]  # fmt: skip
    report.set("tests", state="begun", skipped=notes)
    environment = {"SHOWATTEND_GPU": device, "PYTHONUNBUFFERED": "1"}
    code, said = run([*command, *(["-k", select] if select else [])], end, environment)
    (report.folder / "tests.log").write_text(said, encoding="utf-8")
    lines = said.splitlines()
    summary = next((x for x in reversed(lines) if re.search(r"\d+ (passed|failed|error)", x)), "")
    if code is None:  # before pytest could sum up
        passed, failed = (
            sum(f" {word} " in f"{line} " for line in lines) for word in ("PASSED", "FAILED")
        )
        summary = f"{passed} had passed, {failed} failed"
    report.set(
        "tests",
        state={0: "passed", None: "cut off"}.get(code, "failed"),
        summary=summary.strip("= "),
        failed=[line for line in lines if line.startswith(("FAILED", "ERROR"))],
        skipped=[*notes, *(line for line in lines if line.startswith("SKIPPED"))],
    )
    return code == 0


def run_part(report: Report, part: str, script: str, settings: dict[str, Any], end: float) -> bool:
    """Run a script that prints one JSON object per line, which replaces the part so far."""
    latest: dict[str, Any] = {}

    def heard(line: str) -> None:
        nonlocal latest
        if line.startswith("{"):
            latest = json.loads(line)
            report.set(part, state="begun", **latest)

    report.set(part, state="begun")
    given = json.dumps(settings | {"seconds": max(0.0, end - time.monotonic())})
    code, said = run([sys.executable, str(HERE / script), given], end + END / 2, {}, heard)
    (report.folder / f"{part}.log").write_text(said, encoding="utf-8")
    problem = "" if code in (0, None) else next(iter(said.splitlines()[-1:]), "")
    state = {0: "done", None: "cut off"}.get(code, "failed")
    report.set(part, **latest, state=state, **({"problem": problem} if problem else {}))
    return code == 0


def run(
    command: Sequence[str],
    end: float,
    environment: dict[str, str],
    heard: Callable[[str], None] | None = None,
) -> tuple[int | None, str]:
    """Run a command until it ends, or its time is up.

    Returns:
        Its exit code, None if its time was up; and its output.
    """
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        said = []
        late = False

        def stop() -> None:
            nonlocal late
            late = True
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(max(0.1, end - time.monotonic()), stop)
        timer.daemon = True
        timer.start()
        try:
            for line in process.stdout:
                said.append(line)
                if heard is not None:
                    heard(line)
            process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            timer.cancel()
    return (None if late else process.returncode), "".join(said)


def store_checkpoint(report: Report) -> None:
    """Split the checkpoint, if there is one."""
    file = report.folder / "checkpoint/model.safetensors"
    if not file.is_file():
        return
    content, names = file.read_bytes(), []
    for old in file.parent.glob(f"{file.name}.*"):
        old.unlink()
    for number, start in enumerate(range(0, len(content), PART), 1):
        part = file.with_name(f"{file.name}.{number}")
        part.write_bytes(content[start : start + PART])
        names.append(f"checkpoint/{part.name}")
    file.unlink()
    report.set("training", **report.found["training"], parts=names)


if __name__ == "__main__":
    sys.exit(main())
