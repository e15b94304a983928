"""Typed configuration: dataclasses filled from a YAML file and ``key=value`` overrides."""

from showattend.config.checking import Key, from_dict, keys_of, to_dict
from showattend.config.sections import (
    AttentionConfig,
    CallConfig,
    Config,
    DataConfig,
    DataSetConfig,
    DecoderConfig,
    EncoderConfig,
    SearchConfig,
    SelfCriticalConfig,
    Setting,
    TrainConfig,
    defaults,
    settings,
)
from showattend.config.yaml_files import expand_configs, find_config, load_config, override

__all__ = [
    "AttentionConfig",
    "CallConfig",
    "Config",
    "DataConfig",
    "DataSetConfig",
    "DecoderConfig",
    "EncoderConfig",
    "Key",
    "SearchConfig",
    "SelfCriticalConfig",
    "Setting",
    "TrainConfig",
    "defaults",
    "expand_configs",
    "find_config",
    "from_dict",
    "keys_of",
    "load_config",
    "override",
    "settings",
    "to_dict",
]
