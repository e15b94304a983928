"""What a model and a number of photographs make of a config."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from showattend.config import Config, to_dict
from showattend.exceptions import CheckpointError, ConfigError
from showattend.model import checkpoint as checkpoints
from showattend.model.checkpoint import Checkpoint
from showattend.training.check import check
from showattend.training.recipe import RECIPES, choose, derive, with_temperature

SIZES = (10, 100, 1000, 10_000)


@pytest.fixture(scope="module")
def shipped() -> Checkpoint:
    return checkpoints.load()


def config(source: Checkpoint, images: int = 100, **options: Any) -> Config:
    return derive(
        source, model="MODEL", images=images, data=Path("d.jsonl"), out=Path("out"), **options
    )


@pytest.mark.parametrize("images", SIZES)
def test_what_the_model_is_stays(images: int, shipped: Checkpoint) -> None:
    found = config(shipped, images)
    check(found)
    assert to_dict(found.search) == shipped.config["search"]
    assert to_dict(found.decoder) == to_dict(found.decoder) | shipped.config["decoder"]
    assert found.encoder.name == shipped.config["encoder"]["name"]
    assert found.encoder.size == shipped.preprocessing["size"]
    assert found.encoder.fit == shipped.preprocessing["fit"]
    assert found.encoder.finetune_from is None
    before = shipped.record["config"]["train"]
    assert found.train.doubly_stochastic == before["doubly_stochastic"]
    assert found.train.label_smoothing == before["label_smoothing"]
    assert with_temperature(found, 2.5, []).train.init_temperature == 2.5
    given = config(shipped, images, overrides=["train.init_temperature=3"])
    assert with_temperature(given, 2.5, ["train.init_temperature=3"]) == given
    assert found.train.rare_words == 0  # it had that before
    assert (found.train.init_from, found.train.out) == ("MODEL", "out")
    assert found.data.path == "d.jsonl"


def test_more_photographs_are_seen_less_often_and_make_more_steps() -> None:
    recipes = [choose(images) for images in SIZES]
    steps = [
        recipe.epochs * -(-images // recipe.batch_size)
        for images, recipe in zip(SIZES, recipes, strict=True)
    ]
    assert steps == sorted(steps)
    assert 20 <= steps[0] <= 100  # a minute or two
    for key, down in (("epochs", True), ("min_count", False), ("batch_size", False)):
        values = [getattr(recipe, key) for recipe in recipes]
        assert values == sorted(values, reverse=down), key
    for recipe in RECIPES:
        assert recipe.validate_from <= recipe.epochs
        assert choose(int(min(recipe.images, 10**9))) is recipe


def test_overrides_win_but_not_over_options(shipped: Checkpoint) -> None:
    found = config(shipped, overrides=["train.epochs=3", "data.mirror=false", "train.lr=1e-4"])
    assert (found.train.epochs, found.data.mirror, found.train.lr) == (3, False, 1e-4)
    for key, option in (
        ("train.out", "--out"),
        ("train.init_from", "--model"),
        ("data.path", "the first argument"),
    ):
        with pytest.raises(ConfigError, match=rf"finetune sets {key} from {option}; use that"):
            config(shipped, overrides=[f"{key}=x"])
    with pytest.raises(ConfigError, match=r"unknown key train\.epoch; did you mean"):
        config(shipped, overrides=["train.epoch=3"])


def test_a_model_without_a_record_or_a_header(shipped: Checkpoint) -> None:
    assert config(replace(shipped, record={})).train.label_smoothing == 0.1
    with pytest.raises(CheckpointError, match="MODEL: its header is incomplete"):
        config(replace(shipped, config={"encoder": {"name": "vgg19"}}))
