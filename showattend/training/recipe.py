"""Configs for fine-tuning, chosen by the number of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from showattend.config import Config, from_dict, override
from showattend.exceptions import CheckpointError, ConfigError
from showattend.model.checkpoint import Checkpoint

CACHE_NAME = "finetune-cache"
_OPTIONS = {"train.out": "--out", "train.init_from": "--model", "data.path": "the first argument"}
_KEPT = ("label_smoothing", "doubly_stochastic")


@dataclass(frozen=True)
class Recipe:
    """Training settings for up to a number of training images, measured in docs/finetune.md.

    Attributes:
        images: The most training images for this recipe.
        epochs: The number of epochs.
        batch_size: Images per step.
        lr: Peak learning rate of the decoder; the encoder is not trained.
        min_count: The fewest occurrences of a word in the vocabulary.
        validate_from: The first epoch that is scored. With few validation images, the best of many
            scores would be a lucky one.
        patience: Training stops after this many epochs without a better score; 0 for never.
        ema: Decay of the moving average of the weights.
    """

    images: float
    epochs: int
    batch_size: int
    lr: float
    min_count: int
    validate_from: int
    patience: int
    ema: float


RECIPES = (
    Recipe(60, 30, 8, 3e-4, 1, 16, 0, 0.95),
    Recipe(250, 20, 16, 3e-4, 1, 11, 0, 0.97),
    Recipe(1500, 12, 32, 3e-4, 2, 5, 4, 0.98),
    Recipe(float("inf"), 8, 32, 5e-4, 4, 3, 3, 0.995),
)


def choose(images: int) -> Recipe:
    """Return the recipe for a number of training images."""
    return next(recipe for recipe in RECIPES if images <= recipe.images)


def derive(
    source: Checkpoint,
    *,
    model: str,
    images: int,
    data: Path,
    out: Path,
    overrides: Sequence[str] = (),
) -> Config:
    """Build the config of a run that starts from a model.

    Encoder, decoder, preprocessing, search and the terms of the loss are the model's. The encoder
    is not trained, and rare words are not favoured again. The temperature of the words' scores
    depends on the photographs (`with_temperature`).

    Args:
        source: The model to start from.
        model: The model's name or path, for ``train.init_from``.
        images: The number of photographs to train on.
        data: The data set.
        out: The folder of the run.
        overrides: ``section.key=value``, to replace these values.

    Raises:
        CheckpointError: The model's header is incomplete.
        ConfigError: An override is invalid.
    """
    recipe = choose(images)
    try:
        encoder = source.config["encoder"] | {
            "size": source.preprocessing["size"],
            "fit": source.preprocessing["fit"],
            "pretrained": True,
            "finetune_from": None,
        }
        decoder, search = dict(source.config["decoder"]), dict(source.config["search"])
        before = source.record.get("config", {}).get("train", {})
        loss = {key: before[key] for key in _KEPT if key in before}
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{model}: its header is incomplete ({error})") from error
    values: dict[str, Any] = {
        "data": {
            "path": str(data),
            "cache": str(out / CACHE_NAME),
            "min_count": recipe.min_count,
            "mirror": True,
        },
        "encoder": encoder,
        "attention": source.config.get("attention", {}),
        "decoder": decoder,
        "train": {
            "out": str(out),
            "init_from": model,
            "epochs": recipe.epochs,
            "batch_size": recipe.batch_size,
            "lr": recipe.lr,
            "ema": recipe.ema,
            "validate_from": recipe.validate_from,
            "validate_beam": search.get("beam_size", 5),
            "patience": recipe.patience,
            "rare_words": 0.0,
            **loss,
        },
        "search": search,
    }
    for each in overrides:
        key = each.partition("=")[0].strip()
        if key in _OPTIONS:
            raise ConfigError(f"{each!r}: finetune sets {key} from {_OPTIONS[key]}; use that")
    override(values, overrides)
    return from_dict(Config, values, model)


def with_temperature(config: Config, temperature: float, overrides: Sequence[str]) -> Config:
    """Set the temperature by which the start's logits are divided.

    Args:
        config: The config, from `derive`.
        temperature: The temperature, from `fit_temperature`.
        overrides: The overrides of ``config``. If they set ``train.init_temperature``, the config
            is returned unchanged.
    """
    if any(each.partition("=")[0].strip() == "train.init_temperature" for each in overrides):
        return config
    return replace(config, train=replace(config.train, init_temperature=temperature))
