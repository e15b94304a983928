"""Several configs trained, scored by the official metrics, and laid side by side in one table.

Every run has a folder of its own, ``OUT/NAME/seed-S``. Its ``results.json`` says that it is
finished, the state of its training that it was begun: what was interrupted goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from showattend.captioner import Captioner
from showattend.config import Config, expand_configs, find_config, load_config, to_dict
from showattend.data.mixture import name_sets
from showattend.data.readers import read_dataset
from showattend.evaluation.evaluate import evaluate, read_references
from showattend.evaluation.scores.wording import wording
from showattend.exceptions import CheckpointError, ConfigError, DataError, UserError
from showattend.model.score_settings import describe_settings, search_settings
from showattend.system.files import make_room, write_text
from showattend.training.check import check
from showattend.training.inputs import dataset_file
from showattend.training.reporter import Reporter, Silent
from showattend.training.state import FILE_NAME as STATE_NAME
from showattend.training.state import FREE, differences, has_begun
from showattend.training.trainer import train

RESULTS = "results.json"
METRICS = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
HEADER = ("name", *METRICS, "ΔCIDEr", "distinct", "minutes")

_KEPT = {"metrics", "wording", "best", "epochs", "seconds", "machine", "config", "evaluation"}

Run = tuple[str, int]  # a row's name and a seed
Watch = Callable[[str], AbstractContextManager[Reporter]]


@dataclass(frozen=True)
class Row:
    """One config of a comparison.

    Attributes:
        name: Its file's name without the suffix.
        file: The file, as it was given.
        description: The file's first line of comment.
        config: What it says, overrides applied; seed and folder are set for each run.
    """

    name: str
    file: Path
    description: str
    config: Config

    def run(self, out: Path, seed: int) -> Config:
        """The config of the run with this seed."""
        folder = str(out / self.name / f"seed-{seed}")
        return replace(self.config, train=replace(self.config.train, out=folder, seed=seed))


@dataclass
class Comparison:
    """What is known so far.

    Attributes:
        rows: The configs, in the order given.
        out: The folder of the comparison.
        seeds: How many runs each of them gets.
        command: The command line that makes it.
        results: What each finished run left in its ``results.json``.
        failures: Why a run came to nothing, in one line.
    """

    rows: list[Row]
    out: Path
    seeds: int
    command: str
    results: dict[Run, dict[str, Any]] = field(default_factory=dict)
    failures: dict[Run, str] = field(default_factory=dict)

    def of(self, row: Row) -> dict[int, dict[str, Any]]:
        """The results of a row's finished runs, by seed."""
        found = ((seed, self.results.get((row.name, seed))) for seed in range(self.seeds))
        return {seed: results for seed, results in found if results is not None}

    def runs(self) -> dict[Run, Config]:
        """All that belong to it, done or not, and what each is to train."""
        every = ((row, seed) for row in self.rows for seed in range(self.seeds))
        return {(row.name, seed): row.run(self.out, seed) for row, seed in every}

    def write(self) -> None:
        """Write ``comparison.json`` and ``comparison.md``.

        Raises:
            UserError: They cannot be written.
        """
        write_text(self.out / "comparison.json", _json(summarize(self)))
        write_text(self.out / "comparison.md", to_markdown(self))


def compare(
    files: Sequence[Path],
    out: Path,
    *,
    seeds: int = 1,
    overrides: Sequence[str] = (),
    watch: Watch = lambda _: nullcontext(Silent()),
    complain: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Train each config with each seed, score it on the whole validation split, and compare.

    A finished run is not repeated, an interrupted one goes on. One that fails is left out, and
    the others are made. After each, ``comparison.json`` and ``comparison.md`` are written anew.

    Args:
        files: YAML configs, each of another name.
        out: The folder of the runs and of the comparison.
        seeds: Train each with the seeds 0 to this, exclusive.
        overrides: section.key=value, for all of them.
        watch: Makes the reporter of a run from its title; opened and closed around it.
        complain: Told in one line why a run failed.

    Raises:
        ConfigError: A config is missing, wrong, or there twice; nothing has been trained.
        UserError: The comparison cannot be written.
    """
    if seeds < 1:
        raise ConfigError(f"--seeds is {seeds}; it must be 1 or more")
    rows = plan(files, overrides)
    make_room(out / "comparison.json")
    command = ["showattend", "compare", *files, "--out", out]
    command += ["--seeds", seeds] if seeds > 1 else []
    made = Comparison(rows, out, seeds, shlex.join(map(str, [*command, *overrides])))

    def fail(run: Run, error: UserError) -> None:
        made.failures[run] = str(error)
        complain(f"{_title(run)}: {error}")

    runs = made.runs()
    for run, config in runs.items():
        try:
            found = read_finished(config)
        except UserError as error:
            fail(run, error)
        else:
            if found is not None:
                made.results[run] = found
    if made.results:
        made.write()
    for run, config in runs.items():
        if run in made.results or run in made.failures:
            continue
        try:
            with watch(_title(run)) as reporter:
                made.results[run] = train_and_score(config, overrides, reporter)
        except UserError as error:
            fail(run, error)
        made.write()
    return made


# Before anything is trained ------------------------------------------------------------------


def plan(files: Sequence[Path], overrides: Sequence[str] = ()) -> list[Row]:
    """Load and check all configs.

    Raises:
        ConfigError: There is none, one is missing or wrong, or two have the same name.
    """
    if not files:
        raise ConfigError("no config to compare; give YAML files, such as configs/flickr8k.yaml")
    for override in overrides:
        if override.partition("=")[0].strip() in ("train.out", "train.seed"):
            raise ConfigError(f"{override!r}: the comparison sets this itself; see --out, --seeds")
    rows: dict[str, Row] = {}
    for file in (found for pattern in files for found in expand_configs(pattern)):
        config = load_config(file, overrides)
        try:
            check(config)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from error
        name = file.stem
        if name.casefold() in rows:  # there are file systems that see no difference
            other = rows[name.casefold()].file
            raise ConfigError(f"{file}: has the name of {other}; a row and its folder need one")
        rows[name.casefold()] = Row(name, file, describe(find_config(file)), config)
    return list(rows.values())


def describe(file: Path) -> str:
    """The first line of comment above a YAML file's content, or nothing."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.strip("- \t") and not line.startswith("#"):
            break
        if any(character.isalpha() for character in line):
            return line.strip("# \t")
    return ""


def read_finished(config: Config) -> dict[str, Any] | None:
    """What a run left when it was finished; None where it is not.

    Raises:
        DataError: The file is damaged.
        CheckpointError: The run had another config.
    """
    path = Path(config.train.out) / RESULTS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(found, dict) or not found.keys() >= _KEPT:
        raise DataError(f"{path}: holds no results of a run; remove it to score the model again")
    free = FREE - {"train.patience"}  # the run is over: nothing may end it elsewhere
    if changed := differences(found["config"], to_dict(config), except_for=free):
        raise CheckpointError(
            f"{path}: the run was made with another config ({'; '.join(changed)}); "
            "restore these values, or compare in another --out"
        )
    return found


# One run -------------------------------------------------------------------------------------


def train_and_score(
    config: Config, overrides: Sequence[str] = (), reporter: Reporter | None = None
) -> dict[str, Any]:
    """Train or go on training, score the model kept, and write ``results.json``.

    Raises:
        UserError: It cannot be trained, resumed, scored or written.
    """
    reporter, out = reporter or Silent(), Path(config.train.out)
    begun = has_begun(out)
    if begun and not (out / STATE_NAME).is_file():
        raise DataError(f"{out}: holds a model, but no scores and no training state; move it away")
    record = train(config, reporter, begun)
    scored = score(config, reporter)
    results = {
        "metrics": scored.pop("metrics"),
        "wording": scored.pop("wording"),
        "best": record["best"],
        "epochs": len(record["history"]),
        "seconds": record["seconds"],
        "machine": record["machine"],
        "overrides": list(overrides),
        "config": to_dict(config),
        **scored,
    }
    write_text(out / RESULTS, _json(results))
    shown = ", ".join(f"{name} {results['metrics'][name]:.3f}" for name in ("BLEU-4", "CIDEr"))
    reporter.message(f"{scored['evaluation']['images']:,} validation images: {shown}")
    return results


def score(config: Config, reporter: Reporter | None = None) -> dict[str, Any]:
    """Score a run's best model on all validation images by free decoding, as ``evaluate`` does.

    In float32, whatever precision it was trained in. ``data.val_images`` shortens only the
    validations while training: a choice that follows the seed would give each run other images to
    be scored on. Of several data sets each is scored on its own (``evaluation.sets``), and the
    metrics are their means.

    Raises:
        CheckpointError: There is no model.
        DataError: The data set cannot be read, or no image of it.
    """
    reporter, data = reporter or Silent(), config.data
    captioner = Captioner.from_pretrained(Path(config.train.out), device=config.train.device)
    names = name_sets([each.path for each in data.sets], [each.name for each in data.sets])
    parts: dict[str, dict[str, Any]] = {}
    for which, name in enumerate(names):
        path, images = dataset_file(data, which=which)
        if len(names) > 1 and not any(r.split == "val" for r in read_dataset(path, images)):
            continue  # it is only trained on
        records = read_references(path, images, "val")
        found = evaluate(
            path, captioner=captioner, images=images, split="val", progress=reporter.task
        )
        scored = {str(each["image_id"]) for each in found["captions"]}
        content = [(str(r.image_id), r.captions) for r in records if str(r.image_id) in scored]
        parts[name] = found | {"content": content}
    captions = [each for part in parts.values() for each in part["captions"]]
    content = [each for part in parts.values() for each in part["content"]]
    every = list(parts.values())
    settings = every[0]["settings"]
    shared = [key for key in every[0]["metrics"] if all(key in part["metrics"] for part in every)]
    evaluation = {
        "data": to_dict(config)["data"]["path"],
        "split": "val",
        "images": len(captions),
        "references": hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12],
        "search": to_dict(captioner.search),
        "size": settings["size"],
        "precision": settings["precision"],
        "scorer": settings["scorer"],
        "tokenizer": settings["tokenizer"],
        "notes": list(dict.fromkeys(note for part in every for note in part["notes"])),
    }
    if len(parts) > 1:
        evaluation["sets"] = {
            name: {"images": len(part["captions"]), "metrics": part["metrics"]}
            for name, part in parts.items()
        }
    return {
        "metrics": {key: sum(p["metrics"][key] for p in every) / len(every) for key in shared},
        "wording": wording([each["caption"].split() for each in captions]),
        "evaluation": evaluation,
        "captions": captions,
    }


# The table -----------------------------------------------------------------------------------


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and half of the distance from the lowest to the highest; None for one value."""
    mean = sum(values) / len(values)
    return mean, (max(values) - min(values)) / 2 if len(values) > 1 else None


def summarize(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values."""
    rows = [_summary(row, comparison.of(row)) for row in comparison.rows]
    for row in rows:
        alike = len(row["references"]) == 1 and row["references"] == rows[0]["references"]
        cider, first = (each["figures"].get("CIDEr", {}).get("mean") for each in (row, rows[0]))
        row["CIDEr_difference"] = cider - first if alike else None
    return {
        "command": comparison.command,
        "seeds": comparison.seeds,
        "spread": "half the range",
        "rows": rows,
        "failed": {_title(run): problem for run, problem in comparison.failures.items()},
        "notes": notes(comparison),
    }


def _summary(row: Row, found: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    runs = list(found.values())
    columns = {name: [run["metrics"].get(name) for run in runs] for name in METRICS}
    columns["distinct"] = [run["wording"]["distinct"] for run in runs]
    columns["minutes"] = [run["seconds"] / 60 for run in runs]
    figures = {}
    for name, values in columns.items():
        if values and None not in values:  # METEOR needs Java
            mean, spread = mean_and_spread(values)
            figures[name] = {"mean": mean, "spread": spread, "values": values}
    return {
        "name": row.name,
        "config": str(row.file),
        "description": row.description,
        "seeds": list(found),
        "figures": figures,
        "best_epochs": [run["best"]["epoch"] for run in runs],
        "epochs": [run["epochs"] for run in runs],
        "wording": [run["wording"] for run in runs],
        "references": sorted({run["evaluation"]["references"] for run in runs}),
    }


def cells(comparison: Comparison) -> list[tuple[str, ...]]:
    """The table's rows as text, under `HEADER`; a dash where there is nothing yet."""
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
    """What the table shows, in a sentence."""
    several = f"Mean ± half the range (highest less lowest) of {comparison.seeds} seeds"
    told = several if comparison.seeds > 1 else "One run each, seed 0"
    columns = "ΔCIDEr is to the first row, distinct the share of different captions"
    return f"{told}; {columns}, minutes those of training."


def notes(comparison: Comparison) -> list[str]:
    """Below the table: how it was made, and what is missing; a line each."""
    lines = [f"Command: {comparison.command}"]
    told: dict[str, dict[str, list[str]]] = {}  # label, text, the rows that it is about
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
        lines.append("ΔCIDEr is given only between rows scored on the same images and references")
    lines += [f"Failed: {_title(run)}: {why}" for run, why in comparison.failures.items()]
    ended = comparison.results.keys() | comparison.failures.keys()
    missing = [_title(run) for run in comparison.runs() if run not in ended]
    return [*lines, f"Not done yet: {'; '.join(missing)}"] if missing else lines


def _conditions(how: dict[str, Any], machine: dict[str, Any]) -> dict[str, str]:
    """What a run's figures depend on, beside its config."""
    trained = machine["precision"]
    scored = how.get("precision", trained)  # older runs were scored as they were trained
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


def to_markdown(comparison: Comparison) -> str:
    """The table for a page, and what stands below it."""
    rows = [["name", "description", *HEADER[1:]]]
    for row, (name, *figures) in zip(comparison.rows, cells(comparison), strict=True):
        rows.append([name, row.description, *figures])
    lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    lines.insert(1, "|---|---|" + "---:|" * (len(HEADER) - 1))
    below = [f"- {line}" for line in notes(comparison)]
    below[0] = f"- Command: `{comparison.command}`"
    return "\n".join(["# Comparison", "", *lines, "", caption(comparison), "", *below, ""])


def _title(run: Run) -> str:
    return f"{run[0]}, seed {run[1]}"


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=1) + "\n"
