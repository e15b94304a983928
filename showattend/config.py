"""Typed configuration: dataclasses filled from a YAML file and ``key=value`` overrides.

Only builders (`showattend.model.build`, `showattend.training`) read these classes; modules take
plain keyword arguments. A field's ``help`` is its documentation.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from showattend.exceptions import ConfigError

T = TypeVar("T")


def _option(default: Any, help: str, read: Callable[[Any, str], Any] | None = None) -> Any:
    """A field with help text; ``read`` converts the YAML value where a type check is not enough."""
    metadata = {"help": help, "read": read}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DataSetConfig:
    """One of several data sets that a model is trained on."""

    path: str = _option("", "dataset.jsonl from `showattend prepare`")
    weight: float = _option(
        1.0, "how often each training image is drawn per epoch: 2 twice, 0.5 in every other epoch"
    )
    name: str | None = _option(None, "its name in reports; null: the name of its folder")
    images: str | None = _option(None, "its image folder; null: data.images")


def _read_paths(value: Any, where: str) -> str | tuple[DataSetConfig, ...]:
    """``data.path``: one path, or a list of paths and sections."""
    if not isinstance(value, list | tuple):
        if not isinstance(value, str):
            raise ConfigError(f"{where} is {value!r}; it must be text, or a list of data sets")
        return value
    if not value:
        raise ConfigError(f"{where} is an empty list; it must name at least one data set")
    return tuple(
        from_dict(DataSetConfig, {"path": each} if isinstance(each, str) else each, f"{where}[{i}]")
        for i, each in enumerate(value)
    )


@dataclass(frozen=True)
class DataConfig:
    """Where the images and captions are."""

    path: str | tuple[DataSetConfig, ...] = _option(
        "",
        "dataset.jsonl from `showattend prepare`, or 'toy' for synthetic shapes; or a list of such "
        "files, each optionally a section with path, weight, name and images",
        _read_paths,
    )
    images: str | None = _option(None, "image folder that relative paths in the data set refer to")
    cache: str | None = _option(
        "data/cache", "folder of the feature caches; null: decode images for every batch"
    )
    min_count: int = _option(5, "least number of training occurrences for a word to be learnt")
    max_length: int = _option(30, "longer training captions are truncated to this many words")
    mirror: bool = _option(
        False, "mirror training images half of the time, except with captions about left or right"
    )
    crops: int = _option(
        0, "number of random crops per training image, used besides the whole image"
    )
    crop_area: float = _option(0.75, "minimum fraction of the image that a crop keeps")
    toy_images: int = _option(1200, "number of pictures to draw for path: toy")
    train_images: int | None = _option(None, "train on this many randomly chosen images; null: all")
    val_images: int | None = _option(None, "validate on this many random images; null: all")

    @property
    def sets(self) -> tuple[DataSetConfig, ...]:
        """The data sets, each with its image folder: one or several."""
        if isinstance(self.path, str):
            return (DataSetConfig(self.path, images=self.images),)
        return tuple(
            dataclasses.replace(each, images=each.images or self.images) for each in self.path
        )

    @property
    def said(self) -> str:
        """The paths, for messages."""
        return ", ".join(each.path for each in self.sets)


@dataclass(frozen=True)
class EncoderConfig:
    """The backbone and its input."""

    name: str = _option(
        "efficientnet_lite0",
        "a name from showattend.model.backbones, timm:MODEL or torchvision:MODEL",
    )
    size: int | None = _option(None, "side of the network's input in pixels; null: the default")
    fit: str = _option("squash", "squash (the whole photo), crop (the centre square) or pad")
    pretrained: bool = _option(True, "start from ImageNet weights")
    finetune_from: str | None = _option(None, "train this stage and all after it; null: frozen")
    beside: str | None = _option(
        None,
        "an earlier stage, such as blocks.4, whose features are concatenated with the last "
        "stage's, interpolated to the finer grid; null: only the last stage",
    )
    self_attention: int = _option(
        0, "layers of self-attention over the grid, trained with the decoder; 0: none"
    )
    self_attention_dim: int = _option(512, "their width, and that of the annotations after them")
    self_attention_heads: int = _option(8, "their heads")
    self_attention_dropout: float = _option(0.1, "dropout on what each part of a layer adds")


@dataclass(frozen=True)
class AttentionConfig:
    """How the decoder decides where to look."""

    kind: str = _option(
        "additive",
        "additive, dot, scaled_dot, general, location, convolution, multi_head, multi_hop, "
        "hierarchical or none (the mean annotation)",
    )
    mode: str = _option(
        "soft",
        "soft (expected annotation vector) or hard (a sampled one; section 4.1 of the paper)",
    )
    sentinel: bool = _option(
        False, "may attend to the decoder's state instead of the image (Lu et al. 2017)"
    )
    heads: int = _option(8, "multi_head: maps per step")
    hops: int = _option(4, "multi_hop: maps per step")
    hop_penalty: float = _option(0.1, "multi_hop: weight of the penalty on similar maps")
    regions: int = _option(3, "hierarchical: regions per side of the grid")
    grid: int = _option(7, "location: cells per side of the learned grid")
    filters: int = _option(16, "convolution: filters over the weights of the previous step")
    kernel: int = _option(5, "convolution: cells per side of each filter; odd")
    sampled: float = _option(
        0.5, "hard: fraction of the images with sampled locations; the others are soft"
    )
    reward: float = _option(1.0, "hard: lambda_r, weight of the REINFORCE term")
    entropy: float = _option(0.01, "hard: lambda_e, weight of the maps' entropy")


@dataclass(frozen=True)
class DecoderConfig:
    """The decoder; the paper's symbols for the sizes are in brackets.

    A key that the kind does not use must have its default.
    """

    kind: str = _option("lstm", "lstm (the paper), luong, updown, transformer or masked")
    embedding_dim: int = _option(512, "word embedding (E)")
    hidden_dim: int = _option(512, "LSTM state (M); the width of a Transformer and its embedding")
    attention_dim: int = _option(512, "attention space (A)")
    gate: str = _option("scalar", "beta: scalar (the paper), vector or none")
    attend_with: str = _option("previous", "previous (the paper's h_{t-1}) or current (h_t)")
    embedding_dropout: float = _option(0.3, "dropout on word embeddings")
    feature_dropout: float = _option(0.3, "dropout on annotations")
    dropout: float = _option(0.5, "dropout before the output layer")
    projection_dim: int = _option(
        0, "width of a ReLU layer that the annotation vectors pass through first; 0: no such layer"
    )
    layers: int = _option(3, "transformer, masked: layers")
    heads: int = _option(8, "transformer, masked: heads of each attention")
    feedforward_dim: int = _option(2048, "transformer, masked: width of the feed-forward layers")
    sublayer_dropout: float = _option(
        0.1, "transformer, masked: dropout on what each part of a layer adds"
    )


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation, validation and stopping."""

    out: str = _option("runs/model", "folder of the run: the model, its record, the resume state")
    init_from: str | None = _option(
        None,
        "start from this model of the same sizes, adding the words that it lacks; "
        "null: random weights",
    )
    init_temperature: float = _option(
        1.0,
        "divide the word scores of the starting model by this; values over 1 undo the sharpening "
        "of self-critical training",
    )
    epochs: int = _option(15, "passes over the training images with cross-entropy")
    batch_size: int = _option(32, "images per batch and process, each with all its captions")
    accumulate: int = _option(1, "batches per step; their gradients are summed")
    lr: float = _option(1e-3, "peak learning rate of the decoder")
    encoder_lr: float = _option(1e-4, "peak learning rate of the trained encoder stages")
    finetune_after: int = _option(
        0, "epochs in which only the decoder is trained, before the encoder stages join"
    )
    warmup: float = _option(0.05, "fraction of all steps in which the rates rise from zero")
    schedule: str = _option("cosine", "cosine (to 2 % of the peak) or constant, after the warm-up")
    weight_decay: float = _option(0.01, "weight decay of AdamW, on matrices only")
    clip_norm: float = _option(5.0, "maximum gradient norm; 0: no clipping")
    label_smoothing: float = _option(0.1, "probability spread evenly over the vocabulary")
    doubly_stochastic: float = _option(1.0, "lambda of the paper's equation 14")
    ema: float = _option(
        0.0, "decay of the moving average of the weights, which is validated and saved; 0: none"
    )
    rare_words: float = _option(
        0.0,
        "tau of logit adjustment after the last epoch: tau times a word's log frequency is "
        "subtracted from its score; gives more different words and a lower CIDEr",
    )
    precision: str = _option("auto", "auto (bf16 where the processor has it), fp32, bf16 or fp16")
    compile: bool = _option(
        False, "fuse the decoder's elementwise operations with torch.compile, given a compiler"
    )
    device: str = _option("auto", "auto, cpu, cuda or mps")
    seed: int = _option(0, "the same seed gives the same result on the same machine and threads")
    validate_from: int = _option(
        1, "first epoch after which captions are scored; the last one always is"
    )
    validate_beam: int = _option(3, "beam size for validation")
    patience: int = _option(5, "stop after this many epochs without a better CIDEr; 0: never")
    save_every: float = _option(5.0, "minutes between saves of the resume state within an epoch")
    workers: int = _option(2, "threads that decode images if features are not cached")


@dataclass(frozen=True)
class SelfCriticalConfig:
    """Self-critical training on the score of sampled captions, after cross-entropy."""

    epochs: int = _option(0, "passes over the training images with CIDEr-D as the reward; 0: none")
    lr: float = _option(5e-5, "peak learning rate of the decoder; the encoder is frozen")
    samples: int = _option(5, "captions sampled per image; the others are each one's baseline")
    temperature: float = _option(
        0.5, "divide the word scores by this first; label smoothing leaves them too flat to sample"
    )
    max_length: int = _option(20, "maximum words per sample; truncated ones have no <end>")
    min_references: int = _option(
        1, "leave out images with fewer human captions than this, whose reward is noisy"
    )
    runs: int = _option(
        1, "number of runs from the same starting model, whose weights are then averaged"
    )
    start_share: float = _option(0.0, "share of the starting model's weights in that average")


@dataclass(frozen=True)
class SearchConfig:
    """Search defaults that travel with the model."""

    beam_size: int = _option(5, "hypotheses per image")
    max_length: int = _option(30, "maximum number of words")
    min_length: int = _option(1, "minimum number of words")
    length_penalty: float = _option(0.7, "rank by log p / length ** this")
    block_ngrams: int = _option(0, "forbid repeating an n-gram of this many words; 0: allow")


@dataclass(frozen=True)
class Config:
    """The settings of a training run."""

    data: DataConfig = _option(DataConfig, "where the images and captions are")
    encoder: EncoderConfig = _option(EncoderConfig, "the backbone")
    attention: AttentionConfig = _option(AttentionConfig, "how it decides where to look")
    decoder: DecoderConfig = _option(DecoderConfig, "what writes the caption")
    train: TrainConfig = _option(TrainConfig, "optimisation, validation, stopping")
    self_critical: SelfCriticalConfig = _option(
        SelfCriticalConfig, "training on the score of sampled captions"
    )
    search: SearchConfig = _option(SearchConfig, "search defaults that travel with the model")


_HERE = Path(__file__).parent
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


class _Empty:
    """The value of a YAML key without a value; an explicit ``null`` is None."""

    def __repr__(self) -> str:
        return "empty"


_EMPTY = _Empty()


def _read_yaml(text: str) -> Any:
    """YAML without dates: 2026-11-27 is the name of a folder, and text.

    Raises:
        ValueError: It is not YAML, or has a value that its type does not allow.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_yaml_null(self, node: Any) -> Any:
            return super().construct_yaml_null(node) if node.value else _EMPTY

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
            raise ConfigError(f"{_short(each)}: an override has the form section.key=value")
        try:
            value = _number(_read_yaml(text))
        except ValueError as error:
            raise ConfigError(f"{_short(each)}: the value is not YAML") from error
        if not text.strip():
            raise ConfigError(f"{each!r}: the value {_HOW_EMPTY}")
        target = values
        *sections, last = key.strip().split(".")
        for section in sections:
            if target.get(section) in (None, _EMPTY):  # missing or empty
                target[section] = {}
            target = target[section]
            if not isinstance(target, dict):
                raise ConfigError(f"{each!r}: {section} is not a section")
        if value is None and not sections and last in (field.name for field in _sections()):
            raise ConfigError(f"{each!r}: {last} is a section; null turns off single keys only")
        target[last] = value


_HOW_EMPTY = "is empty (an unset variable?); give a value, or null to turn it off"


def _sections() -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(Config)


def from_dict(cls: type[T], values: dict[str, Any], where: str, prefix: str = "") -> T:
    """Build a config dataclass from plain values, checking every key and type.

    Raises:
        ConfigError: See `load_config`; ``where`` names the source in the message.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: {prefix.rstrip('.')} must be a section of key: value pairs")
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
        if value is _EMPTY and (is_section or default is None):
            value = None
        if value is _EMPTY or (isinstance(value, str) and not value.strip() and value != default):
            raise ConfigError(f"{where}: {prefix}{key} {_HOW_EMPTY}")
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
        if dataclasses.is_dataclass(kind) and key in {f.name for f in dataclasses.fields(kind)}
    ]


def to_dict(config: Any) -> dict[str, Any]:
    """Convert a config to plain values for YAML or JSON."""
    return _plain(dataclasses.asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _number(value: Any) -> Any:
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
        value = _number(value)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST:
            value = float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not kind:
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise ConfigError(f"{where} is {_short(value)}; it must be {names[kind]}")
    if kind in (int, float) and not abs(value) <= _MOST:  # NaN is not either
        raise ConfigError(f"{where} is {_short(value)}; it must be a number up to {_MOST:,}")
    return value


_MOST = 2**31
"""No number of a config is larger: sizes, counts, seeds."""


def _short(value: Any) -> str:
    """A value in a message, cut where it is long."""
    try:
        shown = repr(value)
    except ValueError:  # Python does not write integers of over 4,300 digits
        shown = "a number of thousands of digits"
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
