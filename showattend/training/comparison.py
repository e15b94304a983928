"""The results of a comparison: rows, figures and their intervals, as values and as Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from showattend.config import Config
from showattend.data.records import Record
from showattend.evaluation.scores.statistics import (
    METRICS,
    over_seeds,
    paired_difference,
    welch_difference,
)
from showattend.model.score_settings import describe_settings, search_settings
from showattend.system.files import write_text
from showattend.system.provenance import stamp
from showattend.training.comparison_tables import (
    Table,
    cost_tables,
    image_difference_tables,
    length_tables,
    map_tables,
    seed_tables,
)

HEADER = ("name", *METRICS, "ΔCIDEr", "distinct", "minutes")

Run = tuple[str, int]
"""The name of a row, and a seed."""


@dataclass(frozen=True)
class Row:
    """One config of a comparison.

    Attributes:
        name: The file's name without the suffix.
        file: The path of the file, as given.
        description: The file's first comment line.
        config: The config with overrides applied; seed and folder are set for each run.
    """

    name: str
    file: Path
    description: str
    config: Config

    def run(self, out: Path, seed: int) -> Config:
        """Return the config of the run with this seed, in a folder below ``out``."""
        folder = str(out / self.name / f"seed-{seed}")
        return replace(self.config, train=replace(self.config.train, out=folder, seed=seed))


@dataclass
class Sample:
    """A validation photograph with its human captions and those of every row.

    Attributes:
        record: The photograph and its human captions.
        said: For each row that could caption it: the row's name, caption, and figure as JPEG.
    """

    record: Record
    said: list[tuple[str, str, bytes]] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """Convert to plain values, without figures."""
        said = {name: text for name, text, _ in self.said}
        people = list(self.record.captions)
        return {"image": str(self.record.path), "references": people, "captions": said}


@dataclass
class Comparison:
    """The results so far.

    Attributes:
        rows: The configs, in the order given.
        out: The folder of the comparison.
        seeds: The number of runs per config.
        command: The command line that makes the comparison.
        results: The content of ``results.json`` for each finished run.
        failures: The reason, in one line, for each failed run.
        grounding: The result of `ground_run` for each finished run, if objects were given.
        samples: Photographs that all rows captioned, once everything else is done.
    """

    rows: list[Row]
    out: Path
    seeds: int
    command: str
    results: dict[Run, dict[str, Any]] = field(default_factory=dict)
    failures: dict[Run, str] = field(default_factory=dict)
    grounding: dict[Run, dict[str, Any]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    def of(self, row: Row) -> dict[int, dict[str, Any]]:
        """Return the results of a row's finished runs, by seed."""
        found = ((seed, self.results.get((row.name, seed))) for seed in range(self.seeds))
        return {seed: results for seed, results in found if results is not None}

    def runs(self) -> dict[Run, Config]:
        """Return all runs, finished or not, with their configs."""
        every = ((row, seed) for row in self.rows for seed in range(self.seeds))
        return {(row.name, seed): row.run(self.out, seed) for row, seed in every}


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean, and half the range; None instead of the latter for a single value."""
    mean = sum(values) / len(values)
    return mean, (max(values) - min(values)) / 2 if len(values) > 1 else None


def write(comparison: Comparison) -> None:
    """Write ``comparison.json`` and ``comparison.md``.

    Raises:
        UserError: They cannot be written.
    """
    made = {"provenance": stamp()}  # of the tables; each run has its own
    values = json.dumps(summarize(comparison) | made, indent=1) + "\n"
    write_text(comparison.out / "comparison.json", values)
    write_text(comparison.out / "comparison.md", to_markdown(comparison))


def summarize(comparison: Comparison) -> dict[str, Any]:
    """Convert the comparison to plain values."""
    rows = [_summary(row, comparison) for row in comparison.rows]
    alike = [len(row["references"]) == 1 and row["references"] == rows[0]["references"]
             for row in rows]  # fmt: skip
    of_first = _images(comparison.of(comparison.rows[0]))
    for row, config, comparable in zip(rows, comparison.rows, alike, strict=True):
        cider, first = (each["figures"].get("CIDEr", {}).get("mean") for each in (row, rows[0]))
        row["CIDEr_difference"] = cider - first if comparable else None
        mine = _images(comparison.of(config))
        if comparable and row is not rows[0] and mine.keys() == of_first.keys():
            row["differences"] = paired_difference(
                list(mine.values()), [of_first[key] for key in mine], len(rows) - 1
            )
        if comparable and row is not rows[0]:
            row["seed_differences"] = _over_seeds(row, rows[0], len(rows) - 1)
    return {
        "command": comparison.command,
        "seeds": comparison.seeds,
        "spread": "half the range",
        "rows": rows,
        "failed": {title(run): problem for run, problem in comparison.failures.items()},
        "notes": notes(comparison),
        "samples": [each.plain() for each in comparison.samples],
    }


def _summary(row: Row, comparison: Comparison) -> dict[str, Any]:
    found = comparison.of(row)
    runs = list(found.values())
    columns = {name: [run["metrics"].get(name) for run in runs] for name in METRICS}
    columns["distinct"] = [run["wording"]["distinct"] for run in runs]
    columns["minutes"] = [run["seconds"] / 60 for run in runs]
    figures = {}
    for name, values in columns.items():
        if values and None not in values:  # METEOR needs Java
            mean, spread = mean_and_spread(values)
            figures[name] = over_seeds(values) | {"mean": mean, "spread": spread, "values": values}
    return {
        "name": row.name,
        "config": str(row.file),
        "description": row.description,
        "objective": objective(row.config),
        "seeds": list(found),
        "runs": [_run(seed, results) for seed, results in found.items()],
        "figures": figures,
        "best_epochs": [run["best"]["epoch"] for run in runs],
        "epochs": [run["epochs"] for run in runs],
        "wording": [run["wording"] for run in runs],
        "references": sorted({run["evaluation"]["references"] for run in runs}),
        "cost": [run.get("cost") for run in runs],
        "lengths": [run.get("lengths") for run in runs],
        "grounding": [comparison.grounding.get((row.name, seed)) for seed in found],
    }


def _run(seed: int, results: Mapping[str, Any]) -> dict[str, Any]:
    """How a run's figures were made: the provenance of its captions, and of its training."""
    return {
        "seed": seed,
        "device": results["machine"].get("device"),
        "trained_in": results["machine"].get("precision"),
        "scored": results.get("provenance"),
        "trained": results.get("training"),
    }


def _over_seeds(row: Mapping[str, Any], first: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """The differences of a row's metrics to those of the first, with Welch's interval."""
    found = {}
    for metric in METRICS:
        one, other = (each["figures"].get(metric, {}).get("values", []) for each in (row, first))
        if (difference := welch_difference(one, other, rows)) is not None:
            found[metric] = difference
    return found


def objective(config: Config) -> str:
    """Describe the objective of a config in a few words."""
    parts = []
    if config.train.epochs:
        parts.append(f"cross-entropy, {config.train.epochs} epochs")
    if reward := config.self_critical.epochs:
        parts.append(f"CIDEr-D as the reward, {reward} epochs")
    return ", then ".join(parts)


def _images(runs: Mapping[int, Mapping[str, Any]]) -> dict[Any, dict[str, Any]]:
    """Return the mean scores and the sum of the BLEU counts of each image over all seeds."""
    gathered: dict[Any, list[Mapping[str, Any]]] = {}
    for run in runs.values():
        for each in run["captions"]:
            gathered.setdefault((each.get("set"), str(each["image_id"])), []).append(each)
    found: dict[Any, dict[str, Any]] = {}
    for key, several in gathered.items():
        if len(several) < len(runs) or any("scores" not in each for each in several):
            continue
        names = several[0]["scores"].keys()
        mean = {name: sum(each["scores"][name] for each in several) / len(several)
                for name in names if all(name in each["scores"] for each in several)}  # fmt: skip
        found[key] = {"scores": mean, "set": key[0]}
        if all("bleu" in each for each in several):
            found[key]["bleu"] = [sum(counts) for counts in zip(*(e["bleu"] for e in several),
                                                                strict=True)]  # fmt: skip
    return found


def cells(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return the rows of the main table as text, under `HEADER`; a dash for a missing value."""
    table = []
    for number, row in enumerate(summarize(comparison)["rows"]):
        shown = {"name": row["name"]}
        for name, figure in row["figures"].items():
            figures = [figure[key] for key in ("mean", "spread") if figure[key] is not None]
            shown[name] = " ± ".join(f"{x:.{1 if name == 'minutes' else 3}f}" for x in figures)
        if row["CIDEr_difference"] is not None:
            shown["ΔCIDEr"] = f"{row['CIDEr_difference']:+.3f}" if number else ""
        table.append(tuple(shown.get(column, "-") for column in HEADER))
    return table


def caption(comparison: Comparison) -> str:
    """Explain the main table in a sentence."""
    several = f"Mean ± half the range (highest minus lowest) of {comparison.seeds} seeds"
    told = several if comparison.seeds > 1 else "One run each, seed 0"
    columns = "ΔCIDEr: difference to the first row; distinct: share of different captions"
    return f"{told}. {columns}; minutes: training time."


def notes(comparison: Comparison) -> list[str]:
    """Return the lines below the table: how it was made, and what is missing."""
    lines = [f"Command: {comparison.command}"]
    told: dict[str, dict[str, list[str]]] = {}  # by label and text, the names of the rows
    references = set()
    for row in comparison.rows:
        for found in comparison.of(row).values():
            references.add(found["evaluation"]["references"])
            for label, text in _conditions(found["evaluation"], found["machine"]).items():
                names = told.setdefault(label, {}).setdefault(text, [])
                names += [] if row.name in names else [row.name]
    for label, texts in told.items():
        parts = [f"{text} ({', '.join(names)})" for text, names in texts.items() if text]
        if parts:
            lines.append(f"{label}: {next(iter(texts)) if len(texts) == 1 else '; '.join(parts)}")
    if len(references) > 1:
        lines.append("ΔCIDEr is given only for rows scored on the same images and references")
    lines += [f"Failed: {title(run)}: {why}" for run, why in comparison.failures.items()]
    ended = comparison.results.keys() | comparison.failures.keys()
    missing = [title(run) for run in comparison.runs() if run not in ended]
    return [*lines, f"Not done yet: {'; '.join(missing)}"] if missing else lines


def _conditions(how: dict[str, Any], machine: dict[str, Any]) -> dict[str, str]:
    """Return what a run's figures depend on in addition to its config, as text by label."""
    trained = machine["precision"]
    scored = how.get("precision", trained)  # older versions scored in the precision of training
    used = {key: how[key] for key in ("size", "precision") if key in how}
    return {
        "Split": f"validation split of {how['data']}, {how['images']:,} images",
        "Captions": describe_settings(search_settings(how["search"]) | used),
        "Scorer": f"{how['scorer']}, {how['tokenizer']} tokens",
        "Precision": f"trained in {trained}, scored in {scored}",
        "Machine": f"{machine['device']}, {machine['processors']} processors, "
        f"torch {machine['torch']}, Python {machine['python']}",
        "Threads": str(machine["threads"]),
        "Note": "; ".join(how["notes"]),
    }


def tables(comparison: Comparison) -> list[Table]:
    """Return all tables of the report that have rows."""
    found = summarize(comparison)
    main = [(each["name"], row.description, each["objective"], *cells_[1:]) for each, row, cells_ in
            zip(found["rows"], comparison.rows, cells(comparison), strict=True)]  # fmt: skip
    header = ("name", "description", "objective", *HEADER[1:])
    made = [
        Table("Comparison", header, main, caption(comparison)),
        *seed_tables(found),
        *image_difference_tables(found),
        *cost_tables(found),
        *length_tables(found),
        *map_tables(found),
    ]
    return [table for table in made if table.rows]


def to_markdown(comparison: Comparison) -> str:
    """Format the report as Markdown: the tables, how they were made, and what the models say."""
    lines: list[str] = []
    for number, table in enumerate(tables(comparison)):
        words = 3 if number == 0 else 1  # the number of left-aligned columns
        rows = [table.header, *table.rows]
        grid = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
        grid.insert(1, "|---" * words + "|" + "---:|" * (len(table.header) - words))
        heading = "#" if number == 0 else "##"
        lines += [f"{heading} {table.title}", "", *grid, "", table.note, ""]
        if number == 0:
            below = [f"- {line}" for line in notes(comparison)]
            below[0] = f"- Command: `{comparison.command}`"
            lines += [*below, ""]
    lines += ["## What they say", ""] if comparison.samples else []
    for each in (sample.plain() for sample in comparison.samples):
        told = [*each["captions"].items(), *(("a person", text) for text in each["references"])]
        lines += [f"### {_escaped(Path(each['image']).name)}", ""]
        lines += [*(f"- {_escaped(name)}: {_escaped(text)}" for name, text in told), ""]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """One line of text with what Markdown would read as its own escaped."""
    return re.sub(r"([\\`*_<>\[\]#|&])", r"\\\1", " ".join(text.split()))


def title(run: Run) -> str:
    """Return a run's name for display."""
    return f"{run[0]}, seed {run[1]}"
