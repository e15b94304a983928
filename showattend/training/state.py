"""The state of a run, for resuming: safetensors and JSON, nothing pickled."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from showattend.checkpoint import load_tensors, save_tensors
from showattend.errors import CheckpointError
from showattend.processes import ALONE, Processes

FILE_NAME = "state.safetensors"


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: The epoch under way, from 0.
        batch: Steps of it that are done.
        phase: Which of the run's phases, from 0.
        phase_start: Epochs that were done when it began.
        sums: The figures of this epoch's steps so far, added up.
        best: The best validation CIDEr, and the epoch it belongs to.
        history: One entry a finished epoch.
        seconds: Time spent, in this and earlier sittings.
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
    """Write weights, optimizer moments, random states and progress; the last state survives.

    All processes call this; the first one writes.
    """
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    every = processes.gather((random, progress.sums))
    if not processes.first:
        return
    tensors = {
        f"{name}.{key}": value
        for name, model in models.items()
        for key, value in model.state_dict().items()
    }
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


def find_state(folder: Path) -> Path:
    """The state of the run in a folder.

    Raises:
        CheckpointError: There is none.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise CheckpointError(f"{path}: no state to resume; start without --resume")
    return path


def load_state(
    folder: Path,
    models: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    config: dict[str, Any],
    *,
    scaler: torch.amp.GradScaler | None = None,
    processes: Processes = ALONE,
) -> Progress:
    """Put everything back as `save_state` found it.

    Raises:
        CheckpointError: There is no state, it is damaged, or the run had another config.
    """
    path = find_state(folder)
    tensors, meta = load_tensors(path, "a training state")
    if meta.get("kind") != "state":
        raise CheckpointError(f"{path}: not a training state")
    changed = _differences(meta["config"], config)
    if changed:
        raise CheckpointError(
            f"{path}: the run was started with another config ({'; '.join(changed)}); "
            "restore these values, or start a new run with another train.out"
        )
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        name, _, rest = key.partition(".")
        parts.setdefault(name, {})[rest] = value
    try:
        for name, model in models.items():
            model.load_state_dict(parts[name])
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in parts.get("optimizer", {}).items():
            index, _, kind = key.partition(".")
            moments.setdefault(int(index), {})[kind] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments, "param_groups": groups})
        if scaler and scaler.is_enabled():
            scaler.load_state_dict(meta["scaler"])
        progress = Progress(**meta["progress"])
        progress.sums = {key: value / processes.count for key, value in progress.sums.items()}
        own = {key.partition(".")[::2]: state for key, state in parts["random"].items()}
        random = {kind: state for (kind, rank), state in own.items() if rank == str(processes.rank)}
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{path}: does not fit this config ({reason})") from error
    torch.set_rng_state(random["cpu"])
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"])
    return progress


# What may differ between sittings: where the run goes, and how often it saves.
_FREE = {
    "train.out",
    "train.save_every",
    "train.device",
    "train.workers",
    "data.cache",
    "train.patience",
}


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in sorted(before.keys() | now.keys()):
        old, new, name = before.get(key), now.get(key), prefix + key
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{name}.")
        elif old != new and name not in _FREE:
            found.append(f"{name} was {old}, is {new}")
    return found
