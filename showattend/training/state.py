"""The state of a run, for resuming it: safetensors and JSON, without pickle."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from showattend.config import Config, defaults, to_dict
from showattend.exceptions import CheckpointError, DataError
from showattend.model.checkpoint import FILE_NAME as MODEL_NAME
from showattend.model.checkpoint import flatten, load_meta, load_tensors, save_tensors, unflatten
from showattend.model.model_schema import Check, items, number, section
from showattend.system.files import remove_stale, sweep
from showattend.system.processes import ALONE, Processes

_log = logging.getLogger(__name__)
FILE_NAME = "state.safetensors"

# The keys that may change when a run is resumed.
FREE = {
    "train.out",
    "train.save_every",
    "train.tensorboard",
    "train.device",
    "train.workers",
    "data.path",
    "data.images",
    "data.cache",
    "train.patience",
}
_LENGTHS = ("train.epochs ", "self_critical.epochs ", "self_critical.runs ")
_PLACES = {"path", "images"}  # the place of the data; its digest is "data set"


def _table(inner: Check) -> Check:
    """An object whose values are all of one kind."""

    def check(value: Any, where: str) -> None:
        section({})(value, where)
        for key, each in value.items():
            inner(each, f"{where}.{key}")

    return check


_STATE = section(
    {
        "config": section({}, {"data": section({})}),
        "progress": section(
            {},
            {
                **dict.fromkeys(
                    ("epoch", "batch", "phase", "phase_start"), number(0, 2**31, whole=True)
                ),
                "best_epoch": number(-1, 2**31, whole=True),
                "best": number(float("-inf"), 1e9),
                "seconds": number(0, 1e12),
                "sums": _table(number(-1e300, 1e300)),
                "history": items(section({})),
            },
        ),
    },
    {"scaler": section({})},
)
"""The header of a training run's state."""


@dataclass
class Progress:
    """The progress of a run.

    Attributes:
        epoch: The current epoch, from 0.
        batch: The number of its steps that are done.
        phase: The current phase, from 0.
        phase_start: The number of epochs before the phase.
        sums: The sums of the figures of this epoch's steps so far.
        best: The best validation CIDEr.
        best_epoch: The epoch with the best CIDEr, from 1; -1 before the first.
        history: One entry for each finished epoch.
        seconds: The time spent, including earlier processes of a resumed run.
        skipped: The steps of this epoch that were not taken, since a gradient exceeded float16.
        sessions: The provenance of each process that trained, with the epoch and batch where it
            began; of identical ones, the first (`record.begin_session`).
    """

    epoch: int = 0
    batch: int = 0
    phase: int = 0
    phase_start: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    best: float = float("-inf")
    best_epoch: int = -1
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    sessions: list[dict[str, Any]] = field(default_factory=list)
    skipped: int = 0

    @property
    def step_name(self) -> str:
        """The next step, for messages."""
        return f"epoch {self.epoch + 1}, batch {self.batch + 1}"

    @property
    def best_entry(self) -> dict[str, Any]:
        """The entry of the best epoch in ``history``; empty before the first."""
        return next((entry for entry in self.history if entry["epoch"] == self.best_epoch), {})

    def phase_is_over(self, epochs: int, patience: int) -> bool:
        """Whether all epochs of the current phase are done, or patience has run out."""
        since = max(self.best_epoch, self.phase_start)
        waited = bool(patience and self.best_epoch >= 0 and self.epoch - since >= patience)
        return waited or self.epoch >= self.phase_start + epochs


def save_state(
    folder: Path,
    models: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    config: dict[str, Any],
    *,
    scaler: torch.amp.GradScaler | None = None,
    processes: Processes = ALONE,
) -> None:
    """Write weights, optimizer moments, random states and progress, replacing the file atomically.

    All processes must call this; the first one writes.

    Args:
        folder: The folder of the run.
        models: The models by name.
        optimizer: The optimizer of their parameters.
        progress: The progress of the run.
        config: The config with the identity of the data set, which `load_state` compares.
        scaler: The scaler of float16 gradients.
        processes: The processes of the run.

    Raises:
        CheckpointError: The file cannot be written.
    """
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    every = processes.gather((random, progress.sums))
    if not processes.first:
        return
    tensors = flatten(models)
    for index, moments in optimizer.state_dict()["state"].items():
        for key, value in moments.items():
            tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value)
    for rank, (random, _) in enumerate(every):
        tensors |= {f"random.{kind}.{rank}": state for kind, state in random.items()}
    sums = {key: sum(each[key] for _, each in every) for key in progress.sums}
    meta = {
        "kind": "state",
        "progress": vars(progress) | {"sums": sums},
        "scaler": scaler.state_dict() if scaler else {},
        "config": config,
    }
    save_tensors(folder / FILE_NAME, tensors, meta)


def has_begun(folder: Path) -> bool:
    """Whether a folder holds a run with something to lose: a model, or completed steps."""
    if (folder / MODEL_NAME).exists() or not (folder / FILE_NAME).exists():
        return (folder / MODEL_NAME).exists()
    try:
        meta = load_meta(folder / FILE_NAME, "a training state")
        _read_config(folder / FILE_NAME, meta)
        progress = _read_progress(meta)
    except (CheckpointError, TypeError, ValueError):
        return True  # an unknown file must not be overwritten
    return progress.epoch + progress.batch > 0


def can_go_on(folder: Path) -> bool:
    """Whether a folder holds a run that ``--resume`` can continue."""
    return (folder / FILE_NAME).is_file() and has_begun(folder)


def find_state(folder: Path) -> Path:
    """Return the path of the state of the run in a folder.

    Raises:
        CheckpointError: There is no state.
    """
    path = folder / FILE_NAME
    if path.is_file():
        return path
    if (folder / MODEL_NAME).exists():
        raise CheckpointError(
            f"{folder}: holds a model, but no training state to resume; move it away, or choose "
            "another train.out"
        )
    raise CheckpointError(f"{path}: no state to resume; start without --resume")


def check_folder(folder: Path, config: dict[str, Any], resume: bool) -> None:
    """Check that a run can start or continue in a folder, before minutes are spent on building it.

    `load_state` compares what is known only after loading data and model.

    Args:
        folder: The folder of the run.
        config: The config of the run.
        resume: Whether the run is to be resumed.

    Raises:
        CheckpointError: There is no state to resume, it is damaged, or the run had another config.
        DataError: The folder already holds a run, or cannot be written.
    """
    if resume:
        path = find_state(folder)
        before = _read_config(path, load_meta(path, "a training state"))
        _compare(path, {key: before[key] for key in config.keys() & before.keys()}, config)
    elif has_begun(folder):
        raise DataError(f"{folder}: holds a run already; add --resume, or choose another train.out")
    nearest = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()
    )
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise DataError(f"{folder}: cannot be created ({nearest} is not writable); see train.out")
    for name in (FILE_NAME, MODEL_NAME):
        remove_stale(folder / name)  # as large as a state, from a killed process
    sweep([folder])


def begins_or_resumes(config: Config, resume: bool, processes: Processes = ALONE) -> bool:
    """`check_folder` on the first process; whether the run is to be resumed.

    A launcher repeats the same command when a machine is lost: under ``torchrun``, --resume starts
    a new run if there is none.

    Raises:
        CheckpointError: See `check_folder`; or the first process does not have the latest state,
            because it is on another machine than before.
        DataError: See `check_folder`.
    """
    out = Path(config.train.out)
    done = processes.gather(_steps_done(out) if resume else (0, 0))

    def decide() -> bool:
        latest = max(range(len(done)), key=lambda rank: done[rank])
        if done[latest] > done[0]:
            raise CheckpointError(
                f"{out}: the latest state of the run is on the machine of process {latest + 1}, "
                "and process 1 is now on another; copy the folder there, or start the machines so "
                "that the first is the same as before"
            )
        launched = "TORCHELASTIC_RUN_ID" in os.environ
        begins = launched and not (out / FILE_NAME).exists() and not has_begun(out)
        if resume and begins:
            _log.warning("%s: nothing to resume yet; the run begins", out)
        check_folder(out, to_dict(config), resume and not begins)
        return resume and not begins

    return processes.from_first(decide)


def _steps_done(folder: Path) -> tuple[int, int]:
    """The epochs and steps of the state in a folder; (0, 0) if there is no complete one."""
    try:
        values = load_meta(folder / FILE_NAME, "a training state")["progress"]
        return int(values["epoch"]), int(values["batch"])
    except (CheckpointError, KeyError, TypeError, ValueError):
        return 0, 0


def _read_config(path: Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    if meta.get("kind") != "state":
        raise CheckpointError(f"{path}: not a training state")
    try:
        _STATE(meta, "it")
    except ValueError as error:
        raise CheckpointError(f"{path}: its header cannot be read ({error})") from error
    config: dict[str, Any] = meta["config"]
    return config


def _read_progress(meta: Mapping[str, Any]) -> Progress:
    """The progress in a state's header; the first versions wrote another form.

    Raises:
        TypeError: The header is not that of a state.
        ValueError: The header is not that of a state.
    """
    values = dict(meta["progress"])
    if "losses" in values:
        cross_entropy, penalty, _ = values.pop("losses")
        values["sums"] = {"cross_entropy": cross_entropy, "penalty": penalty}
    sums = values.get("sums", {})
    values["sums"] = {key: each for key, each in sums.items() if key != "steps"}
    return Progress(**values)


def _compare(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    free = FREE if _cached(before) == _cached(now) else FREE - {"data.cache"}
    if changed := differences(_placeless(before), _placeless(now), except_for=free):
        longer = any(each.startswith(_LENGTHS) for each in changed)
        advice = "start a new run with another train.out"
        if longer:
            advice = (
                "to train its best model for longer, start a new run with "
                f"train.init_from={path.parent} and another train.out; the learning rate then "
                "follows a schedule of its own"
            )
        raise CheckpointError(
            f"{path}: the run was started with another config ({'; '.join(changed)}); "
            f"restore these values, or {advice}. "
            f"Only these may change: {', '.join(sorted(FREE))}"
        )


def _placeless(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without the places of data; of several sets, their number and weights stay."""
    values = dict(config)
    data = dict(values.get("data", {}))
    if isinstance(sets := data.get("path"), list):
        data["sets"] = [
            {k: v for k, v in each.items() if k not in _PLACES} if isinstance(each, dict) else {}
            for each in sets
        ]
    return values | {"data": {k: v for k, v in data.items() if k not in _PLACES}}


def load_state(
    folder: Path,
    models: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    config: dict[str, Any],
    *,
    scaler: torch.amp.GradScaler | None = None,
    processes: Processes = ALONE,
    message: Callable[[str], None] = lambda _: None,
) -> Progress:
    """Restore everything that `save_state` saved.

    Args:
        folder: The folder of the run.
        models: The models that `save_state` was called with.
        optimizer: The optimizer of their parameters.
        config: The current config; only the keys in `FREE` may differ from the run's.
        scaler: The scaler of float16 gradients.
        processes: The processes of the run; their number must be the same.
        message: Called with one line about the keys that differ.

    Returns:
        The progress of the run.

    Raises:
        CheckpointError: There is no state, it is damaged, or the run had another config.
    """
    path = folder / FILE_NAME
    tensors, meta = processes.from_first(
        lambda: load_tensors(find_state(folder), "a training state")
    )
    before = _read_config(path, meta)
    # The first versions did not identify the data, or had one process only.
    now = {key: each for key, each in config.items() if key in before or isinstance(each, dict)}
    _compare(path, before, now)
    if changed := differences(before, now, except_for={"train.out"}):
        message(f"Changed since the run was started: {'; '.join(changed)}")
    parts = unflatten(tensors)
    try:
        for name, model in models.items():
            model.load_state_dict(parts[name])
        moments = {int(i): each for i, each in unflatten(parts.get("optimizer", {})).items()}
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
        if scaler and scaler.is_enabled():
            scaler.load_state_dict(meta["scaler"])
        progress = _read_progress(meta)
        progress.sums = {key: value / processes.count for key, value in progress.sums.items()}
        own = {key.partition(".")[::2]: state for key, state in parts["random"].items()}
        # Before there were several processes, the random state had no rank.
        mine = (str(processes.rank), "" if processes.count == 1 else None)
        random = {kind: state for (kind, rank), state in own.items() if rank in mine}
        _check_moments(optimizer)
        torch.set_rng_state(random["cpu"])
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{path}: does not fit this config ({reason})") from error
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"])
    return progress


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Check the shapes of an optimizer's state, which PyTorch does not.

    Raises:
        ValueError: One is not that of its parameter, or is missing.
    """
    names = {name for moments in optimizer.state.values() for name in moments}
    for parameter, moments in optimizer.state.items():
        if missing := names - moments.keys():
            raise ValueError(f"the optimizer's {min(missing)} is missing")
        for name, value in moments.items():
            wanted = [] if name == "step" else list(parameter.shape)
            if list(value.shape) != wanted:
                found = list(value.shape)
                raise ValueError(f"the optimizer's {name} has the shape {found}, not {wanted}")


def _cached(config: Mapping[str, Any]) -> bool:
    """Whether features come from a cache, where they are rounded to half precision."""
    return config.get("data", {}).get("cache", "") is not None


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], *, except_for: Collection[str]
) -> list[str]:
    """Describe how two configs differ, as "section.key was this, is that".

    A key that is missing in one of them counts as its default, since it may be newer than the run.

    Args:
        before: The config of the run.
        now: The current config.
        except_for: Keys to ignore.
    """
    default, old, new = defaults(), _flat(before), _flat(now)
    keys = sorted((old.keys() | new.keys()) - set(except_for))
    pairs = [(key, *(each.get(key, default.get(key)) for each in (old, new))) for key in keys]
    return [f"{key} was {was}, is {is_}" for key, was, is_ in pairs if was != is_]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat
