"""Forked processes: PyTorch's threads do not survive a fork, and waiting for them hangs."""

from __future__ import annotations

import logging
import os

import torch

from showattend.exceptions import UserError

_log = logging.getLogger(__name__)
_forks = 0


def forks() -> int:
    """The number of forks since an ancestor of this process imported this module."""
    return _forks


def outlive_fork(device: torch.device) -> None:
    """Compute with one thread, which works, in a process forked after the model was loaded.

    Args:
        device: The device of the model.

    Raises:
        UserError: It is on a GPU, which a forked process cannot use.
    """
    remedy = (
        "load the model in the process that uses it, or start processes with "
        'multiprocessing.get_context("spawn")'
    )
    if device.type != "cpu":
        raise UserError(
            f"this process was forked after the model was loaded on {device}, and cannot use it; "
            f"{remedy}"
        )
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        _log.warning(
            "this process was forked after the model was loaded, so it captions with one thread; "
            "%s",
            remedy,
        )


def _count() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count)
