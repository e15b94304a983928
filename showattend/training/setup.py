"""Everything that a run needs before its first step, from its config."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from showattend.captioner import Captioner
from showattend.config import Config, to_dict
from showattend.data.loader import CaptionLoader, Inputs, wordless
from showattend.data.mixture import Mixture
from showattend.data.spoken import Spoken
from showattend.data.stream import StreamLoader
from showattend.exceptions import ConfigError, DataError
from showattend.images.preprocessing import Preprocessing
from showattend.model.build import build_decoder, build_preprocessing, encoder_of
from showattend.model.checkpoint import find_model, weights_digest
from showattend.model.decoders.protocol import sharpen
from showattend.model.encoder import Encoder, encode
from showattend.model.fast import depthwise_gradients
from showattend.model.score_settings import describe_settings, search_settings
from showattend.model.search_options import SearchOptions
from showattend.system import provenance
from showattend.system.device import give_back_freed_memory, memory_size
from showattend.system.processes import Processes
from showattend.text.vocabulary import Vocabulary
from showattend.training.inputs import (
    Rows,
    cached_inputs,
    pixel_inputs,
    read_mixture,
    split_rows,
)
from showattend.training.reporter import Reporter
from showattend.training.shard_inputs import Sharded, frozen_part, read_shards, uses_shards
from showattend.training.start import done_before, merge_words, take_decoder, take_encoder
from showattend.training.validation import Validation


@dataclass
class Setup:
    """The result of `set_up`.

    Attributes:
        encoder: The encoder, with the stages that learn unfrozen.
        encoder_config: The encoder section of a saved model.
        preprocessing: Converts a file to the encoder's input.
        vocabulary: The words.
        decoder: The decoder, with its initial weights.
        train_loader: The training split: a `CaptionLoader`, or a `StreamLoader` for shards.
        val_loader: The validation split.
        validation: Scores a model on it.
        identity: What must be the same when the run is resumed: config, data and processes.
        sharded: The shards; None for a dataset.jsonl.
    """

    encoder: Encoder
    encoder_config: dict[str, Any]
    preprocessing: Preprocessing
    vocabulary: Vocabulary
    decoder: Any
    train_loader: Any
    val_loader: CaptionLoader
    validation: Validation
    identity: dict[str, Any]
    sharded: Sharded | None = None

    def annotations(
        self, encoder: Encoder, inputs: torch.Tensor, dtype: torch.dtype, stage: str | None
    ) -> torch.Tensor:
        """Compute annotations from a loader's inputs.

        Args:
            encoder: This run's encoder, or an average of it.
            inputs: Pixels [B, H, W, 3] uint8, or features of ``stage`` or of the whole encoder.
            dtype: The precision.
            stage: ``encoder.finetune_from``.

        Returns:
            Annotations [B, H, W, D].
        """
        with depthwise_gradients():
            if inputs.dtype == torch.uint8:
                inputs = encode(encoder, inputs, self.preprocessing, dtype)
            elif stage is not None:
                low = dtype != torch.float32
                with torch.autocast(inputs.device.type, dtype, enabled=low):
                    inputs = encoder.forward_from(stage, inputs.to(dtype))
        return inputs.to(dtype)

    def sizes(self) -> dict[str, Any]:
        """The sizes of data and input, for the record of a run."""
        return {
            "train_images": self.train_loader.images,
            "val_images": self.val_loader.images,
            "vocabulary": len(self.vocabulary),
            "size": self.preprocessing.size,
            "grid": list(self.encoder.grid(self.preprocessing.size)),
        }

    def photos(self, count: int) -> list[Path]:
        """The first validation photographs, which may be in memory (`PhotoFile`)."""
        if self.sharded is not None:
            return list(self.sharded.photos(count))
        return [record.path for record in self.val_loader.records[:count]]

    def captioner(
        self, config: Config, encoder: Encoder, decoder: Any, record: dict[str, Any]
    ) -> Captioner:
        """The trained parts as a model to save, with copies of the decoder's weights."""
        values = to_dict(config)
        return Captioner(
            encoder=encoder,
            decoder=deepcopy(decoder),
            vocabulary=self.vocabulary,
            preprocessing=self.preprocessing,
            search=SearchOptions(**values["search"]),
            config={key: values[key] for key in ("attention", "decoder", "search")}
            | {"encoder": self.encoder_config},
            record=record,
            device=next(decoder.parameters()).device,
            precision="fp32",
        )

    def provenance(
        self, config: Config, device: torch.device, dtype: torch.dtype
    ) -> dict[str, Any]:
        """Describe the run's inputs; see `showattend.system.provenance.stamp`.

        Call it before training: ``encoder`` is the digest of the encoder's weights at the start.
        """
        # A path may be "toy", or a pattern of shards, which is not a file.
        files = [Path(each.path) for each in config.data.sets]
        start = config.train.init_from
        return provenance.stamp(
            device,
            precision=str(dtype).removeprefix("torch."),
            seed=config.train.seed,
            data={
                "content": self.identity["data set"],
                "files": {file.name: provenance.file_digest(file) for file in files},
            },
            encoder={"name": self.encoder.name, "weights": self.encoder.fingerprint()[:16]},
            start={"model": start, "weights": weights_digest(find_model(start))} if start else None,
            search=search_settings(self.validation.options),
        )


def set_up(
    config: Config,
    *,
    device: torch.device,
    dtype: torch.dtype,
    processes: Processes,
    reporter: Reporter,
) -> Setup:
    """Read the data, compute features that are not cached yet, and build the model.

    Raises:
        DataError: The data set cannot be read, or a split of it is empty.
        ConfigError: A value of the config is invalid, or the model to start from does not fit.
    """
    sharded = read_shards(config) if uses_shards(config.data) else None
    if sharded is None:
        mixture = read_mixture(config, processes)
        mixture = replace(mixture, spoken=Spoken(mixture.records))
    else:
        mixture = sharded.validation
    if processes.machine is not None:  # before hours of extraction
        _check_the_same(processes.gather(_digest(mixture, sharded, ())))
    start = config.train.init_from
    source = Captioner.from_pretrained(start, "cpu", "fp32") if start else None
    # A model to start from includes its encoder's weights: ImageNet's need not be installed.
    encoder = encoder_of(config.encoder, pretrained=config.encoder.pretrained and source is None)
    preprocessing = build_preprocessing(config.encoder)
    encoder.measure(preprocessing.size)
    encoder_config = to_dict(config.encoder)
    if source is not None and take_encoder(source, encoder, config.encoder, start or ""):
        encoder_config["pretrained"] = False  # the model includes it
    for warning in done_before(source, config):
        reporter.message(warning)
    _check_grid(config, encoder, preprocessing.size, device)
    opened = encoder.finetune_from(config.encoder.finetune_from)
    if opened and 0 < config.train.epochs <= config.train.finetune_after:
        reporter.message(
            f"warning: train.finetune_after is {config.train.finetune_after}, of "
            f"{config.train.epochs} epochs: the stages of encoder.finetune_from never learn"
        )
    if processes.count > 1:
        freeze_unused(encoder, opened, preprocessing.size)
    encoder.to(device)
    _try_words(config, mixture, sharded, encoder.dim, source)
    # The output of the encoder's frozen part is cached: all of it, or the part before the unfrozen
    # stages. If these cannot be split off, or the config disables the cache, images are decoded for
    # every batch.
    frozen: Encoder | None = None
    if config.data.cache is not None:
        frozen = frozen_part(encoder, config, preprocessing.size, reporter.message)
    train_loader: CaptionLoader | StreamLoader
    if sharded is not None:
        streamed = sharded.inputs(frozen, preprocessing, dtype, reporter)
        vocabulary = _vocabulary(config, mixture, sharded, source)
        train_loader = sharded.train_loader(streamed, vocabulary, processes)
        val_loader = sharded.val_loader(streamed, vocabulary, processes)
        set_of_val = mixture.set_of
    else:
        if frozen is None:
            mixture, inputs = pixel_inputs(config, mixture, preprocessing, reporter)
        else:
            mixture, inputs = cached_inputs(
                config,
                mixture,
                frozen,
                preprocessing,
                dtype=dtype,
                device=device,
                processes=processes,
                reporter=reporter,
            )
        vocabulary = _vocabulary(config, mixture, None, source)
        train_loader, val_loader = _loaders(config, mixture, inputs, vocabulary, processes)
        set_of_val = mixture.set_of[split_rows(mixture, config.data)[1]]
    give_back_freed_memory()  # a large data set takes much memory while it is read
    decoder = build_decoder(
        config.decoder,
        config.attention,
        config.encoder,
        vocabulary_size=len(vocabulary),
        feature_dim=encoder.dim,
    ).to(device)
    if source is not None:
        take_decoder(source, decoder, start or "")
        sharpen(decoder, config.train.init_temperature)
    validated = replace(
        SearchOptions(**to_dict(config.search)), beam_size=config.train.validate_beam
    )
    identity = to_dict(config) | {
        "data set": _digest(mixture, sharded, vocabulary.words),
        "processes": processes.count,
    }
    if source is not None:  # frozen stages are not in the state
        identity["encoder's weights"] = encoder.fingerprint()[:12]
    _check_the_same(processes.gather(identity["data set"]))
    reporter.message(
        f"{train_loader.images:,} training and {val_loader.images:,} validation images, "
        f"{len(vocabulary.words):,} words; "
        f"{encoder.name} at {preprocessing.size} pixels "
        f"({'x'.join(map(str, encoder.grid(preprocessing.size)))} grid); "
        f"{str(dtype).removeprefix('torch.')} on {device.type}"
        + (f", {processes.count} processes" if processes.count > 1 else "")
        + f"; validation: {describe_settings(search_settings(validated))}"
    )
    return Setup(
        encoder=encoder,
        encoder_config=encoder_config,
        preprocessing=preprocessing,
        vocabulary=vocabulary,
        decoder=decoder,
        train_loader=train_loader,
        val_loader=val_loader,
        validation=Validation(
            val_loader,
            vocabulary,
            validated,
            reporter,
            processes,
            [mixture.names[which] for which in set_of_val],
        ),
        identity=identity,
        sharded=sharded,
    )


def _loaders(
    config: Config,
    mixture: Mixture,
    inputs: Inputs,
    vocabulary: Vocabulary,
    processes: Processes,
) -> tuple[CaptionLoader, CaptionLoader]:
    """The loaders of the training and of the validation split."""
    train, val = split_rows(mixture, config.data)
    first, second = (
        CaptionLoader(
            mixture.records.take(rows),
            Rows(inputs, rows),
            vocabulary,
            batch_size=config.train.batch_size,
            max_length=config.data.max_length,
            seed=config.train.seed,
            mirror=config.data.mirror,
            crops=config.data.crops,
            accumulate=accumulate,
            weights=mixture.weight_of(rows) if rows is train else None,
            processes=processes,
            spoken=None if mixture.spoken is None else mixture.spoken.take(rows),
        )
        for rows, accumulate in ((train, config.train.accumulate), (val, 1))
    )
    return first, second


def _digest(mixture: Mixture, sharded: Sharded | None, words: tuple[str, ...]) -> str:
    """The identity of a run's data, on which the numbers of its words depend."""
    content: list[Any]
    if sharded is None:
        content = [(str(r.image_id), r.split, r.captions) for r in mixture.records]
    else:
        content = [sharded.digest]
    return hashlib.sha256(json.dumps([words, content]).encode()).hexdigest()[:12]


def _check_the_same(digests: list[str]) -> None:
    """Refuse processes with different data.

    Raises:
        DataError: Their machines have different data.
    """
    other = next((rank for rank, each in enumerate(digests) if each != digests[0]), None)
    if other is not None:
        raise DataError(
            f"process {other + 1} has other images or captions than process 1: data.path must lead "
            "to the same data set on every machine, with all of its images readable"
        )


def freeze_unused(encoder: Encoder, opened: list[nn.Parameter], size: int) -> None:
    """Freeze parameters that do not affect the features, such as those of a classifier.

    They would not learn anyway, and `SharedGradients` waits for the gradient of every parameter.

    Args:
        encoder: The encoder, already measured.
        opened: Its parameters that learn.
        size: The side of its images in pixels.
    """
    if not opened:
        return
    with torch.enable_grad():
        encoder(torch.zeros(1, 3, size, size)).sum().backward()
    for parameter in opened:
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None


_CAPTIONS = 5  # of an image, as most data sets have
_SHARE = 4  # the share of memory for the grid's tensors in every step of the decoder


def _check_grid(config: Config, encoder: Encoder, size: int, device: torch.device) -> None:
    """Refuse a grid whose annotation vectors and scores would not fit in memory.

    Raises:
        ConfigError: A training step would need more than the device has to spare.
    """
    rows, columns = encoder.grid(size)
    options = config.decoder.options
    width = options.get("attention_dim", options.get("hidden_dim", 0))
    numbers = encoder.dim + _CAPTIONS * width
    needed = 4 * config.train.batch_size * rows * columns * numbers
    memory = memory_size(device)
    if memory is not None and needed > memory / _SHARE:
        raise ConfigError(
            f"encoder {encoder.name} at {size} pixels: its grid of {rows}x{columns} needs about "
            f"{needed / 1e9:.1f} GB per step, of {memory / 1e9:.1f} GB of memory; lower "
            "train.batch_size or encoder.size, or choose a later stage for encoder.beside"
        )


def _try_words(
    config: Config,
    mixture: Mixture,
    sharded: Sharded | None,
    feature_dim: int,
    source: Captioner | None,
) -> None:
    """Check captions, vocabulary and the model to start from now, not after hours of work.

    Raises:
        DataError: An image's captions have no words, or the vocabulary would be empty.
        ConfigError: The model to start from does not fit.
    """
    assert mixture.spoken is not None
    for row in range(len(mixture)):
        if not any(map(len, mixture.spoken.numbers(row))):
            raise wordless(mixture.records[row])
    vocabulary = _vocabulary(config, mixture, sharded, source)
    if source is not None:
        with torch.random.fork_rng(devices=()):
            decoder = build_decoder(
                config.decoder,
                config.attention,
                config.encoder,
                vocabulary_size=len(vocabulary),
                feature_dim=feature_dim,
            )
        take_decoder(source, decoder, config.train.init_from or "")


def _vocabulary(
    config: Config, mixture: Mixture, sharded: Sharded | None, source: Captioner | None
) -> Vocabulary:
    """The words of the training captions, after those of the model to start from."""
    if sharded is not None:
        counts = sharded.words
    else:
        train, _ = split_rows(mixture, config.data)
        assert mixture.spoken is not None
        counts = mixture.spoken.take(train).counts()
    vocabulary = Vocabulary.from_counts(counts, config.data.min_count)
    return vocabulary if source is None else merge_words(source.vocabulary, vocabulary)
