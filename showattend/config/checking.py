"""Plain values checked against the fields of a dataclass.

A field's ``help`` is its documentation.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable
from dataclasses import field
from typing import Any, NamedTuple, TypeVar

from showattend.exceptions import ConfigError, shown

T = TypeVar("T")


def option(
    default: Any,
    help: str,
    read: Callable[[Any, str], Any] | None = None,
    within: tuple[float, float] | None = None,
) -> Any:
    """A field.

    Args:
        default: Its default value, or a type to construct it.
        help: Its documentation.
        read: Converts the YAML value, if the type does not determine how.
        within: The smallest and the largest allowed value.
    """
    metadata = {"help": help, "read": read, "within": within}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


class Key(NamedTuple):
    """A key of a section, for its documentation."""

    name: str
    default: Any
    help: str


def keys_of(cls: type) -> list[Key]:
    """Return the keys of a section's class; of several kinds, each with the kinds that have it."""
    if (keys := getattr(cls, "keys", None)) is not None:  # a `KindConfig`
        return keys()
    return [Key(f.name, f.default, f.metadata["help"]) for f in dataclasses.fields(cls)]


class Empty:
    """The value of a YAML key without a value; an explicit ``null`` is None."""

    def __repr__(self) -> str:
        return "empty"


EMPTY = Empty()


HOW_EMPTY = "is empty (an unset variable?); give a value, or null to turn it off"


def from_dict(cls: type[T], values: dict[str, Any], where: str, prefix: str = "") -> T:
    """Build a config dataclass from plain values, checking every key and type.

    Raises:
        ConfigError: See `load_config`; ``where`` names the source in the message.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: {prefix.rstrip('.')} must be a section of key: value pairs")
    if (read := getattr(cls, "from_values", None)) is not None:  # a `KindConfig`
        return read(values, where, prefix)
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    names = [f.name for f in fields]
    built: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            near = [f"{section}.{key}" for section in _sections_with(key, hints)]
            near = near or [prefix + name for name in difflib.get_close_matches(str(key), names, 1)]
            known = f"known: {', '.join(names)}"
            hint = f"did you mean {' or '.join(near)}?" if near else known
            raise ConfigError(f"{where}: unknown key {prefix}{key}; {hint}")
        hint, default = hints[key], next(f.default for f in fields if f.name == key)
        is_section = dataclasses.is_dataclass(hint)
        if value is EMPTY and (is_section or default is None):
            value = None
        if value is EMPTY or (isinstance(value, str) and not value.strip() and value != default):
            raise ConfigError(f"{where}: {prefix}{key} {HOW_EMPTY}")
        if read := next(f.metadata.get("read") for f in fields if f.name == key):
            built[key] = read(value, f"{where}: {prefix}{key}")
        elif is_section:
            section = {} if value is None else value
            built[key] = from_dict(hint, section, where, f"{prefix}{key}.")
        else:
            built[key] = _checked(value, hint, f"{where}: {prefix}{key}")
    return cls(**built)


def _sections_with(key: Any, hints: dict[str, Any]) -> list[str]:
    """The sections that have a key of this name, for a key given without a section."""
    return [
        section
        for section, kind in hints.items()
        if isinstance(kind, type)
        and dataclasses.is_dataclass(kind)
        and key in {each.name for each in keys_of(kind)}
    ]


def to_dict(config: Any) -> dict[str, Any]:
    """Convert a config to plain values for YAML or JSON."""
    values: dict[str, Any] = _plain(config)
    return values


def _plain(value: Any) -> Any:
    if (plain := getattr(value, "to_values", None)) is not None:  # a `KindConfig`
        return plain()
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def number(value: Any) -> Any:
    """Convert text such as 1e-3, which YAML 1.1 does not read as a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _checked(value: Any, hint: Any, where: str) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    kind = next(k for k in kinds if k is not type(None))
    if kind is float:
        value = number(value)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST:
            value = float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not kind:
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise ConfigError(f"{where} is {shown(value)}; it must be {names[kind]}")
    if kind in (int, float) and not abs(value) <= _MOST:  # NaN is not either
        raise ConfigError(f"{where} is {shown(value)}; it must be a number up to {_MOST:,}")
    return value


_MOST = 2**31
"""The largest number in a config: sizes, counts, seeds."""
