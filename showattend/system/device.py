"""Which device, and in which precision."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from collections.abc import Iterator
from typing import Any

import torch

from showattend.exceptions import ConfigError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def choose_device(name: str = "auto") -> torch.device:
    """The device to run on: auto takes CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: The name is no device, or this machine does not have it.
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
    """The precision of the large products: auto takes bf16 where the processor has it.

    Raises:
        ConfigError: Not one of `PRECISIONS`.
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
        # PyTorch says that it supports bf16 on any AVX-512 machine, where it only emulates it.
        return bool(
            getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
            or getattr(torch.cpu, "_is_amx_tile_supported", bool)()
        )
    return False


_lock = threading.Lock()
_undo = contextlib.ExitStack()
_users = 0


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Within it, products of float32 numbers are computed in float32.

    PyTorch lets a GPU's convolutions round their factors to TF32 by default, and matrix products
    to TF32 or bfloat16 where the process asks for it (``torch.set_float32_matmul_precision``).
    These settings belong to the process: they are put back when the last thread has left.
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
    """Change the settings; closing what is returned puts them back."""
    undo, backends = contextlib.ExitStack(), torch.backends
    with contextlib.suppress(RuntimeError):  # it contradicts the newer settings below
        asked = torch.get_float32_matmul_precision()
        if asked != "highest":
            torch.set_float32_matmul_precision("highest")
            undo.callback(torch.set_float32_matmul_precision, asked)
    with contextlib.suppress(RuntimeError):
        if backends.cudnn.allow_tf32:
            backends.cudnn.allow_tf32 = False
            undo.callback(setattr, backends.cudnn, "allow_tf32", True)
    # PyTorch 2.9 and later have a setting for each operation as well.
    for owner, name in (
        ("cuda", "matmul"),
        ("cudnn", "conv"),
        ("mkldnn", "matmul"),
        ("mkldnn", "conv"),
    ):
        operation: Any = getattr(getattr(backends, owner), name, None)
        asked = getattr(operation, "fp32_precision", "ieee")
        if asked in ("tf32", "bf16"):
            operation.fp32_precision = "ieee"
            undo.callback(setattr, operation, "fp32_precision", asked)
    return undo


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed, for the next step to use.

    A training step, or the search of a batch, frees and asks again for the same hundreds of
    megabytes; glibc gives large blocks back to the system at once, which then has to hand out
    zeroed pages again. Called by commands and training runs, which own their process; the
    library and the server do not.

    Returns:
        Whether the C library took it.
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
    """Have the C library give the system what is freed, now; glibc else keeps it for later.

    Returns:
        Whether the C library took it.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError):  # another C library
        return False
