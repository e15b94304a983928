"""Simulates the cost of captioning very many photographs on a cluster.

python scripts/benchmark/simulate_cluster.py --rate 5 [--images N] [--hours H] [--output FILE]

A discrete-event simulation of ``showattend caption --engine ray``: the package's own `Dispatcher`
assigns parts to workers whose speed, delays and losses are drawn from the assumptions below. --rate
is the measured images per second of one worker. Prints a table, the median of three seeds.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from showattend.export.cluster.dispatching import Dispatcher
from showattend.export.cluster.partition import MOST, Part
from showattend.system.files import write_json
from showattend.system.provenance import portable, remember_command, stamp

SEEDS = (0, 1, 2)


class Assumptions(NamedTuple):
    """The known and assumed properties of a cluster.

    Attributes:
        rate: Images per second of a worker on an ordinary machine (measured).
        part: Images per part.
        start: Seconds until a new worker has loaded the model.
        machines: Spread of the speed of machines, the standard deviation of its logarithm.
        slow: Share of machines that are slow: a failing disk, a noisy neighbour.
        slowness: The factor by which they take longer.
        parts: Spread of the time of a part on one machine, as ``machines``.
        between_losses: Mean hours until a worker is lost; 0 for never.
        replacement: Seconds until a lost machine is replaced.
        look: Seconds between checks for late parts.
        price: Dollars per worker and hour; a worker is one core.
    """

    rate: float
    part: int = MOST
    start: float = 30.0
    machines: float = 0.1
    slow: float = 0.02
    slowness: float = 3.0
    parts: float = 0.1
    between_losses: float = 200.0
    replacement: float = 180.0
    look: float = 10.0
    price: float = 0.05


class Cost(NamedTuple):
    """The cost of a run.

    Attributes:
        hours: The time from its start to its last part.
        worker_hours: The hours of all workers, idle or not.
        wasted: Share of the worker hours whose results were lost or duplicates.
        idle: Share in which workers had nothing to do or were still starting.
        losses: The number of lost workers.
        copies: Parts that were started a second time because they were late.
        parts: Finished parts, each counted once.
    """

    hours: float
    worker_hours: float
    wasted: float
    idle: float
    losses: int
    copies: int
    parts: int


class _Cluster:
    """Workers, and a queue of their events."""

    def __init__(self, given: Assumptions, images: int, workers: int, seed: int, twice: bool):
        self.given, self.draw, self.workers = given, random.Random(seed), workers
        self.count = -(-images // given.part)
        self.last = images - (self.count - 1) * given.part  # images of the last part
        parts = (Part(number) for number in range(self.count))
        self.dispatcher = Dispatcher(parts, twice=twice)
        self.speed: dict[int, float] = {}
        self.idle: set[int] = set()
        self.has: dict[int, tuple[Part, float]] = {}  # a worker's part and its start time
        self.begun: set[int] = set()
        self.events: list[tuple[float, int, str, int]] = []
        self.order = itertools.count()
        self.busy = self.wasted = 0.0
        self.losses = self.copies = self.done = 0

    def run(self) -> Cost:
        for worker in range(self.workers):
            self.later(self.given.start, "ready", worker)
        now, looks = 0.0, False
        while not self.dispatcher.is_done:
            now, _, kind, worker = heapq.heappop(self.events)
            if kind == "look":
                looks = False
            elif kind == "ready":
                self.speed[worker] = self.new_speed()
                self.idle.add(worker)
            elif kind == "lost":
                self.end(worker, now, kept=False)
                self.dispatcher.lose(worker)
                self.losses += 1
                self.later(now + self.given.replacement + self.given.start, "ready", worker)
            else:
                part = self.dispatcher.finish(worker, now)
                self.end(worker, now, kept=part is not None)
                self.done += part is not None
                self.idle.add(worker)
            self.give(now)
            if self.idle and not looks:  # a part may be late by then
                looks = True
                self.later(now + self.given.look, "look", -1)
        for worker in list(self.has):  # copies of finished parts
            self.end(worker, now, kept=False)
        total = now * self.workers
        return Cost(
            now / 3600, total / 3600, self.wasted / total, 1 - self.busy / total,
            self.losses, self.copies, self.done,
        )  # fmt: skip

    def later(self, time: float, kind: str, worker: int) -> None:
        heapq.heappush(self.events, (time, next(self.order), kind, worker))

    def new_speed(self) -> float:
        slow = self.given.slowness if self.draw.random() < self.given.slow else 1.0
        return self.draw.lognormvariate(0, self.given.machines) / slow

    def give(self, now: float) -> None:
        for worker in sorted(self.idle):
            part = self.dispatcher.give(worker, now)
            if part is None:
                return
            self.idle.discard(worker)
            self.has[worker] = (part, now)
            self.copies += part.number in self.begun and any(
                other != worker and each.number == part.number
                for other, (each, _) in self.has.items()
            )
            self.begun.add(part.number)
            images = self.last if part.number == self.count - 1 else self.given.part
            seconds = images / (self.given.rate * self.speed[worker])
            seconds *= self.draw.lognormvariate(0, self.given.parts)
            mean = self.given.between_losses * 3600
            lost = self.draw.expovariate(1 / mean) if mean else float("inf")
            self.later(now + min(seconds, lost), "lost" if lost < seconds else "done", worker)

    def end(self, worker: int, now: float, kept: bool) -> None:
        seconds = now - self.has.pop(worker)[1]
        self.busy += seconds
        self.wasted += 0.0 if kept else seconds


def simulate(
    given: Assumptions, images: int, workers: int, seed: int = 0, twice: bool = True
) -> Cost:
    """Simulate one run.

    Args:
        given: The assumptions.
        images: The number of photographs.
        workers: The number of workers, of one core each.
        seed: The random seed.
        twice: Whether late parts are started a second time.
    """
    return _Cluster(given, images, workers, seed, twice).run()


def scenarios(given: Assumptions) -> list[tuple[str, Assumptions, bool]]:
    """The scenarios: name, assumptions, and whether late parts are started twice."""
    calm = given._replace(machines=0.0, slow=0.0, parts=0.0, between_losses=0.0)
    often = given._replace(between_losses=given.between_losses / 40)
    return [
        ("nothing happens", calm, True),
        ("stragglers, losses", given, True),
        ("the same, nothing begun twice", given, False),
        ("losses 40 times as often", often, True),
    ]


HEAD = (
    "| workers | what happens | hours | worker hours | wasted | idle | lost | dollars |",
    "|---:|---|---:|---:|---:|---:|---:|---:|",
)


def line(row: Mapping[str, Any]) -> str:
    """Format the cost of a scenario as a row of the table."""
    return (
        f"| {row['workers']:,} | {row['name']} | {row['hours']:,.1f} | {row['worker_hours']:,.0f} "
        f"| {row['wasted']:.1%} | {row['idle']:.1%} | {row['losses']:,.0f} "
        f"| {row['dollars']:,.0f} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    defaults = Assumptions._field_defaults
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, required=True, help="measured images per second")
    parser.add_argument("--images", type=int, default=100_000_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--hours", type=float, default=defaults["between_losses"],
                        help="mean hours until a worker is lost")  # fmt: skip
    parser.add_argument("--price", type=float, default=defaults["price"],
                        help="dollars per worker and hour")  # fmt: skip
    parser.add_argument("--output", type=Path, help="file for the record")
    options = parser.parse_args(arguments)
    given_words = sys.argv[1:] if arguments is None else arguments
    remember_command(given_words, "benchmark/simulate_cluster.py")
    given = Assumptions(options.rate, between_losses=options.hours, price=options.price)
    print(f"{options.images:,} images, {given}\n")
    print(*HEAD, sep="\n")
    rows: list[dict[str, Any]] = []
    for workers in options.workers:
        for name, assumptions, twice in scenarios(given):
            seeds = SEEDS if assumptions.parts else SEEDS[:1]  # without chance all are alike
            runs = [simulate(assumptions, options.images, workers, s, twice) for s in seeds]
            cost = sorted(runs, key=lambda each: each.hours)[len(runs) // 2]
            lost = statistics.median(each.losses for each in runs)
            row = {"workers": workers, "name": name} | cost._asdict()
            rows.append(row | {"losses": lost, "dollars": cost.worker_hours * given.price})
            print(line(rows[-1]), flush=True)
    if options.output:
        record = {
            "images": options.images,
            "assumptions": given._asdict(),
            "seeds": len(SEEDS),
            "rows": rows,
            "provenance": stamp(),
        }
        write_json(options.output, portable(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
