"""Several processes that train one model together, as ``torchrun`` starts them.

Each takes its part of every batch and of every other piece of work; gradients are added up. One
process alone is the ordinary case and needs nothing of this: its `Processes()` does nothing.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from showattend.exceptions import ConfigError

T = TypeVar("T")
_PATIENCE = timedelta(days=1)  # the others wait while one extracts, or writes


@dataclass(frozen=True)
class Processes:
    """How many there are, and which of them this is.

    Attributes:
        rank: This one, from 0.
        count: All of them.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes files and talks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            dist.barrier()

    def gather(self, mine: T) -> list[T]:
        """What every process holds, in the order of their ranks; all get it."""
        if self.count == 1:
            return [mine]
        everyone: list[T | None] = [None] * self.count
        dist.all_gather_object(everyone, mine)
        return everyone  # type: ignore[return-value]

    def add_gradients(self, parameters: Iterable[nn.Parameter], flag: bool = False) -> bool:
        """Give every process the sum of all their gradients, in one message.

        Args:
            parameters: Of the same model in every process. One without a gradient must be
                without it everywhere, as it is when all run the same code.
            flag: Something to tell the others with it.

        Returns:
            Whether any of them raised its flag.
        """
        if self.count == 1:
            return flag
        gradients = [p.grad for p in parameters if p.grad is not None]
        told = gradients[0].new_full((1,), float(flag))
        together = torch.cat([*(gradient.flatten() for gradient in gradients), told])
        dist.all_reduce(together)
        *parts, told = together.split([*(gradient.numel() for gradient in gradients), 1])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return bool(told > 0)


ALONE = Processes()
"""One process, which has no others to wait for."""


def join(device: torch.device) -> tuple[Processes, torch.device]:
    """Join the others, where ``torchrun`` has started several, and take a device of one's own.

    Args:
        device: The kind of device to run on; of several GPUs each process takes one.

    Returns:
        The processes, and the device of this one.

    Raises:
        ConfigError: There is no GPU for this one.
    """
    count, rank = (int(os.environ.get(key, value)) for key, value in _ENVIRONMENT)
    if count == 1:
        return ALONE, device
    if device.type == "cuda":
        number = int(os.environ.get("LOCAL_RANK", rank))
        if number >= (gpus := torch.cuda.device_count()):
            raise ConfigError(
                f"process {number + 1} of this machine has no GPU, there are {gpus}; start as many "
                f"processes as GPUs (torchrun --nproc-per-node {gpus})"
            )
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        # The optimizer imports it anyway. A group that is older than it is never freed (seen with
        # torch 2.15), and its threads may then take the process down with them when it ends.
        importlib.import_module("torch._dynamo")
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=_PATIENCE)
    return Processes(rank, count), device


def leave() -> None:
    """Part from the others."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


_ENVIRONMENT = (("WORLD_SIZE", "1"), ("RANK", "0"))
