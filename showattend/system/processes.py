"""Several processes that train one model together, started by ``torchrun``.

Each takes a part of every batch and of all other work; gradients are summed. For a single process,
the ordinary case, `Processes()` does nothing.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from showattend.exceptions import ConfigError, UserError

T = TypeVar("T")
_PATIENCE = timedelta(days=1)  # the others wait while one extracts features or writes files


@dataclass(frozen=True)
class Processes:
    """The processes of a run.

    Attributes:
        rank: The number of this process, starting at 0.
        count: The number of processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes arrive here."""
        if self.count > 1:
            with _others():
                dist.barrier()

    def gather(self, mine: T) -> list[T]:
        """Collect a value from every process, in the order of their ranks, on all of them."""
        if self.count == 1:
            return [mine]
        everyone: list[T | None] = [None] * self.count
        with _others():
            dist.all_gather_object(everyone, mine)
        return everyone  # type: ignore[return-value]

    def add_gradients(
        self, parameters: Iterable[nn.Parameter], flags: Sequence[bool] = ()
    ) -> list[bool]:
        """Replace the gradients by their sum over all processes, in one message.

        Args:
            parameters: The parameters of the same model in every process. A parameter without a
                gradient must have none in any process, as when all run the same code.
            flags: Flags to send along.

        Returns:
            For each flag, whether any process set it.
        """
        if self.count == 1:
            return list(flags)
        gradients = [p.grad for p in parameters if p.grad is not None]
        told = gradients[0].new_tensor([float(flag) for flag in flags])
        together = torch.cat([*(gradient.flatten() for gradient in gradients), told])
        with _others():
            dist.all_reduce(together)
        *parts, told = together.split([*(gradient.numel() for gradient in gradients), len(flags)])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return [bool(each > 0) for each in told]


@contextmanager
def _others() -> Iterator[None]:
    """Name what has happened if another process of the run is gone.

    Raises:
        UserError: It is.
    """
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            f"another process of the run has ended ({' '.join(str(error).split())[:120]}); its own "
            "message says why, and --resume continues from the state that was saved last"
        ) from error


ALONE = Processes()
"""A single process."""


def join(device: torch.device) -> tuple[Processes, torch.device]:
    """Join the processes started by ``torchrun``, if any, and choose this process's device.

    Args:
        device: The kind of device to run on; each process takes one of several GPUs.

    Returns:
        The processes, and the device of this one.

    Raises:
        ConfigError: There is no GPU for this process.
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
        # The optimizer imports it anyway. A process group created before that import is never freed
        # (seen with torch 2.15), and its threads may then crash the process at its end.
        importlib.import_module("torch._dynamo")
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=_PATIENCE)
    return Processes(rank, count), device


def leave() -> None:
    """Leave the process group."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


_ENVIRONMENT = (("WORLD_SIZE", "1"), ("RANK", "0"))
