"""Typed configuration: a YAML file and ``key=value`` overrides into dataclasses.

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
    """A field; ``read`` makes its value from what YAML gave, where a type does not say it all."""
    metadata = {"help": help, "read": read}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class DataSetConfig:
    """One of several data sets that a model is trained on."""

    path: str = _option("", "dataset.jsonl from `showattend prepare`")
    weight: float = _option(
        1.0, "how often each of its training images is drawn in an epoch: 2 twice, 0.5 every other"
    )
    name: str | None = _option(None, "what reports call it; null: the name of its folder")
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
        "dataset.jsonl from `showattend prepare`, or 'toy' for drawn shapes; or a list of such "
        "files, each of which may be a section of path, weight, name and images",
        _read_paths,
    )
    images: str | None = _option(None, "image folder, where paths in the data set are relative")
    cache: str | None = _option(
        "data/cache", "folder of the feature caches; null: decode the images for every batch"
    )
    min_count: int = _option(5, "a word is in the vocabulary from this many training occurrences")
    max_length: int = _option(30, "longer training captions are cut to this many words")
    mirror: bool = _option(
        False, "show training images mirrored half the time, but for captions with left or right"
    )
    crops: int = _option(
        0, "training images are shown whole or as one of so many random crops of each"
    )
    crop_area: float = _option(0.75, "the least share of an image that a crop keeps")
    toy_images: int = _option(1200, "how many pictures to draw for path: toy")
    train_images: int | None = _option(None, "use only so many training images (a seeded choice)")
    val_images: int | None = _option(None, "validate on only so many images (a seeded choice)")

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
    """The backbone and what it is given."""

    name: str = _option(
        "efficientnet_lite0",
        "a recipe of showattend.model.backbones, timm:MODEL or torchvision:MODEL",
    )
    size: int | None = _option(None, "pixels a side of the network's input; null: the recipe's")
    fit: str = _option("squash", "squash (the whole photo), crop (the centre square) or pad")
    pretrained: bool = _option(True, "start from ImageNet weights")
    finetune_from: str | None = _option(None, "open this stage and all after it; null: frozen")
    beside: str | None = _option(
        None,
        "an earlier stage, such as blocks.4, whose output stands beside the last one's, which is "
        "interpolated to its finer grid; null: the last stage's alone",
    )


@dataclass(frozen=True)
class AttentionConfig:
    """How the decoder chooses where to look."""

    kind: str = _option(
        "additive",
        "additive, dot, scaled_dot, general, location, convolution, multi_head, multi_hop, "
        "hierarchical or none (the mean annotation)",
    )
    mode: str = _option(
        "soft", "soft (the expected annotation) or hard (one sampled; the paper's section 4.1)"
    )
    sentinel: bool = _option(
        False, "may look at what the decoder knows already instead (Lu et al. 2017)"
    )
    heads: int = _option(8, "multi_head: maps a step")
    hops: int = _option(4, "multi_hop: maps a step")
    hop_penalty: float = _option(0.1, "multi_hop: weight of the penalty on hops that look alike")
    regions: int = _option(3, "hierarchical: regions a side of the grid")
    grid: int = _option(7, "location: cells a side of the grid that is learned")
    filters: int = _option(16, "convolution: filters over the weights of the step before")
    kernel: int = _option(5, "convolution: cells a side of each filter; odd")
    sampled: float = _option(
        0.5, "hard: share of the images whose locations are sampled; the others are soft"
    )
    reward: float = _option(1.0, "hard: lambda_r, weight of REINFORCE's term")
    entropy: float = _option(0.01, "hard: lambda_e, weight of the maps' entropy")


@dataclass(frozen=True)
class DecoderConfig:
    """The decoder; the sizes have the paper's letters in brackets."""

    kind: str = _option("lstm", "one of showattend.model.decoders")
    embedding_dim: int = _option(512, "word embedding (E)")
    hidden_dim: int = _option(512, "LSTM state (M)")
    attention_dim: int = _option(512, "attention space (A)")
    gate: str = _option("scalar", "beta: scalar (the paper), vector or none")
    attend_with: str = _option("previous", "previous (the paper's h_{t-1}) or current (h_t)")
    embedding_dropout: float = _option(0.3, "dropout on word embeddings")
    feature_dropout: float = _option(0.3, "dropout on annotations")
    dropout: float = _option(0.5, "dropout before the output layer")
    projection_dim: int = _option(
        0, "annotations pass through a trained ReLU layer of this width first; 0: as they are"
    )


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation, validation and stopping."""

    out: str = _option("runs/model", "folder of the run: the model, its record, the resume state")
    init_from: str | None = _option(
        None,
        "start from this model, of the same sizes, and add the words that it lacks; "
        "null: from random weights",
    )
    init_temperature: float = _option(
        1.0,
        "the word scores of the model to start from are divided by it: over 1 undoes the "
        "sharpening of self-critical training",
    )
    epochs: int = _option(15, "passes over the training images with cross-entropy")
    batch_size: int = _option(32, "images a batch, each with all its captions; in each process")
    accumulate: int = _option(1, "batches a step, their gradients added up")
    lr: float = _option(1e-3, "peak learning rate of the decoder")
    encoder_lr: float = _option(1e-4, "peak learning rate of the opened encoder stages")
    finetune_after: int = _option(
        0, "epochs in which the decoder learns alone, before the opened encoder stages do"
    )
    warmup: float = _option(0.05, "share of all steps in which the rates rise from zero")
    schedule: str = _option("cosine", "cosine (to 2 % of the peak) or constant, after the warm-up")
    weight_decay: float = _option(0.01, "AdamW's, on matrices only")
    clip_norm: float = _option(5.0, "largest norm of the gradient; 0: no clipping")
    label_smoothing: float = _option(0.1, "probability spread evenly over the vocabulary")
    doubly_stochastic: float = _option(1.0, "lambda of the paper's equation 14")
    ema: float = _option(
        0.0, "decay of the moving average of the weights that is validated and kept; 0: none"
    )
    rare_words: float = _option(
        0.0,
        "tau of logit adjustment, after the last epoch: tau times the log frequency of a word is "
        "taken from its score; more different words, for a lower CIDEr",
    )
    precision: str = _option("auto", "auto (bf16 where the processor has it), fp32, bf16 or fp16")
    compile: bool = _option(
        False, "fuse the decoder's elementwise work by torch.compile, where there is a compiler"
    )
    device: str = _option("auto", "auto, cpu, cuda or mps")
    seed: int = _option(0, "same seed, same result, on the same machine and thread count")
    validate_from: int = _option(
        1, "first epoch after which captions are scored; the last always is"
    )
    validate_beam: int = _option(3, "beam size of the validation searches")
    patience: int = _option(5, "stop after this many epochs without a better CIDEr; 0: never")
    save_every: float = _option(5.0, "minutes between saves of the resume state within an epoch")
    workers: int = _option(2, "threads that decode images, when features are not cached")


@dataclass(frozen=True)
class SelfCriticalConfig:
    """Training on the captions' own score, after the epochs of cross-entropy."""

    epochs: int = _option(0, "passes over the training images with CIDEr-D as the reward; 0: none")
    lr: float = _option(5e-5, "peak learning rate of the decoder; the encoder rests")
    samples: int = _option(5, "captions drawn an image; each is measured against the others")
    temperature: float = _option(
        0.5, "the model's word scores are divided by it first: smoothing left them too even to draw"
    )
    max_length: int = _option(20, "most words of a drawn caption; one cut off has no <end>")
    min_references: int = _option(
        1, "images with fewer human captions than this are left out of it: their reward is noisy"
    )
    runs: int = _option(
        1, "times that it is done, each from the same start; their weights are then averaged"
    )
    start_share: float = _option(0.0, "share of the start's own weights in that average")


@dataclass(frozen=True)
class SearchConfig:
    """Search defaults that travel with the model."""

    beam_size: int = _option(5, "hypotheses an image")
    max_length: int = _option(30, "most words")
    min_length: int = _option(1, "fewest words")
    length_penalty: float = _option(0.7, "rank by log p / length ** this")
    block_ngrams: int = _option(0, "no n-gram of this many words twice; 0: allow")


@dataclass(frozen=True)
class Config:
    """Everything a training run needs to know."""

    data: DataConfig = _option(DataConfig, "where the images and captions are")
    encoder: EncoderConfig = _option(EncoderConfig, "the backbone")
    attention: AttentionConfig = _option(AttentionConfig, "how it chooses where to look")
    decoder: DecoderConfig = _option(DecoderConfig, "what writes the caption")
    train: TrainConfig = _option(TrainConfig, "optimisation, validation, stopping")
    self_critical: SelfCriticalConfig = _option(
        SelfCriticalConfig, "training on the captions' own score"
    )
    search: SearchConfig = _option(SearchConfig, "search defaults that travel with the model")


_HERE = Path(__file__).parent
_SHIPPED = (_HERE / "configs", _HERE.parent / "configs")  # in an installed package, in a checkout


def find_config(path: str | Path) -> Path:
    """The file itself, or for ``NAME.yaml`` and ``configs/...`` the one of the package.

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
    """The package's configs that a pattern means, such as ``configs/ablation/*.yaml``.

    A shell expands patterns itself, but finds the configs of an installed package nowhere.

    Returns:
        Paths that `find_config` takes, in order; the pattern alone where it is none.
    """
    pattern = Path(pattern)
    if pattern.parts[:1] == ("configs",) and any(sign in str(pattern) for sign in "*?["):
        for folder in _SHIPPED:
            found = sorted(folder.glob(str(pattern.relative_to("configs"))))
            if found:
                return ["configs" / path.relative_to(folder) for path in found]
    return [pattern]


class _Empty:
    """What YAML makes of a key without a value; ``null`` that was written out is None."""

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

    A section may be empty: its keys have their defaults. A key may not, unless null is its
    default: where the value was to come from a variable that is not set, that would turn
    something off and say nothing.

    Raises:
        ConfigError: The file is missing or not YAML, a key is unknown (the nearest one is named),
            a value is empty or has the wrong type.
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
    """Set ``section.key=value`` overrides in the plain values of a config.

    Raises:
        ConfigError: One of them has another form.
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
            if target.get(section) in (None, _EMPTY):  # not there, or there and empty
                target[section] = {}
            target = target[section]
            if not isinstance(target, dict):
                raise ConfigError(f"{each!r}: {section} is no section")
        if value is None and not sections and last in (field.name for field in _sections()):
            raise ConfigError(f"{each!r}: {last} is a section; null turns off single keys only")
        target[last] = value


_HOW_EMPTY = "is empty (a variable that is not set?); give one, or null to turn it off"


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
    """The sections that have a key of this name: it was given without one."""
    return [
        section
        for section, kind in hints.items()
        if dataclasses.is_dataclass(kind) and key in {f.name for f in dataclasses.fields(kind)}
    ]


def to_dict(config: Any) -> dict[str, Any]:
    """The plain values of a config, as YAML or JSON take them."""
    return _plain(dataclasses.asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as text; read it as the number that it is."""
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
