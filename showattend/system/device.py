"""Choosing the device and the precision; memory and exact arithmetic."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from showattend.exceptions import ConfigError

# numpy before 2.4 measures its floats at first use, and would warn in the middle of a training run,
# which rounds the smallest ones to zero.
np.finfo(np.float64)
np.finfo(np.float32)

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def choose_device(name: str = "auto") -> torch.device:
    """Choose the device to run on; auto prefers CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: The device is unknown or not available on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    message = f"device {name!r} is not available here; use auto, cpu, cuda or mps"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(message) from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(message)
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Choose the precision of large products; auto uses bf16 if the processor supports it.

    Raises:
        ConfigError: The precision is not one of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r}: must be one of {', '.join(PRECISIONS)}")
    if precision == "bf16" or (precision == "auto" and _has_bf16(device)):
        return torch.bfloat16
    return torch.float16 if precision == "fp16" else torch.float32


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # PyTorch reports bf16 support on any AVX-512 machine, where it may only be emulated.
        return bool(
            getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
            or getattr(torch.cpu, "_is_amx_tile_supported", bool)()
        )
    return False


_lock = threading.Lock()
_undo = contextlib.ExitStack()
_users = 0
_OPERATIONS = ("cuda", "matmul"), ("cudnn", "conv"), ("mkldnn", "matmul"), ("mkldnn", "conv")


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Context manager in which products of float32 numbers are computed in float32.

    By default PyTorch rounds the factors of convolutions on a GPU to TF32, and those of matrix
    products to TF32 or bfloat16 if the process asks for it
    (``torch.set_float32_matmul_precision``). The settings are process-wide and are restored when
    the last thread leaves.
    """
    global _undo, _users
    with _lock:
        _users += 1
        if _users == 1:
            _undo = _set_exact()
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _undo.close()


def _set_exact() -> contextlib.ExitStack:
    """Change the settings; closing the returned stack restores them."""
    undo, backends = contextlib.ExitStack(), torch.backends
    with contextlib.suppress(RuntimeError):  # conflicts with the newer settings below
        asked = torch.get_float32_matmul_precision()
        if asked != "highest":
            torch.set_float32_matmul_precision("highest")
            undo.callback(torch.set_float32_matmul_precision, asked)
    with contextlib.suppress(RuntimeError):
        if backends.cudnn.allow_tf32:
            backends.cudnn.allow_tf32 = False
            undo.callback(setattr, backends.cudnn, "allow_tf32", True)
    # PyTorch 2.9 and later also have a setting per operation.
    for owner, name in _OPERATIONS:
        operation: Any = getattr(getattr(backends, owner), name, None)
        asked = getattr(operation, "fp32_precision", "ieee")
        if asked in ("tf32", "bf16"):
            operation.fp32_precision = "ieee"
            undo.callback(setattr, operation, "fp32_precision", asked)
    return undo


def memory_size(device: torch.device) -> int | None:
    """The bytes of memory of a device; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not a POSIX system
        return None


def keep_freed_memory() -> bool:
    """Make the C library keep freed memory for the next step.

    Every training step, and every batch of a search, frees and allocates the same hundreds of
    megabytes. By default glibc returns large blocks to the system immediately, which then has to
    provide zeroed pages again. Called by commands and training runs, which own their process; the
    library and the server do not call it.

    Returns:
        Whether the C library accepted the setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(trim_threshold, 2**31 - 1) and mallopt(mmap_max, 0))


def give_back_freed_memory() -> bool:
    """Make the C library return freed memory to the system now.

    Returns:
        Whether the C library did so.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError):  # another C library
        return False
