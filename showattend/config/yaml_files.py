"""Configs read from YAML files and ``key=value`` overrides."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any

from showattend.config.checking import EMPTY, HOW_EMPTY, from_dict, number
from showattend.config.sections import Config
from showattend.exceptions import ConfigError, shown

_HERE = Path(__file__).parents[1]
_SHIPPED = (_HERE / "configs", _HERE.parent / "configs")  # in an installed package, in a checkout


def find_config(path: str | Path) -> Path:
    """Find a config file: the path itself, or for ``NAME.yaml`` and ``configs/...`` the shipped
    one.

    Raises:
        ConfigError: Neither exists.
    """
    path = Path(path)
    if path.is_file():
        return path
    inside = path.relative_to("configs") if path.parts[:1] == ("configs",) else path
    if inside is not path or path.parent == Path():
        for folder in _SHIPPED:
            if (folder / inside).is_file():
                return folder / inside
    raise ConfigError(f"{path}: {'a folder, not a' if path.is_dir() else 'no such'} config file")


def expand_configs(pattern: str | Path) -> list[Path]:
    """Expand a pattern such as ``configs/ablation/*.yaml`` to the shipped configs.

    A shell expands patterns by itself, but cannot find the configs of an installed package.

    Returns:
        Sorted paths for `find_config`; the argument itself if it matches nothing.
    """
    pattern = Path(pattern)
    if pattern.parts[:1] == ("configs",) and any(sign in str(pattern) for sign in "*?["):
        for folder in _SHIPPED:
            found = sorted(folder.glob(str(pattern.relative_to("configs"))))
            if found:
                return ["configs" / path.relative_to(folder) for path in found]
    return [pattern]


def _read_yaml(text: str) -> Any:
    """YAML without dates: 2026-11-27 may be a folder's name, so it is text.

    Raises:
        ValueError: It is not YAML, or has a value that its type does not allow.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_yaml_null(self, node: Any) -> Any:
            return super().construct_yaml_null(node) if node.value else EMPTY

    Loader.add_constructor("tag:yaml.org,2002:null", Loader.construct_yaml_null)
    Loader.yaml_implicit_resolvers = {
        sign: [each for each in resolvers if each[0] != "tag:yaml.org,2002:timestamp"]
        for sign, resolvers in Loader.yaml_implicit_resolvers.items()
    }
    try:
        return yaml.load(text, Loader)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:  # of tags such as !!int
        raise ValueError(str(error)) from error


def load_config(path: str | Path, overrides: typing.Sequence[str] = ()) -> Config:
    """Read a YAML config and apply ``section.key=value`` overrides.

    A section may be empty, so that its keys have their defaults. A key may not be empty unless its
    default is null: if an environment variable is not set, that would silently turn something off.

    Raises:
        ConfigError: The file is missing or not YAML, a key is unknown (the message suggests the
            nearest one), or a value is empty or has the wrong type.
    """
    path = find_config(path)
    try:
        values = _read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path}: not a YAML file: {reason}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must be sections of key: value pairs")
    override(values, overrides)
    return from_dict(Config, values, str(path))


def override(values: dict[str, Any], overrides: typing.Sequence[str]) -> None:
    """Apply ``section.key=value`` overrides to the plain values of a config, in place.

    Raises:
        ConfigError: An override has another form.
    """
    for each in overrides:
        key, sign, text = each.partition("=")
        if not sign:
            raise ConfigError(f"{shown(each)}: an override has the form section.key=value")
        try:
            value = number(_read_yaml(text))
        except ValueError as error:
            raise ConfigError(f"{shown(each)}: the value is not YAML") from error
        if not text.strip():
            raise ConfigError(f"{shown(each)}: the value {HOW_EMPTY}")
        target = values
        *sections, last = key.strip().split(".")
        for section in sections:
            if target.get(section) in (None, EMPTY):  # missing or empty
                target[section] = {}
            target = target[section]
            if not isinstance(target, dict):
                raise ConfigError(f"{shown(each)}: {section} is not a section")
        if value is None and not sections and last in (field.name for field in _sections()):
            raise ConfigError(
                f"{shown(each)}: {last} is a section; null turns off single keys only"
            )
        target[last] = value


def _sections() -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(Config)
