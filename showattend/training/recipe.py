"""The config that trains a model further on somebody's own photographs."""

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
    """How long and how fast, for up to so many training images; measured in docs/finetune.md.

    Attributes:
        images: The most training images it is for.
        epochs: Passes over them.
        batch_size: Images a step.
        lr: Peak learning rate of the decoder; the encoder rests.
        min_count: Occurrences that make a word known.
        validate_from: The first epoch that is scored: on a few validation images the best of many
            scores is the luckiest.
        patience: Epochs without a better score after which it stops; 0: never.
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
    """The recipe for so many training images."""
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
    """The config of a run that starts from a model and suits a number of photographs.

    Encoder, decoder, preprocessing, search, and what the loss is made of are the model's. Its
    encoder is not trained, and rare words are not favoured once more. What undoes the sharpening
    of its words' scores is known only once the photographs are looked at (`with_temperature`).

    Args:
        source: The model to start from.
        model: Where it was found, as ``train.init_from`` takes it.
        images: How many photographs there are to train on.
        data: The data set.
        out: The folder of the run.
        overrides: ``section.key=value``, to use instead.

    Raises:
        CheckpointError: The model's header is incomplete.
        ConfigError: An override means nothing.
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
            raise ConfigError(f"{each!r}: finetune sets {key} by {_OPTIONS[key]}; give that")
    override(values, overrides)
    return from_dict(Config, values, model)


def with_temperature(config: Config, temperature: float, overrides: Sequence[str]) -> Config:
    """The config with what the model's word scores are to be divided by (`fit_temperature`).

    Args:
        config: Of `derive`.
        temperature: What was found.
        overrides: Those of ``config``; one of ``train.init_temperature`` stays.
    """
    if any(each.partition("=")[0].strip() == "train.init_temperature" for each in overrides):
        return config
    return replace(config, train=replace(config.train, init_temperature=temperature))
