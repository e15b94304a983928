"""The sections of a config, as dataclasses.

Only builders (`showattend.model.build`, `showattend.training`) read these classes; modules take
plain keyword arguments.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from showattend.config.checking import Key, from_dict, keys_of, option
from showattend.exceptions import ConfigError, shown


@dataclass(frozen=True)
class DataSetConfig:
    """One of several data sets to train on."""

    path: str = option("", "dataset.jsonl from `showattend prepare`")
    weight: float = option(
        1.0, "how often each training image is drawn per epoch: 2 twice, 0.5 in every other epoch"
    )
    name: str | None = option(None, "its name in reports; null: the name of its folder")
    images: str | None = option(None, "its image folder; null: data.images")


def _read_paths(value: Any, where: str) -> str | tuple[DataSetConfig, ...]:
    """``data.path``: one path, or a list of paths and sections."""
    if not isinstance(value, list | tuple):
        if not isinstance(value, str):
            raise ConfigError(f"{where} is {shown(value)}; it must be text, or a list of data sets")
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

    path: str | tuple[DataSetConfig, ...] = option(
        "",
        "dataset.jsonl from `showattend prepare`, shards such as DIR/*.tar, or 'toy' for synthetic "
        "shapes; or a list, each optionally a section with path, weight, name and images",
        _read_paths,
    )
    images: str | None = option(None, "image folder that relative paths in the data set refer to")
    cache: str | None = option(
        "data/cache", "folder of the feature caches; null: decode images for every batch"
    )
    min_count: int = option(5, "least number of training occurrences for a word to be learnt")
    max_length: int = option(30, "longer training captions are truncated to this many words")
    mirror: bool = option(
        False, "mirror training images half of the time, except with captions about left or right"
    )
    crops: int = option(
        0, "number of random crops per training image, used besides the whole image"
    )
    crop_area: float = option(0.75, "minimum fraction of the image that a crop keeps")
    toy_images: int = option(1200, "number of pictures to draw for path: toy")
    train_images: int | None = option(None, "train on this many randomly chosen images; null: all")
    val_images: int | None = option(None, "validate on this many random images; null: all")

    lanes: int = option(
        8,
        "shards: number of streams that are read side by side; a multiple of the number of "
        "processes, whose result then does not depend on that number",
    )
    mixed_shards: int = option(
        2, "shards: number of neighbouring shards of a stream that are shuffled together"
    )

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

    name: str = option(
        "efficientnet_lite0",
        "a name from showattend.model.backbones, timm:MODEL or torchvision:MODEL",
    )
    size: int | None = option(None, "side of the network's input in pixels; null: the default")
    fit: str = option("squash", "squash (the whole photo), crop (the centre square) or pad")
    pretrained: bool = option(True, "start from ImageNet weights")
    finetune_from: str | None = option(None, "train this stage and all after it; null: frozen")
    beside: str | None = option(
        None,
        "an earlier stage, such as blocks.4, whose features are concatenated with the last "
        "stage's, interpolated to the finer grid; null: only the last stage",
    )
    self_attention: int = option(
        0, "layers of self-attention over the grid, trained with the decoder; 0: none"
    )
    self_attention_dim: int = option(512, "their width, and that of the annotations after them")
    self_attention_heads: int = option(8, "their heads")
    self_attention_dropout: float = option(0.1, "dropout on what each part of a layer adds")


@dataclass(frozen=True, init=False)
class KindConfig:
    """A section with a kind, whose other keys are the options of that kind.

    The options are declared by the classes of the kinds (`showattend.model.kinds`), and are
    attributes of the section: ``config.decoder.gate``.

    Args:
        kind: A name in the section's registry; empty for the default.
        **options: Options of the kind. Those that only other kinds have must have their defaults.

    Attributes:
        section: The name of the section.
        default: The default kind.
        kind: The kind.
        options: All options of the kind.

    Raises:
        ConfigError: The kind or an option is unknown, a value is out of bounds, or the kind does
            not have an option.
    """

    section: ClassVar[str]
    default: ClassVar[str]
    kind: str
    options: Mapping[str, Any] = field(hash=False)

    def __init__(self, kind: str = "", **options: Any) -> None:
        from showattend.model.kinds import choose_options

        kind = kind or self.default
        chosen = choose_options(self.section, self.registry(), kind, options)
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "options", chosen)

    def __getattr__(self, name: str) -> Any:
        """Look up an option of the kind."""
        try:
            return self.__dict__["options"][name]
        except KeyError:
            kind = self.__dict__.get("kind")
            raise AttributeError(f"{self.section}.kind {kind} has no option {name}") from None

    @classmethod
    def registry(cls) -> Mapping[str, type]:
        """Return the classes by kind; imports PyTorch."""
        raise NotImplementedError

    @classmethod
    def keys(cls) -> list[Key]:
        """Return the keys of all kinds; those of the same name once for each declaration."""
        from showattend.model.kinds import options_of

        registry = cls.registry()
        users: dict[tuple[str, Any, str], list[str]] = {}
        for kind, each in registry.items():
            for name, declared in options_of(each).items():
                key = name, declared.default, declared.about.help
                users.setdefault(key, []).append(kind)
        return [
            Key("kind", cls.default, f"one of {', '.join(registry)}"),
            *(
                Key(
                    name,
                    default,
                    about if len(kinds) == len(registry) else f"{', '.join(kinds)}: {about}",
                )
                for (name, default, about), kinds in users.items()
            ),
        ]

    @classmethod
    def from_values(cls, values: dict[str, Any], where: str, prefix: str) -> Self:
        """Build the section from plain values, checking every key and type; see `from_dict`.

        Raises:
            ConfigError: See `KindConfig`; ``where`` names the source in the message.
        """
        from showattend.model.kinds import all_options, options_of

        registry = cls.registry()
        known = all_options(registry)
        if isinstance(kind := values.get("kind", cls.default), str) and kind in registry:
            known |= options_of(registry[kind])
        fields = [
            (name, declared.type, option(declared.default, declared.about.help))
            for name, declared in known.items()
        ]
        keys = dataclasses.make_dataclass("Keys", [("kind", str, option(cls.default, "")), *fields])
        read: Any = from_dict(keys, values, where, prefix)
        try:
            return cls(**{key: getattr(read, key) for key in values})
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error

    def to_values(self) -> dict[str, Any]:
        """Return the kind and its options as plain values."""
        return {"kind": self.kind, **self.options}


@dataclass(frozen=True, init=False)
class AttentionConfig(KindConfig):
    """How the decoder decides where to look: a kind of attention, and its options."""

    section: ClassVar[str] = "attention"
    default: ClassVar[str] = "additive"

    @classmethod
    def registry(cls) -> Mapping[str, type]:
        """Return the classes by kind; imports PyTorch."""
        from showattend.model.attention import ATTENTIONS

        return ATTENTIONS


@dataclass(frozen=True, init=False)
class DecoderConfig(KindConfig):
    """What writes the caption: a kind of decoder, and its options.

    The paper's symbols for the sizes are in brackets.
    """

    section: ClassVar[str] = "decoder"
    default: ClassVar[str] = "lstm"

    @classmethod
    def registry(cls) -> Mapping[str, type]:
        """Return the classes by kind; imports PyTorch."""
        from showattend.model.decoders import DECODERS

        return DECODERS


def _read_board(value: Any, where: str) -> str | None:
    """``train.tensorboard``: a folder, or YAML's on and off."""
    if value is None or value is False:
        return None
    if value is True:
        return "on"
    if not isinstance(value, str):
        raise ConfigError(f"{where} is {value!r}; it must be a folder, on or off")
    return value


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation, validation and stopping."""

    out: str = option("runs/model", "folder of the run: the model, its record, the resume state")
    init_from: str | None = option(
        None,
        "start from this model of the same sizes, adding the words that it lacks; "
        "null: random weights",
    )
    init_temperature: float = option(
        1.0,
        "divide the word scores of the starting model by this; values over 1 undo the sharpening "
        "of self-critical training",
    )
    epochs: int = option(15, "passes over the training images with cross-entropy")
    batch_size: int = option(32, "images per batch and process, each with all its captions")
    accumulate: int = option(1, "batches per step; their gradients are summed")
    lr: float = option(1e-3, "peak learning rate of the decoder")
    encoder_lr: float = option(1e-4, "peak learning rate of the trained encoder stages")
    finetune_after: int = option(
        0, "epochs in which only the decoder is trained, before the encoder stages join"
    )
    warmup: float = option(0.05, "fraction of all steps in which the rates rise from zero")
    schedule: str = option("cosine", "cosine (to 2 % of the peak) or constant, after the warm-up")
    weight_decay: float = option(0.01, "weight decay of AdamW, on matrices only")
    clip_norm: float = option(5.0, "maximum gradient norm; 0: no clipping")
    label_smoothing: float = option(0.1, "probability spread evenly over the vocabulary")
    doubly_stochastic: float = option(1.0, "lambda of the paper's equation 14")
    ema: float = option(
        0.0, "decay of the moving average of the weights, which is validated and saved; 0: none"
    )
    rare_words: float = option(
        0.0,
        "tau of logit adjustment after the last epoch: tau times a word's log frequency is "
        "subtracted from its score; gives more different words and a lower CIDEr",
    )
    precision: str = option("auto", "auto (bf16 where the processor has it), fp32, bf16 or fp16")
    compile: bool = option(
        False, "fuse the decoder's elementwise operations with torch.compile, given a compiler"
    )
    device: str = option("auto", "auto, cpu, cuda or mps")
    seed: int = option(0, "the same seed gives the same result on the same machine and threads")
    validate_from: int = option(
        1, "first epoch after which captions are scored; the last one always is"
    )
    validate_beam: int = option(3, "beam size for validation")
    patience: int = option(5, "stop after this many epochs without a better CIDEr; 0: never")
    save_every: float = option(5.0, "minutes between saves of the resume state within an epoch")
    workers: int = option(2, "threads that decode images if features are not cached")
    tensorboard: str | None = option(
        None,
        "folder for TensorBoard's event files, or on: the folder tensorboard in train.out; null: "
        "none (needs the extra tensorboard)",
        _read_board,
    )


@dataclass(frozen=True)
class SelfCriticalConfig:
    """Self-critical training on the score of sampled captions, after cross-entropy."""

    epochs: int = option(0, "passes over the training images with CIDEr-D as the reward; 0: none")
    lr: float = option(5e-5, "peak learning rate of the decoder; the encoder is frozen")
    samples: int = option(5, "captions sampled per image; the others are each one's baseline")
    temperature: float = option(
        0.5, "divide the word scores by this first; label smoothing leaves them too flat to sample"
    )
    max_length: int = option(20, "maximum words per sample; truncated ones have no <end>")
    min_references: int = option(
        1, "leave out images with fewer human captions than this, whose reward is noisy"
    )
    runs: int = option(
        1, "number of runs from the same starting model, whose weights are then averaged"
    )
    start_share: float = option(0.0, "share of the starting model's weights in that average")


@dataclass(frozen=True)
class SearchConfig:
    """Search defaults that travel with the model.

    Defaults, bounds and help texts are defined here and nowhere else:
    `showattend.model.search_options.SearchOptions`, the command line, the server and the export
    take them from here (`settings`).
    """

    beam_size: int = option(5, "hypotheses per image; 1 is greedy search", within=(1, 1000))
    max_length: int = option(30, "maximum number of words", within=(1, 1000))
    min_length: int = option(1, "minimum number of words", within=(0, 1000))
    length_penalty: float = option(
        0.7,
        "rank by log p / length ** this, the length counting the end; 0 ranks by probability "
        "(short captions win), 1 by the mean per word",
        within=(0, 10),
    )
    block_ngrams: int = option(
        0, "forbid repeating an n-gram of this many words; 0: allow", within=(0, 1000)
    )


@dataclass(frozen=True)
class CallConfig(SearchConfig):
    """Search settings that have a default in a model, but not in a config."""

    n_best: int = option(
        1, "captions per image, best first; at most the beam size", within=(1, 1000)
    )


class Setting(typing.NamedTuple):
    """One setting of search.

    Attributes:
        default: Its default value.
        help: What it does.
        least: The smallest allowed value.
        most: The largest allowed value.
    """

    default: Any
    help: str
    least: Any
    most: Any

    @property
    def sentence(self) -> str:
        """The help as a sentence."""
        return f"{self.help[:1].upper()}{self.help[1:]}."


def settings() -> dict[str, Setting]:
    """The settings of search, by name."""
    return {
        each.name: Setting(each.default, each.metadata["help"], *each.metadata["within"])
        for each in dataclasses.fields(CallConfig)
    }


@dataclass(frozen=True)
class Config:
    """The settings of a training run."""

    data: DataConfig = option(DataConfig, "where the images and captions are")
    encoder: EncoderConfig = option(EncoderConfig, "the backbone")
    attention: AttentionConfig = option(AttentionConfig, "how it decides where to look")
    decoder: DecoderConfig = option(DecoderConfig, "what writes the caption")
    train: TrainConfig = option(TrainConfig, "optimisation, validation, stopping")
    self_critical: SelfCriticalConfig = option(
        SelfCriticalConfig, "training on the score of sampled captions"
    )
    search: SearchConfig = option(SearchConfig, "search defaults that travel with the model")


def defaults() -> dict[str, Any]:
    """Return the defaults of all keys as ``section.key``, including those of other kinds."""
    found: dict[str, Any] = {}
    for section in dataclasses.fields(Config):
        for key in keys_of(section.default_factory):  # type: ignore[arg-type]
            found.setdefault(f"{section.name}.{key.name}", key.default)
    return found
