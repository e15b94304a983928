"""Tools of scripts/benchmark/benchmark.py: timing, rates of the machine, tables."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from showattend.system.provenance import stamp

ROOT = Path(__file__).parents[2]

BARS = {
    "training step, fp32": 8.0,
    "training step, bf16 against fp32": 14.0,
    "training step, bf16 and torch.compile against fp32": 20.0,
    "search, fp32": 8.0,
    "search, bf16 against fp32": 16.0,
    "search of the Transformer, its cache against reading all words again": 3.0,
    "epoch from the cache, efficientnet_lite0, fp32": 10.0,
    "the same, efficientnet_lite0, bf16 against fp32": 10.0,
    "epoch from the cache, resnet101, fp32": 10.0,
    "the same, resnet101, bf16 against fp32": 10.0,
}
"""The least ratio that is our goal, by the name of the row."""
LIMITS = {
    "showattend caption photo.jpg against import torch, torchvision": 1.1,
    "showattend caption photo.jpg, processor time": 1.1,
}
"""The most that ours may take, as a multiple of usual, by the name of the row."""


@dataclass(frozen=True)
class Spread:
    """The median, minimum and maximum of some measurements."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise one value or more."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def __str__(self) -> str:
        """Format with three significant digits."""
        return format(self, ".3g")

    def __format__(self, digits: str) -> str:
        """Format each number, as f"{number:.2f}" does."""
        digits = digits or ".3g"
        if self.count == 1:
            return f"{self.median:{digits}}"
        return f"{self.median:{digits}} ({self.low:{digits}} to {self.high:{digits}})"


def alternate(
    contenders: Mapping[str, Callable[[], Any]], repeats: int, warm: int = 1
) -> dict[str, list[float]]:
    """Time contenders in turn, so that a disturbance of the machine affects all of them.

    Args:
        contenders: The functions to call, by name.
        repeats: Number of measured rounds.
        warm: Number of rounds before them.

    Returns:
        Seconds of each round, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(warm + repeats):
        for name, work in contenders.items():
            started = time.perf_counter()
            work()
            if number >= warm:
                seconds[name].append(time.perf_counter() - started)
    return seconds


@dataclass(frozen=True)
class Rates:
    """The rates of the machine, measured in this run.

    Attributes:
        fp32: Floating-point operations per second of a large float32 product, counting a
            multiplication and an addition as two.
        bf16: The same in bfloat16.
        copy: Bytes per second of a copy, reading and writing added up.
        elementwise: Sums or products of two float32 numbers per second, in the cache.
    """

    fp32: float
    bf16: float
    copy: float
    elementwise: float

    @classmethod
    def measure(cls, size: int = 2048, repeats: int = 5) -> Rates:
        """Measure the best of several repeats, since a floor is a lower bound."""

        def products(dtype: torch.dtype) -> float:
            a = torch.rand(size, size).to(dtype)
            out = torch.empty_like(a)
            return min(alternate({"": lambda: torch.mm(a, a, out=out)}, repeats)[""])

        source = torch.zeros(size * size * 16)
        target = torch.zeros_like(source)
        copied = min(alternate({"": lambda: target.copy_(source)}, repeats)[""])
        threads, small = torch.get_num_threads(), torch.ones(2**16)

        def sums() -> None:
            for _ in range(100):
                small.add_(small, alpha=0.5)

        torch.set_num_threads(1)  # one thread works on so few numbers anyway
        added = min(alternate({"": sums}, repeats)[""]) / 100
        torch.set_num_threads(threads)
        operations = 2 * size**3
        return cls(
            operations / products(torch.float32),
            operations / products(torch.bfloat16),
            2 * source.numel() * source.element_size() / copied,
            threads * small.numel() / added,
        )

    def floor(self, operations: float, moved: float, low: bool, elementwise: float = 0.0) -> float:
        """The least time in seconds for this much arithmetic, or for moving this many bytes.

        Args:
            operations: Of products of matrices.
            moved: Bytes.
            low: Whether the products are in bfloat16.
            elementwise: Operations on single numbers, which are float32 in either case.
        """
        products = operations / (self.bf16 if low else self.fp32)
        return max(products + elementwise / self.elementwise, moved / self.copy)


@dataclass
class Row:
    """One comparison.

    Attributes:
        name: The name of the comparison.
        ours: Our seconds or megabytes.
        usual: The same for the usual implementation.
        ratio: Usual divided by ours, per round.
        floor: The least time in seconds for our arithmetic or memory traffic.
        bar: The goal for the ratio; with ``at_most``, the limit for ours divided by usual.
        note: What was checked, and other remarks.
        extra: Further figures; those of `cost_markdown` put the row into a table of their own.
    """

    name: str
    ours: Spread
    usual: Spread | None = None
    ratio: Spread | None = None
    floor: float | None = None
    bar: float | None = None
    at_most: bool = False
    unit: str = "s"
    note: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> float | None:
        """Floor divided by ours."""
        return None if self.floor is None else self.floor / self.ours.median

    @property
    def met(self) -> bool | None:
        """Whether the ratio reaches the bar."""
        if self.bar is None or self.ratio is None:
            return None
        if self.at_most:
            return 1 / self.ratio.median <= self.bar
        return self.ratio.median >= self.bar


def goal(name: str) -> dict[str, Any]:
    """The bar of a row, as values of `Row`; they are goals of the code, not of a measurement."""
    if name in LIMITS:
        return {"bar": LIMITS[name], "at_most": True}
    return {"bar": BARS.get(name), "at_most": False}


def row(
    name: str,
    seconds: Mapping[str, Sequence[float]],
    ours: str = "ours",
    usual: str = "usual",
    **values: Any,
) -> Row:
    """Make a row from the result of `alternate`, comparing the contender ours with usual."""
    values = goal(name) | values
    mine, theirs = seconds[ours], seconds.get(usual)
    if not theirs:
        return Row(name, Spread.of(mine), **values)
    ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
    return Row(name, Spread.of(mine), Spread.of(theirs), Spread.of(ratios), **values)


def as_json(rows: Sequence[Row], about: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Convert to plain values for JSON.

    Args:
        rows: The rows.
        about: The machine, from `machine`.
        device: The device that computed them.
    """
    return {
        "about": dict(about),
        "provenance": stamp(device),
        "rows": [asdict(each) | {"share": each.share, "met": each.met} for each in rows],
    }


def from_json(values: Mapping[str, Any]) -> Row:
    """Rebuild a row of `as_json`, with the bar that the code has today."""
    spreads = {key: values[key] and Spread(**values[key]) for key in ("ours", "usual", "ratio")}
    known = {each.name for each in fields(Row)}
    made = {key: values[key] for key in known & values.keys()}
    return Row(**made | spreads | goal(values["name"]))


def as_markdown(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """Format a table with a line about the machine."""
    lines = [", ".join(f"{key} {value}" for key, value in about.items()) + ".", ""]
    costs = [each for each in rows if each.extra]
    rows = [each for each in rows if not each.extra]
    if costs and not rows:
        return "\n".join(lines) + "\n" + cost_markdown(costs)
    lines += [
        "| | ours | usual | ratio | bar | floor | share | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in rows:
        bar = ""
        if each.bar is not None:
            wanted = f"ours ≤ {each.bar:g} × usual:" if each.at_most else f"≥ {each.bar:g}"
            bar = f"{wanted} {'met' if each.met else 'not met'}"
        unit = f" {each.unit}"
        cells = (
            each.name,
            str(each.ours) + unit,
            "" if each.usual is None else str(each.usual) + unit,
            "" if each.ratio is None else f"{each.ratio:.2f}",
            bar,
            "" if each.floor is None else f"{each.floor:.3g} s",
            "" if each.share is None else f"{each.share:.0%}",
            each.note,
        )
        lines.append("| " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    return f"{text}\n{cost_markdown(costs)}" if costs else text


def cost_markdown(rows: Sequence[Row]) -> str:
    """Format the cost of decoders: rows whose `Row.extra` has what `family_rows.family` measures.

    Args:
        rows: Seconds of a training step as ours, and those of the reference as usual.
    """
    lines = [
        "| | training step, ms | against plain additive | search, ms per photograph | MB per step "
        "| million parameters |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for each in rows:
        extra, ratio = each.extra, each.ratio
        search = Spread(**extra["search"])
        cells = (
            each.name,
            f"{1000 * each.ours.median:.0f}",
            "" if ratio is None else f"{1 / ratio.median:.2f}",
            f"{1000 * search.median:.1f}",
            f"{extra['megabytes']:.0f}",
            f"{extra['parameters'] / 1e6:.1f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *dict.fromkeys(each.note for each in rows if each.note)]
    return "\n".join(lines) + "\n"


def machine(rates: Rates, threads: int) -> dict[str, Any]:
    """Describe the machine."""
    model = ""
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
    return {
        "processor": model or platform.processor() or platform.machine(),
        "threads": threads,
        "torch": torch.__version__,
        "fp32 products": f"{rates.fp32 / 1e9:.0f} GF/s",
        "bf16 products": f"{rates.bf16 / 1e9:.0f} GF/s",
        "copy": f"{rates.copy / 1e9:.0f} GB/s",
        "elementwise": f"{rates.elementwise / 1e9:.1f} G/s",
    }


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would; raises if it fails."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )


def peak() -> float:
    """The peak memory of this process in megabytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # resource reports at least the memory of the parent process
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peak_megabytes(*command: str) -> float:
    """The peak memory of a Python command, which prints it in its last line."""
    return float(run(sys.executable, *command).stdout.split()[-1])
