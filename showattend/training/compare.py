"""Train several configs, score them with the official metrics, and compare them in one table.

Each run has its own folder, ``OUT/NAME/seed-S``. A run with a ``results.json`` is finished; a run
with only a training state was interrupted, and continues from that state.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from showattend.config import Config, expand_configs, find_config, load_config, to_dict
from showattend.data.shards import is_shards
from showattend.exceptions import CheckpointError, ConfigError, DataError, UserError
from showattend.model.model_schema import parse_json, section
from showattend.model.record_schema import METRICS, figure
from showattend.system.files import make_room, sweep, write_text
from showattend.training.check import check
from showattend.training.comparison import Comparison, Row, Run, title, write
from showattend.training.comparison_page import NAME as PAGE
from showattend.training.comparison_page import draw_samples, write_page
from showattend.training.reporter import Reporter, Silent
from showattend.training.run_scores import Objects, ground_run, score
from showattend.training.state import FILE_NAME as STATE_NAME
from showattend.training.state import FREE, differences, has_begun
from showattend.training.trainer import train

_log = logging.getLogger("showattend.training")

RESULTS = "results.json"
_FINISHED = section(
    {
        "metrics": METRICS,
        "best": section({"epoch": figure}),
        "epochs": figure,
        "seconds": figure,
        **dict.fromkeys(("wording", "machine", "config", "evaluation"), section({})),
    }
)
"""The required content of `RESULTS`."""

Watch = Callable[[str], AbstractContextManager[Reporter]]


def compare(
    files: Sequence[Path],
    out: Path,
    *,
    seeds: int = 1,
    overrides: Sequence[str] = (),
    objects: Objects | None = None,
    samples: int = 6,
    watch: Watch = lambda _: nullcontext(Silent()),
) -> Comparison:
    """Train each config with each seed, score it on the whole validation split, and compare.

    Finished runs are not repeated, and interrupted runs continue. If a run fails, the others are
    still trained. After each run, ``comparison.json`` and ``comparison.md`` are written again.

    Args:
        files: YAML configs with distinct names.
        out: The folder of the runs and of the comparison.
        seeds: The number of seeds; each config is trained with the seeds 0 to ``seeds - 1``.
        overrides: ``section.key=value``, applied to all configs.
        objects: Photographs with object masks, on which every run's maps are measured.
        samples: The number of validation photographs that the report shows with all rows'
            captions; the page draws their maps too.
        watch: Makes a context manager from a run's title; it returns the run's reporter.

    Returns:
        The results of all runs.

    Raises:
        ConfigError: A config is missing, invalid or given twice; nothing has been trained.
        UserError: The comparison cannot be written.
    """
    if seeds < 1:
        raise ConfigError(f"--seeds is {seeds}; it must be 1 or more")
    rows = plan(files, overrides)
    make_room(out / "comparison.json")
    sweep([out])
    command: list[Any] = ["showattend", "compare", *files, "--out", out]
    command += ["--seeds", seeds] if seeds > 1 else []
    if objects is not None:
        command += ["--instances", objects.instances, "--images", objects.images]
        command += [] if objects.captions is None else ["--captions", objects.captions]
    made = Comparison(rows, out, seeds, shlex.join(map(str, [*command, *overrides])))

    def measure_maps(run: Run, config: Config, reporter: Reporter | None = None) -> None:
        if objects is not None:
            made.grounding[run] = ground_run(config, objects, reporter)

    def fail(run: Run, error: UserError) -> None:
        made.failures[run] = str(error)
        _log.warning(f"{title(run)}: {error}")

    runs = made.runs()
    for run, config in runs.items():
        try:
            found = read_finished(config)
        except UserError as error:
            fail(run, error)
        else:
            if found is not None:
                made.results[run] = found
                measure_maps(run, config)
    if made.results:
        write(made)
    for run, config in runs.items():
        if run in made.results or run in made.failures:
            continue
        try:
            with watch(title(run)) as reporter:
                made.results[run] = train_and_score(config, overrides, reporter)
                measure_maps(run, config, reporter)
        except UserError as error:
            fail(run, error)
        write(made)
    if made.results:
        try:
            made.samples = draw_samples(made, samples)
            write_page(made)
        except UserError as error:
            _log.warning(f"{made.out / PAGE}: not written ({error})")
        if made.samples:
            write(made)
    return made


# Before training -----------------------------------------------------------------------------


def plan(files: Sequence[Path], overrides: Sequence[str] = ()) -> list[Row]:
    """Load and check all configs.

    Args:
        files: YAML configs; see `expand_configs`.
        overrides: ``section.key=value``, applied to all configs.

    Raises:
        ConfigError: There are no configs, one is missing or invalid, two have the same name, or an
            override sets what the comparison sets.
    """
    if not files:
        raise ConfigError("no config to compare; give YAML files, such as configs/flickr8k.yaml")
    for override in overrides:
        if override.partition("=")[0].strip() in ("train.out", "train.seed"):
            raise ConfigError(f"{override!r}: the comparison sets this; use --out and --seeds")
    rows: dict[str, Row] = {}
    for file in (found for pattern in files for found in expand_configs(pattern)):
        config = load_config(file, overrides)
        try:
            check(config)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from error
        if any(is_shards(each.path) for each in config.data.sets):
            raise ConfigError(
                f"{file}: data.path names shards; `showattend compare` scores runs on the images "
                "of a dataset.jsonl, so give that"
            )
        name = file.stem
        if name.casefold() in rows:  # some file systems ignore case
            other = rows[name.casefold()].file
            raise ConfigError(f"{file}: has the name of {other}; names must be different")
        rows[name.casefold()] = Row(name, file, describe(find_config(file)), config)
    return list(rows.values())


def describe(file: Path) -> str:
    """Return the first comment line above a YAML file's content, or an empty string."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.strip("- \t") and not line.startswith("#"):
            break
        if any(character.isalpha() for character in line):
            return line.strip("# \t")
    return ""


def read_finished(config: Config) -> dict[str, Any] | None:
    """Read the results of a finished run; None if it is not finished.

    Raises:
        DataError: The file of the results is damaged.
        CheckpointError: The run had another config.
    """
    path = Path(config.train.out) / RESULTS
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    try:
        _FINISHED(found, "it")
    except ValueError as error:
        raise DataError(
            f"{path}: does not hold the results of a run ({error}); "
            "delete it to score the model again"
        ) from None
    # With another patience it might have ended elsewhere; no digest of its data is kept.
    free = FREE - {"train.patience", "data.path", "data.images"}
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
    """Train or continue training, score the best model, and write ``results.json``.

    Args:
        config: The config of the run.
        overrides: The overrides to record in the results.
        reporter: Receives progress and messages; None for none.

    Returns:
        The content of ``results.json``.

    Raises:
        DataError: The folder holds a model, but neither results nor a training state.
        UserError: The run cannot be trained, resumed, scored or written.
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
        "training": {key: record[key] for key in ("provenance", "resumed") if key in record},
        **scored,
    }
    write_text(out / RESULTS, json.dumps(results, indent=1) + "\n")
    shown = ", ".join(f"{name} {results['metrics'][name]:.3f}" for name in ("BLEU-4", "CIDEr"))
    reporter.message(f"{scored['evaluation']['images']:,} validation images: {shown}")
    return results
