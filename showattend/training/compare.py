"""Several configs trained, scored by the official metrics, and laid side by side in one table.

Every run has a folder of its own, ``OUT/NAME/seed-S``. Its ``results.json`` says that it is
finished, the state of its training that it was begun: what was interrupted goes on from there.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from showattend.config import Config, expand_configs, find_config, load_config, to_dict
from showattend.exceptions import CheckpointError, ConfigError, DataError, UserError
from showattend.system.files import make_room, write_text
from showattend.training.check import check
from showattend.training.comparison import Comparison, Row, Run, title, write
from showattend.training.comparison_page import NAME as PAGE
from showattend.training.comparison_page import draw_samples, write_page
from showattend.training.reporter import Reporter, Silent
from showattend.training.run_scores import Objects, ground_run, score
from showattend.training.state import FILE_NAME as STATE_NAME
from showattend.training.state import FREE, differences, has_begun
from showattend.training.trainer import train

RESULTS = "results.json"
_KEPT = {"metrics", "wording", "best", "epochs", "seconds", "machine", "config", "evaluation"}

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
        objects: Photographs with object masks, to measure every row's maps on.
        samples: The number of validation photographs that the page shows with all rows' captions.
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
        complain(f"{title(run)}: {error}")

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
            write_page(made, draw_samples(made, samples))
        except UserError as error:
            complain(f"{made.out / PAGE}: not written ({error})")
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
    write_text(out / RESULTS, json.dumps(results, indent=1) + "\n")
    shown = ", ".join(f"{name} {results['metrics'][name]:.3f}" for name in ("BLEU-4", "CIDEr"))
    reporter.message(f"{scored['evaluation']['images']:,} validation images: {shown}")
    return results
