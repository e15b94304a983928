"""Several processes that train one model together, on one machine or several.

``torchrun`` starts them. Each takes a part of every batch and of all other work. Machines need not
share a disk: the first process writes the run's folder, and sends the others what it holds; each
machine has its own data and caches. For a single process, the ordinary case, `Processes()` does
nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from showattend.exceptions import ConfigError, UserError

T = TypeVar("T")
_PATIENCE = timedelta(days=1)  # the others wait while one extracts features or writes files


@dataclass(frozen=True)
class Processes:
    """The processes of a run, or some of them.

    Attributes:
        rank: The number of this process, starting at 0.
        count: The number of processes.
        group: Those processes for ``torch.distributed``; None: all.
        machine: Those on the machine of this process; None: there is one machine.
    """

    rank: int = 0
    count: int = 1
    group: Any = None
    machine: Processes | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes arrive here."""
        if self.count > 1:
            with others():
                dist.barrier(self.group)

    def gather(self, mine: T) -> list[T]:
        """Collect a value from every process, in the order of their ranks, on all of them."""
        if self.count == 1:
            return [mine]
        everyone: list[T | None] = [None] * self.count
        with others():
            dist.all_gather_object(everyone, mine, group=self.group)
        return everyone  # type: ignore[return-value]

    def from_first(self, make: Callable[[], T]) -> T:
        """Call a function on the first process, and return what it returns on all of them.

        Args:
            make: Reads what only the first process has, such as the run's folder.

        Raises:
            UserError: The one that it raises, on all of them.
        """
        if self.count == 1:
            return make()
        found: list[Any] = [None, None]
        if self.first:
            try:
                found[0] = make()
            except UserError as error:
                found[1] = error
        source = 0 if self.group is None else dist.get_global_rank(self.group, 0)
        with others():
            dist.broadcast_object_list(found, src=source, group=self.group)
        if found[1] is not None:
            found[1].elsewhere = not self.first
            raise found[1]
        return found[0]

    def add(self, values: Sequence[int]) -> list[int]:
        """The sum of each value over all processes."""
        if self.count == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.int64, device=_device())
        with others():
            dist.all_reduce(total, group=self.group)
        return [int(each) for each in total.tolist()]

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """For each flag, whether any process has set it."""
        return [each > 0 for each in self.add([int(flag) for flag in flags])]

    def average(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors by their means over all processes.

        Args:
            tensors: [...], changed in place; of the same shapes in all processes.
        """
        if self.count == 1:
            return
        for each in tensors:
            total = each.to(_device(), copy=True)
            with others():
                dist.all_reduce(total, group=self.group)
            each.copy_(total / self.count)

    def sharing(self, folder: Path) -> Processes:
        """Those processes that find the same files in a folder: all, or those of this machine.

        All processes call this. Where the folder cannot be written, it counts as the machine's own.

        Args:
            folder: Created if absent.
        """
        if self.machine is None:
            return self
        mark: Path | None = None
        if self.first:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                handle, name = tempfile.mkstemp(prefix=".shared-", dir=folder)
                os.close(handle)
                mark = Path(name)
        found = self.from_first(lambda: mark and mark.name)
        everywhere = all(self.gather(found is not None and (folder / found).exists()))
        if mark is not None:
            with contextlib.suppress(OSError):
                mark.unlink()
        return self if everywhere else self.machine


def _device() -> torch.device:
    """The device for messages: NCCL sends only from a GPU."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


_CONNECTION = re.compile("gloo|nccl|peer|socket|connection", re.IGNORECASE)


@contextmanager
def others(*, only: bool = True) -> Iterator[None]:
    """Report it clearly if another process of the run is gone.

    Args:
        only: Whether the block only sends messages; otherwise errors that do not mention a
            connection pass through.

    Raises:
        UserError: It is.
    """
    try:
        yield
    except RuntimeError as error:
        if not only and not _CONNECTION.search(str(error)):
            raise
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
    if not _joined:  # the caller's program may have made the group
        _joined.append(_with_machines(Processes(rank, count)))
    return _joined[0], device


_joined: list[Processes] = []


def _with_machines(processes: Processes) -> Processes:
    """The processes, grouped by machine if there are several."""
    machines = processes.gather(os.environ.get("GROUP_RANK") or platform.node())
    names = list(dict.fromkeys(machines))
    if len(names) == 1:
        return processes
    mine = processes
    for name in names:  # every process makes every group
        ranks = [rank for rank, each in enumerate(machines) if each == name]
        group = dist.new_group(ranks, timeout=_PATIENCE)
        if processes.rank in ranks:
            mine = Processes(ranks.index(processes.rank), len(ranks), group)
    return Processes(processes.rank, processes.count, None, mine)


def leave() -> None:
    """Leave the process group."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
    _joined.clear()


_ENVIRONMENT = (("WORLD_SIZE", "1"), ("RANK", "0"))
