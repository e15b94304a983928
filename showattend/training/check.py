"""Checks of a config's values before anything is read or computed."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from showattend.config import Config, to_dict
from showattend.exceptions import ConfigError
from showattend.model.build import build_decoder
from showattend.model.decoders import DECODERS
from showattend.model.fast import has_fast_twin
from showattend.model.search_options import SearchOptions
from showattend.training.board import check_board
from showattend.training.optimizer import SCHEDULES


def check(config: Config) -> None:
    """Check every value that would otherwise fail later in training.

    Raises:
        ConfigError: A value is invalid; the message names the key, its value, and what is allowed.
    """
    check_board(config)
    data, train, decoder = config.data, config.train, config.decoder
    critical = config.self_critical
    for key, value in (
        ("data.min_count", data.min_count),
        ("data.max_length", data.max_length),
        ("data.train_images", data.train_images),
        ("data.val_images", data.val_images),
        ("data.toy_images", data.toy_images),
        ("train.epochs", train.epochs if train.init_from is None else 1),
        ("self_critical.max_length", critical.max_length),
        ("self_critical.runs", critical.runs),
        ("self_critical.min_references", critical.min_references),
        ("train.batch_size", train.batch_size),
        ("encoder.size", config.encoder.size),
        ("train.accumulate", train.accumulate),
        ("encoder.self_attention_dim", config.encoder.self_attention_dim),
        ("encoder.self_attention_heads", config.encoder.self_attention_heads),
    ):
        if value is not None and value < 1:
            raise ConfigError(f"{key} is {value}; it must be 1 or more")
    for i, each in enumerate(data.sets):
        if not (math.isfinite(each.weight) and 0 < each.weight <= 100):
            raise ConfigError(
                f"data.path[{i}].weight is {each.weight:g}; it must be above 0, at most 100"
            )
    for key, share in (
        ("train.warmup", train.warmup),
        ("train.label_smoothing", train.label_smoothing),
        ("train.ema", train.ema),
        ("encoder.self_attention_dropout", config.encoder.self_attention_dropout),
        ("self_critical.start_share", critical.start_share),
    ):
        if not 0 <= share < 1:
            raise ConfigError(f"{key} is {share:g}; it must be at least 0 and below 1")
    for key, number in (
        ("train.lr", train.lr),
        ("train.encoder_lr", train.encoder_lr),
        ("train.weight_decay", train.weight_decay),
        ("train.clip_norm", train.clip_norm),
        ("train.doubly_stochastic", train.doubly_stochastic),
        ("train.patience", train.patience),
        ("train.rare_words", train.rare_words),
        ("train.finetune_after", train.finetune_after),
        ("train.save_every", train.save_every),
        ("train.seed", train.seed),
        ("encoder.self_attention", config.encoder.self_attention),
        ("data.crops", data.crops),
        ("train.epochs", train.epochs),
        ("self_critical.epochs", critical.epochs),
        ("self_critical.lr", critical.lr),
    ):
        if not (math.isfinite(number) and number >= 0):
            raise ConfigError(f"{key} is {number:g}; it must be a number that is not negative")
    if train.epochs + critical.epochs == 0:
        raise ConfigError("train.epochs and self_critical.epochs are 0; one of them must not be")
    if train.seed >= 2**32:
        raise ConfigError(f"train.seed is {train.seed}; it must be below {2**32}")
    if not 0 < data.crop_area <= 1:
        raise ConfigError(f"data.crop_area is {data.crop_area:g}; it must be above 0, at most 1")
    if critical.samples < 2:
        raise ConfigError(
            f"self_critical.samples is {critical.samples}; it must be 2 or more, since each sample "
            "is compared with the others"
        )
    for key, temperature in (
        ("self_critical.temperature", critical.temperature),
        ("train.init_temperature", train.init_temperature),
    ):
        if not (math.isfinite(temperature) and temperature > 0):
            raise ConfigError(f"{key} is {temperature:g}; it must be above 0")
    if train.schedule not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise ConfigError(f"train.schedule is {train.schedule!r}; it must be one of {known}")
    with torch.device("meta"):  # the layers check their own options and how they combine
        build_decoder(
            decoder,
            config.attention,
            config.encoder,
            vocabulary_size=4,
            feature_dim=decoder.options.get("hidden_dim", 8),
        )
    if critical.epochs and decoder.kind not in (able := _kinds_with("scores_captions", True)):
        raise ConfigError(
            f"self_critical.epochs with decoder.kind {decoder.kind}: its training step does not "
            f"score whole captions; use one of {', '.join(able)}, or 0 epochs"
        )
    if train.compile and decoder.kind not in (able := _kinds_with("compiles", False)):
        raise ConfigError(
            f"train.compile with decoder.kind {decoder.kind}: only the step of {', '.join(able)} "
            "is compiled; leave it out"
        )
    looking = to_dict(config)["attention"]
    if train.compile and not has_fast_twin(DECODERS[decoder.kind], looking):
        asked = ", ".join(f"attention.{key} {value}" for key, value in looking.items())
        raise ConfigError(
            f"train.compile with {asked}: only the fast step of {decoder.kind} with soft additive "
            "attention and no sentinel is compiled; leave it out"
        )
    if critical.epochs and config.attention.options.get("mode") == "hard":
        raise ConfigError(
            "self_critical.epochs with attention.mode hard: captions are sampled with the expected "
            "annotation, not with sampled locations, so the gradient would be wrong; set "
            "self_critical.epochs to 0, or attention.mode to soft"
        )
    try:
        replace(SearchOptions(**to_dict(config.search)), beam_size=train.validate_beam)
    except ConfigError as error:
        raise ConfigError(f"search, train.validate_beam: {error}") from error


def _kinds_with(attribute: str, default: bool) -> list[str]:
    """The kinds of decoders whose class has an attribute that is true."""
    return [kind for kind, cls in DECODERS.items() if getattr(cls, attribute, default)]
