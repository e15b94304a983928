"""What a record depends on: code, command, packages, machine, and digests of its inputs.

Every record that states figures holds the result of `stamp` as ``provenance``, so that another
machine can reproduce the figures, and two records can be compared (`differences`).
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PACKAGE = Path(__file__).parents[1]
PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "safetensors", "pycocoevalcap")
"""The packages on which numbers depend."""
ENVIRONMENT = re.compile(r"SHOWATTEND_\w+|(ONEDNN|DNNL|MKL|OMP)_[A-Z_]*|ATEN_CPU_CAPABILITY")
"""Environment variables that change arithmetic; no others are recorded."""
DIGITS = 16
"""Hexadecimal digits of a digest."""

_SECRET = re.compile(r"(?i)^(--?[\w.-]*(?:password|passwd|secret|token|key)[\w.-]*)=.*")
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")
_command: list[str] = []


def remember_command(arguments: Sequence[str], program: str = "showattend") -> None:
    """Keep the command line of this process for `stamp`; the last call counts."""
    _command[:] = [program, *hide_secrets(arguments)]


def hide_secrets(arguments: Sequence[str]) -> list[str]:
    """Replace passwords and tokens in a command line by ``***``."""
    found, secret = [], False
    for each in arguments:
        shown = _LOGIN.sub("***@", _SECRET.sub(r"\1=***", each))
        found.append("***" if secret and not each.startswith("-") else shown)
        secret = bool(_SECRET.match(f"{each}=")) and "=" not in each
    return found


@functools.cache
def source_state() -> dict[str, Any]:
    """Describe the package's code.

    Returns:
        version; sources, a digest of all Python files of the package; in a git checkout also
        commit, and changed, whether any file of the package differs from it.
    """
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py"), key=lambda each: each.relative_to(PACKAGE).parts):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    from showattend import __version__

    state: dict[str, Any] = {"version": __version__, "sources": digest.hexdigest()[:DIGITS]}
    top = _git("rev-parse", "--show-toplevel")
    if top is not None and Path(top).resolve() == PACKAGE.parent.resolve():
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", PACKAGE.name)
        if commit and changed is not None:
            state |= {"commit": commit, "changed": bool(changed)}
    return state


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ("git", "-C", str(PACKAGE.parent), *arguments),
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):  # no git, or no checkout
        return None
    return done.stdout.strip()


@functools.cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def machine(device: torch.device | None = None) -> dict[str, Any]:
    """Describe the machine and how this process uses it.

    Args:
        device: The device that computed; None if no model ran, so that PyTorch is not imported.
    """
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": os.cpu_count(),
    }
    if device is not None:
        import torch

        found |= {
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "device": device.type,
        }
        if device.type == "cuda":
            found["gpu"] = torch.cuda.get_device_name(device)
    if given := {key: os.environ[key] for key in sorted(os.environ) if ENVIRONMENT.fullmatch(key)}:
        found["environment"] = given
    return found


def stamp(device: torch.device | None = None, **inputs: Any) -> dict[str, Any]:
    """Build the provenance of a record.

    Args:
        device: The device that computed it; None if no model ran.
        **inputs: What it was made from, as plain values: settings, and digests of files.

    Returns:
        code (`source_state`), command (None in a program that is not our command line), packages,
        machine and the inputs, as plain values.
    """
    return {
        "code": dict(source_state()),
        "command": list(_command) or None,
        "packages": dict(_versions()),
        "machine": machine(device),
        **inputs,
    }


def file_digest(path: Path) -> str | None:
    """Compute the first digits of the SHA-256 of a file; None if it is none or cannot be read."""
    try:
        if not path.is_file():  # a pipe can be read only once
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
    except OSError:
        return None


def joint_digest(digests: Iterable[str | None]) -> str:
    """Compute a digest of the digests of files, in their order; None is a file without one."""
    joint = hashlib.sha256()
    for digest in digests:
        joint.update((digest or "unreadable")[:DIGITS].encode())
    return joint.hexdigest()[:DIGITS]


def portable(values: Any) -> Any:
    """Replace absolute paths in plain values by ``.../NAME``, for files that are shared.

    Args:
        values: Plain values, such as a provenance.
    """
    if isinstance(values, Mapping):
        return {key: portable(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [portable(value) for value in values]
    if not isinstance(values, str):
        return values
    name, equals, value = values.partition("=")
    if equals and _is_absolute(value):
        return f"{name}={_shorten(value)}"
    return _shorten(values) if _is_absolute(values) else values


def _is_absolute(text: str) -> bool:
    return text.startswith(("/", "~/")) or re.match(r"[A-Za-z]:[\\/]", text) is not None


def _shorten(path: str) -> str:
    return ".../" + re.split(r"[\\/]", path.rstrip("/\\"))[-1]


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Convert nested dictionaries to one, with keys such as ``machine.threads``."""
    if not isinstance(values, Mapping):
        return {prefix.rstrip("."): values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.")
    return flat


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], sections: Sequence[str] | None = None
) -> list[tuple[str, Any, Any]]:
    """List the differences between two provenances.

    Args:
        one: A provenance, or other plain values.
        other: The same of another record.
        sections: The keys to compare; None compares all.

    Returns:
        (key, value of one, value of the other); None if there is none.
    """
    first, second = (
        flatten({key: each[key] for key in each if sections is None or key in sections})
        for each in (one, other)
    )
    keys = [*first, *(key for key in second if key not in first)]
    pairs = ((key, first.get(key), second.get(key)) for key in keys)
    return [(key, a, b) for key, a, b in pairs if a != b]


MADE_BY = ("code", "packages", "machine")


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Describe how code, packages and machine changed, as "machine.threads was 2, is 1".

    A change of the sources is one line, with the commits if they are known.
    """
    lines = []
    for key, was, now_is in differences(before, now, MADE_BY):
        if key == "code.sources" or not key.startswith("code."):
            lines.append(f"{key} was {was}, is {now_is}")
    return lines


def describe(provenance: Mapping[str, Any]) -> list[str]:
    """Describe a provenance in a few lines, each with a title of twelve characters."""
    code, packages = provenance.get("code", {}), provenance.get("packages", {})
    how = provenance.get("machine", {})
    lines = []
    if code:
        commit = str(code.get("commit", ""))[:12]
        state = f", commit {commit}{', changed' if code.get('changed') else ''}" if commit else ""
        sources = f"showattend {code.get('version')}{state}, sources {code.get('sources')}"
        lines.append(f"code         {sources}")
    if command := provenance.get("command"):
        import shlex

        lines.append(f"command      {shlex.join(map(str, command))}")
    if packages:
        named = ", ".join(f"{name} {version}" for name, version in packages.items())
        lines.append(f"packages     {named}")
    if how:
        parts = [f"{how.get('processor')}"]
        if device := how.get("gpu") or how.get("device"):
            parts[0] += f" ({how.get('instructions')})"
            parts += [f"{how.get('threads')} threads", device]
        lines.append(f"machine      {', '.join(parts)}")
        for name, value in how.get("environment", {}).items():
            lines.append(f"environment  {name}={value}")
    known = {"code", "command", "packages", "machine", "search"}
    rest = {key: value for key, value in provenance.items() if key not in known}
    lines += [f"{key:<12} {value}" for key, value in flatten(rest).items() if value is not None]
    return lines
