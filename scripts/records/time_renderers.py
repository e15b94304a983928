"""The parts of the documents about times, memory and counts on one machine, from their records.

Unlike those of `renderers`, these records are not of a shipped model's captions, and another
machine has other ones. `BY_HAND` has their commands.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kept_records import ROOT, Records

sys.path.insert(0, str(ROOT / "scripts" / "benchmark"))

import page_times
import scaling
import simulate_cluster

FREE = 10.0
"""The images per second that captioning a folder with the default model should reach."""


class Command(NamedTuple):
    """How a record is made.

    Attributes:
        words: The command, without --output.
        minutes: About how long it takes on two idle cores.
        then: The command that keeps the record, if the first has no --output.
    """

    words: str
    minutes: int
    then: str = ""


BY_HAND = {
    "benchmark": Command("python scripts/benchmark/benchmark.py", 12),
    "family": Command(
        "showattend compare configs/family/*.yaml --out runs/family --instances "
        "data/coco_subset/instances.json --images data/coco_subset/images "
        "--captions data/coco_subset/captions_train.json",
        480,
        "python scripts/records/family_record.py runs/family",
    ),
    "family_cost": Command("python scripts/benchmark/benchmark.py family", 3),
    "growth": Command("python scripts/benchmark/benchmark.py --growth", 15),
    "rates": Command("python scripts/benchmark/scaling.py", 30),
    "streaming": Command("python scripts/benchmark/streaming.py", 15),
    "messages": Command("torchrun --nproc-per-node 2 scripts/benchmark/messages.py", 2),
    "workers": Command("python scripts/benchmark/cluster_rate.py", 3),
    "costs": Command("python scripts/benchmark/simulate_cluster.py --rate 10", 2),
    "page_times": Command("python scripts/benchmark/page_times.py", 2),
    "fuzz": Command("python -m tests.fuzz", 7),
    "kills": Command("python -m tests.kills", 60),
    "first_minutes": Command("python scripts/docs/first_minutes.py", 5),
}
"""The commands of records that `make records` does not make, by the record's name."""
MARKED = (
    "growth",
    "rates",
    "streaming",
    "messages",
    "workers",
    "costs",
    "page_times",
    "fuzz",
    "kills",
)
"""Those whose rows in docs/reproduce.md give a reason until the record is kept."""


def machine(record: Mapping[str, Any]) -> str:
    """Describe the machine of a record in a few words."""
    made = record["provenance"]
    how, torch = made["machine"], made["packages"]["torch"]
    parts = [f"{how['processors']} cores of {how['processor']}"]
    if "threads" in how:
        parts.append(f"{how['threads']} threads")
    return ", ".join([*parts, f"torch {torch}"])


def link(name: str) -> Callable[[Records], str]:
    """The cell of docs/reproduce.md that says why there is no record, once there is one."""
    return lambda _: f"[{name}](#records)"


def growth(records: Records) -> str:
    """Milliseconds per image for each value of each varied size, and the factors between them."""
    record = records["growth"]
    found = record["milliseconds an image"]
    what = {
        "locations": ("Grid", "cells"),
        "vocabulary": ("Vocabulary", "words"),
        "beams": ("Beams", "beams"),
        "images": ("Batch", "images at once"),
    }
    lines = [f"Milliseconds per image on {machine(record)}; the factor is between the ends.", ""]
    for name, (title, unit) in what.items():
        each = found[name]
        for kind in ("search", "training"):
            if kind not in each:
                continue
            curve = each[kind]
            values = ", ".join(
                f"{value:,}{f' {unit}' if number == 0 else ''}: {cost:.3g}"
                for number, (value, cost) in enumerate(zip(each["values"], curve, strict=True))
            )
            factor = max(curve[0], curve[-1]) / min(curve[0], curve[-1])
            lines.append(f"- **{title}**, {kind}: {values} ({factor:.1f} times).")
    return "\n".join(lines)


def rates(records: Records) -> str:
    """The rates of the stages from photographs to a model."""
    record = records["rates"]
    found = [scaling.Rate(**each) for each in record["rates"]]
    lines = [f"{record['machine']}; {machine(record)}; {record['images']} photographs.", ""]
    lines += [*scaling.HEAD, *map(scaling.line, found)]
    speed = next((each for each in found if each.what.startswith("everyday")), None)
    if speed is not None:
        met = "met" if speed.images_per_second >= FREE else "not met"
        bar = f"The bar for `everyday` is {FREE:g} photographs per second on two cores: {met}."
        lines += ["", bar]
    return "\n".join(lines)


def two_processes(records: Records) -> str:
    """How much faster two processes train than one."""
    found = {
        each["what"].split()[0]: each["images_per_second"]
        for each in records["rates"]["rates"]
        if each["stage"] == "processes"
    }
    return f"{found['two'] / found['one']:.2f} times the images per second"


def projection(records: Records) -> str:
    """Hours and gigabytes for large data sets at the measured rates."""
    found = [scaling.Rate(**each) for each in records["rates"]["rates"]]
    return "\n".join(scaling.projection(found))


def memory(records: Records) -> str:
    """The private memory of training on small and large sets of shards."""
    record = records["streaming"]
    lines = ["| training images | shards | private memory of the process |", "|---:|---:|---:|"]
    for images, megabytes in record["private megabytes"].items():
        shards = int(images) // 1000
        lines.append(f"| {int(images):,} | {shards:,} | {megabytes:.0f} MB |")
    return "\n".join([*lines, "", f"Measured on {machine(record)}."])


def shards_against_folder(records: Records) -> str:
    """Rates of training from shards and from a folder."""
    record = records["streaming"]
    titles = {
        "features": "stored features (cache or shards)",
        "images": "images, encoded in every epoch",
    }
    lines = ["| | images per second, folder | shards | ratio | by processor time |"]
    lines.append("|---|---:|---:|---:|---:|")
    for kind, places in record["images a second"].items():
        middle = {place: statistics.median(each) for place, each in places.items()}
        ratios = (middle[f"shards{unit}"] / middle[f"folder{unit}"] for unit in ("", " cpu"))
        cells = [f"{middle[place]:.1f}" for place in ("folder", "shards")]
        cells += [f"{ratio:.2f}" for ratio in ratios]
        lines.append(f"| {titles[kind]} | {' | '.join(cells)} |")
    count = f"{record['images']} photographs, {record['repeats']} runs of each"
    return "\n".join([*lines, "", f"{count}, on {machine(record)}."])


def messages(records: Records) -> str:
    """The time of a step with and without messages between processes."""
    record = records["messages"]
    titles = {
        "alone": "nothing is sent",
        "one message": "one message after the backward pass",
        "overlapping": "messages during the backward pass (what training does)",
    }
    lines = ["| | step, median | from, to |", "|---|---:|---:|"]
    for name, seconds in record["seconds"].items():
        middle, low, high = (
            1000 * each for each in (statistics.median(seconds), min(seconds), max(seconds))
        )
        lines.append(f"| {titles[name]} | {middle:,.0f} ms | {low:,.0f} to {high:,.0f} |")
    steps = len(record["seconds"]["alone"])
    about = (
        f"{steps} steps of each, in turn: {record['processes']} processes, 16 images with 5 "
        f"captions each, {record['megabytes']:.0f} MB of gradients, {record['precision']}, on "
        f"{machine(record)}. How much overlapping messages save depends on the network."
    )
    return "\n".join([*lines, "", about])


def workers(records: Records) -> str:
    """The rate of one worker of a cluster and of two."""
    record = records["workers"]
    rows: Sequence[Mapping[str, Any]] = record["rows"]
    first = rows[0]["images_per_second"]
    lines = ["| workers | images per second | times the first | processor seconds per image |"]
    lines.append("|---:|---:|---:|---:|")
    for each in rows:
        rate, seconds = each["images_per_second"], each["processor_seconds"]
        lines.append(f"| {each['workers']} | {rate:.2f} | {rate / first:.2f} | {seconds:.3f} |")
    about = f"{record['images']} photographs, on {machine(record)}; load at the end: "
    return "\n".join([*lines, "", f"{about}{record['load']:.1f}."])


def costs(records: Records) -> str:
    """The simulated cost of captioning very many photographs."""
    record = records["costs"]
    return "\n".join([*simulate_cluster.HEAD, *map(simulate_cluster.line, record["rows"])])


def waits(records: Records) -> str:
    """How long one waits on the page of `serve`."""
    record = records["page_times"]
    found = [page_times.Wait(**each) for each in record["waits"]]
    rounds = len(found[0].seconds)
    about = f"Medians of {rounds} rounds, with the minimum and maximum, on {machine(record)}."
    head = ("| | time | bar | answer |", "|---|---|---|---|")
    return "\n".join([*head, *map(str, found), "", about])


def fuzz(records: Records) -> str:
    """What became of the mutated inputs of each target."""
    record = records["fuzz"]
    targets: Sequence[Mapping[str, Any]] = record["targets"]
    sums = {key: sum(each[key] for each in targets) for key in ("inputs", "read", "refused")}
    sums |= {key: sum(each[key] for each in targets) for key in ("faults", "seconds")}
    worst = {key: max(each[key] for each in targets) for key in ("slowest", "memory")}
    lines = ["| target | inputs | read | refused | faults | CPU seconds | slowest | peak |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|--:|")
    for each in (*targets, {"target": "all", **sums, **worst}):
        lines.append(
            f"| {each['target']} | {each['inputs']:,} | {each['read']:,} | {each['refused']:,} "
            f"| {each['faults']} | {each['seconds']:.0f} | {each['slowest'] * 1000:,.0f} ms "
            f"| {each['memory'] / 1e6:,.0f} MB |"
        )
    minutes = record["seconds"] / 60
    return "\n".join([*lines, "", f"It took {minutes:.0f} minutes on {machine(record)}."])


KILLED = {
    "training": "training",
    "captioning": "captioning a folder of 100 photographs",
    "shards": "writing shards of 40 photographs (`--only shards`)",
    "parts": "captioning 40 photographs into parts (`--only parts`)",
    "describing": "writing descriptions into and next to 6 photographs (`--only describing`)",
}


def kills(records: Records) -> str:
    """The kills of each kind of work, and what was wrong after them."""
    record = records["kills"]
    lines = ["| | kills | runs that finished | faults | minutes |", "|---|--:|--:|--:|--:|"]
    for name, title in KILLED.items():
        if each := record["kinds"].get(name):
            cells = [each["kills"], each["runs"], each["faults"], round(each["seconds"] / 60)]
            lines.append(f"| {title} | {' | '.join(f'{cell:.0f}' for cell in cells)} |")
    about = (
        "A fault is a line lost or repeated, a file that does not load, weights that differ, or a "
        "file left behind."
    )
    return "\n".join([*lines, "", f"{about} On {machine(record)}."])


def commands(kept: Iterable[str]) -> str:
    """The commands of the records that `make records` does not make, and whether each is kept."""
    way = "command, with `--output docs/records/RECORD.json` or followed by another"
    lines = [f"| record | {way} | minutes | kept |"]
    lines.append("|---|---|---:|---|")
    there = set(kept)
    for name, command in BY_HAND.items():
        state = "yes" if name in there else "not yet"
        words = f"`{command.words}`" + (f", `{command.then}`" if command.then else "")
        lines.append(f"| {name} | {words} | {command.minutes} | {state} |")
    return "\n".join(lines)
