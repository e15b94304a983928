"""Averages of weights: a moving average within a run, and the average of several runs."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from showattend.model.checkpoint import (
    FILE_NAME,
    Checkpoint,
    flatten,
    load,
    load_tensors,
    save_tensors,
    unflatten,
)
from showattend.system.processes import ALONE, Processes

Weights = dict[str, torch.Tensor]
_META = {"kind": "run"}


class MovingAverage(nn.Module):
    """A copy of a model with a moving average of its weights.

    theta' <- d theta' + (1 - d) theta after every step n, where d = min(decay, (1 + n) / (10 + n))
    rises to ``decay``, so that the random initial weights are soon forgotten.

    Args:
        model: The model being trained; only its trainable weights are averaged, and its buffers
            copied.
        decay: The final d.

    Attributes:
        model: The averaged copy, in eval mode.
        updates: n, a scalar.
    """

    updates: torch.Tensor

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.model = deepcopy(model).requires_grad_(False).eval()
        self.decay = decay
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Update the average after a step of the optimizer."""
        n = int(self.updates)
        decay = min(self.decay, (1 + n) / (10 + n))
        for mine, theirs in zip(self.model.parameters(), model.parameters(), strict=True):
            if theirs.requires_grad:
                mine.lerp_(theirs, 1 - decay)
        for copied, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            copied.copy_(buffer)
        self.updates += 1


class Merger:
    """Averages the weights of several training runs from the same start.

    The runs differ only by chance, and stay close enough that the mean of their weights is a better
    model than each of them. A share of the start restores some of what they have forgotten
    (Wortsman et al. 2022, "Model soups"; Rame et al. 2024, "WARP: On the Benefits of Weight
    Averaged Rewarded Policies", with linear instead of spherical interpolation). The weights are
    kept in the run's folder, so that a resumed run finds them and other shares can be tried.

    Args:
        folder: The folder of the run.
        runs: The number of runs.
        start_share: s in (1 - s) mean_k theta_k + s theta_start.
        processes: All of them load; the first one has the files.
    """

    def __init__(
        self, folder: Path, runs: int, start_share: float, processes: Processes = ALONE
    ) -> None:
        self.processes = processes
        self.files = [folder / f"run_{k + 1}.safetensors" for k in range(runs)]
        self.start = folder / "start.safetensors"
        self.start_share = start_share

    def save_start(self, models: Mapping[str, nn.Module]) -> None:
        """Save the weights that every run starts from."""
        save_tensors(self.start, flatten(models), _META)

    def save_run(self, number: int, models: Mapping[str, nn.Module]) -> None:
        """Save the final weights of run ``number``, counted from 0."""
        save_tensors(self.files[number], flatten(models), _META)

    def load_start(self, models: Mapping[str, nn.Module]) -> None:
        """Load the weights that every run starts from.

        Raises:
            CheckpointError: The file is missing or damaged.
        """
        put_weights(self._load(self.start), models)

    def merge(self, models: Mapping[str, nn.Module]) -> None:
        """Load the average into the models.

        Raises:
            CheckpointError: A file is missing or damaged.
        """
        mean: Weights = {}
        shares = [(self.start, self.start_share)]
        shares += [(file, (1 - self.start_share) / len(self.files)) for file in self.files]
        for file, share in shares:
            for key, value in self._load(file).items():
                if value.is_floating_point():
                    mean[key] = mean.get(key, torch.zeros_like(value)) + share * value
                else:
                    mean[key] = value
        put_weights(mean, models)

    def _load(self, file: Path) -> Weights:
        return self.processes.from_first(lambda: load_tensors(file, "the weights of a run")[0])


def put_weights(weights: Weights, models: Mapping[str, nn.Module]) -> None:
    """Load the weights ``NAME.*``, tensors [...] of the models' shapes, into the model ``NAME``."""
    parts = unflatten(weights)
    for name, model in models.items():
        model.load_state_dict(parts[name])


def best_model(folder: Path, processes: Processes) -> Checkpoint:
    """The best model of a run so far, whose file the first process has.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    return processes.from_first(lambda: load(folder / FILE_NAME))
