"""Devices and precisions: what is not there is refused in one line."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from showattend.device import choose_device, choose_dtype
from showattend.errors import ConfigError


def test_auto_takes_what_is_there() -> None:
    device = choose_device()
    if torch.cuda.is_available():
        assert device.type == "cuda"
    elif torch.backends.mps.is_available():
        assert device.type == "mps"
    else:
        assert device.type == "cpu"
    torch.ones(1, device=device)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="not available here; use auto, cpu") as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("has", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_precision_follows_the_processor(
    has: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: has, raising=False)
    cpu = torch.device("cpu")
    assert choose_dtype("auto", cpu) == expected
    assert choose_dtype("fp32", cpu) == torch.float32
    assert choose_dtype("bf16", cpu) == torch.bfloat16


def test_a_gpu_that_only_emulates_bf16_runs_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    assert choose_dtype("auto", torch.device("cuda")) == torch.float32


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="precision 'fp8': must be one of auto, fp32, bf16, fp16"):
        choose_dtype("fp8", torch.device("cpu"))
    assert choose_dtype("fp16", torch.device("cpu")) == torch.float16


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_given_back() -> None:
    """In a process of its own: small blocks, which glibc keeps when they are freed."""
    code = """
from pathlib import Path
from showattend.device import give_back_freed_memory
def private():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))
blocks = [bytes(2000) for _ in range(100_000)]
kept = blocks[-1:]
full = private()
del blocks
assert give_back_freed_memory()
assert private() < full - 150, (full, private())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept() -> None:
    """In a process of its own: resident memory stays up after a large block is freed."""
    code = """
import sys
import torch
from showattend.device import keep_freed_memory
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
if sys.argv[1] == "keep":
    assert keep_freed_memory()
before = resident()
block = torch.ones(50_000_000)
del block
print(resident() - before)
"""
    kept, returned = (
        int(
            subprocess.run(
                [sys.executable, "-c", code, how], check=True, capture_output=True
            ).stdout
        )
        for how in ("keep", "as it is")
    )
    assert kept > 150e6 > 50e6 > returned
