"""The gradients of a step, summed over all processes while the backward pass still runs.

PyTorch's ``DistributedDataParallel`` does it: each part of the gradients is sent as soon as it is
complete, while the others are computed.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import nn

from showattend.system.processes import Processes, others

T = TypeVar("T")


class SharedGradients:
    """Computes losses so that their gradients are those of all processes together.

    Buffers that training changes are averaged over the processes after every step, so that all have
    the same ones and any of them can save the state.

    Args:
        processes: The processes, which all construct and call this together.
    """

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self._modules: list[nn.Module] = []
        self._model: Any = None

    def _wrap(self, modules: Sequence[nn.Module]) -> None:
        """Prepare messages for these modules; the first process sends its weights to the others."""
        if self.processes.count == 1 or list(modules) == self._modules:
            return
        self.close()
        self._modules = list(modules)
        from torch import _dynamo  # slow to import

        # Otherwise compiled code would be cut where messages begin.
        _dynamo.config.optimize_ddp = False
        with warnings.catch_warnings():
            # The replacement of broadcast_buffers in torch 2.15 does not exist in torch 2.8.
            warnings.simplefilter("ignore", FutureWarning)
            self._model = nn.parallel.DistributedDataParallel(
                _Called(modules), broadcast_buffers=False, gradient_as_bucket_view=True
            )

    def close(self) -> None:
        """Free what sends messages; `backward` prepares it again.

        ``DistributedDataParallel`` is part of a reference cycle, and holds the process group and
        its threads until the cycle is collected.
        """
        if self._model is not None:
            self._modules, self._model = [], None
            gc.collect()

    def backward(
        self,
        modules: Sequence[nn.Module],
        compute: Callable[[], T],
        total: Callable[[T], torch.Tensor],
        *,
        last: bool,
    ) -> T:
        """Add the gradients of one batch.

        Args:
            modules: All modules that learn; each of their parameters must affect the loss.
            compute: Runs the modules; called once.
            total: Computes, from its result, the scalar whose gradients are added: this process's
                share of the sum over all processes.
            last: Whether the batch completes a step. Only then are the gradients those of all
                processes.

        Returns:
            The result of ``compute``.

        Raises:
            UserError: Another process is gone.
        """
        if self.processes.count == 1:
            found = compute()
            total(found).backward()
            return found
        with others(only=False):
            self._wrap(modules)
            with nullcontext() if last else self._model.no_sync():
                found = self._model(compute)
                # DistributedDataParallel averages gradients over the processes; we need the sum.
                (total(found) * self.processes.count).backward()
        if last:
            self.processes.average(_learned_buffers(modules))
        return found


def _learned_buffers(modules: Sequence[nn.Module]) -> list[torch.Tensor]:
    """The buffers that training changes, such as the baseline of hard attention.

    Each process computes them from its own part of the batch. Those of modules in eval mode, such
    as the encoder's statistics, do not change.
    """
    return [
        buffer
        for module in modules
        for part in module.modules()
        if part.training
        for buffer in part.buffers(recurse=False)
        if buffer.is_floating_point()
    ]


class _Called(nn.Module):
    """Modules that are run by a function."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, compute: Callable[[], Any]) -> Any:
        """What the function returns."""
        return compute()
