"""Devices and precisions: what is not there is refused in one line."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from showattend.exceptions import ConfigError
from showattend.system.device import choose_device, choose_dtype, exact_float32


def test_auto_takes_an_available_device() -> None:
    device = choose_device()
    if torch.cuda.is_available():
        assert device.type == "cuda"
    elif torch.backends.mps.is_available():
        assert device.type == "mps"
    else:
        assert device.type == "cpu"
    torch.ones(1, device=device)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "cpu:x"])
def test_a_missing_device_is_refused(name: str) -> None:
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


# float32 is float32 ------------------------------------------------------------------------------


def settings() -> dict[str, Any]:
    """What PyTorch allows float32 products to be computed in."""
    backends = torch.backends
    found: dict[str, Any] = {}
    for name, read in (
        ("matmul", torch.get_float32_matmul_precision),
        ("cudnn", lambda: backends.cudnn.allow_tf32),
    ):
        try:
            found[name] = read()
        except RuntimeError:  # the settings below contradict it
            found[name] = "unreadable"
    for name, owner in (
        ("cuda", backends.cuda),
        ("cudnn", backends.cudnn),
        ("mkldnn", backends.mkldnn),
    ):
        for kind in ("matmul", "conv"):
            precision = getattr(getattr(owner, kind, None), "fp32_precision", None)
            if precision is not None:  # PyTorch 2.9 and later
                found[f"{name}.{kind}"] = precision
    return found


def exact(found: dict[str, Any]) -> bool:
    return not {"tf32", "bf16", "high", "medium", True} & set(found.values())


@pytest.fixture
def restored() -> Iterator[None]:
    """What the settings are in a new process, before and after."""
    yield
    if hasattr(torch.backends, "fp32_precision"):
        torch.backends.fp32_precision = "none"
        torch.backends.mkldnn.conv.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True


ASKED_FOR = {
    "nothing": lambda: None,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "an operation": lambda: setattr(torch.backends.mkldnn.conv, "fp32_precision", "bf16"),
    "another": lambda: setattr(torch.backends.cudnn.conv, "fp32_precision", "tf32"),
    "everything": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
}


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("asked", ASKED_FOR)
def test_float32_settings_are_restored(asked: str) -> None:
    newer = hasattr(torch.backends.mkldnn, "conv")
    if not newer and asked in ("an operation", "another", "everything"):
        pytest.skip("PyTorch has no such setting yet")
    ASKED_FOR[asked]()
    before = settings()
    assert not exact(before)  # a GPU's convolutions are not, unless they are told to be
    with exact_float32():
        assert exact(settings())
        with pytest.raises(KeyError), exact_float32():
            raise KeyError
        assert exact(settings())
    assert settings() == before


@pytest.mark.usefixtures("restored")
def test_float32_stays_exact_until_the_last_thread_has_left() -> None:
    torch.set_float32_matmul_precision("medium")
    before, inside, leave = settings(), threading.Event(), threading.Event()

    def stay() -> None:
        with exact_float32():
            inside.set()
            leave.wait(60)

    other = threading.Thread(target=stay)
    with exact_float32():
        other.start()
        assert inside.wait(60)
    assert exact(settings())
    leave.set()
    other.join(60)
    assert settings() == before


@pytest.mark.usefixtures("restored")
def test_exact_float32_products_have_float32_accuracy() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(64, 256), torch.randn(256, 256)
    torch.set_float32_matmul_precision("medium")
    with exact_float32():
        found = x @ weight
    bound = 256 * 2.0**-24 * (x.double().abs() @ weight.double().abs())
    assert ((found - x.double() @ weight.double()).abs() <= bound).all()


# Memory ------------------------------------------------------------------------------------------


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_can_be_returned() -> None:
    """In a process of its own: small blocks, which glibc keeps when they are freed."""
    code = """
from pathlib import Path
from showattend.system.device import give_back_freed_memory
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
from showattend.system.device import keep_freed_memory
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
