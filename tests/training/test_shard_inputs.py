"""Runs from shards: what a config may ask for, and the same run however it is interrupted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from showattend.config import Config, DataConfig, EncoderConfig
from showattend.data.cache import WHOLE, recipe_of
from showattend.data.readers import read_dataset
from showattend.data.shard_writer import write_shards
from showattend.data.stream import ShardFeatures, ShardPixels
from showattend.data.toy import write_toy
from showattend.exceptions import ConfigError, DataError
from showattend.images.preprocessing import Preprocessing
from showattend.model.build import encoder_of
from showattend.model.checkpoint import load
from showattend.system.processes import ALONE
from showattend.training.setup import set_up
from showattend.training.shard_inputs import EncodedPhotos, _unfit, read_shards, uses_shards
from showattend.training.trainer import train
from tests.tinyrun import tiny_run

from .test_trainer import Log

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards with features of the encoder of `tiny_run`, and the data set that they are of."""
    base = tmp_path_factory.mktemp("sharded")
    records = list(read_dataset(write_toy(base / "toy", images=48, size=64)))
    config = tiny_run(base, base)
    encoded = EncodedPhotos(config, CPU, torch.float32)
    write_shards(records, base / "shards", size=7, features=encoded)
    return base


Make = Callable[..., Config]


@pytest.fixture
def config(folder: Path, tmp_path: Path) -> Make:
    def make(out: str = "run", pattern: str = "*.tar", **sections: Any) -> Config:
        data = {"path": f"{folder}/shards/{pattern}", "lanes": 4} | sections.pop("data", {})
        return tiny_run(folder / "toy", tmp_path / out, data=data, **sections)

    return make


class StoppedError(Exception):
    """A run that is broken off."""


class Breaks(Log):
    """Ends a run after so many steps, as a signal would not: with its last state as it was."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def task(self, name: str, done: int, total: int, note: str = "") -> None:
        if name == "Training" and done == self.steps:
            raise StoppedError


def test_a_run_goes_on_in_the_middle_of_an_epoch(config: Make, tmp_path: Path) -> None:
    train(config("whole", train={"epochs": 2}))
    for steps in (4, 14):  # of ten an epoch; the state of the step before was saved
        with pytest.raises(StoppedError):
            train(config("broken", train={"epochs": 2}), Breaks(steps), resume=steps > 4)
    train(config("broken", train={"epochs": 2}), resume=True)
    one, other = load(tmp_path / "broken"), load(tmp_path / "whole")
    assert one.vocabulary == other.vocabulary
    for key, value in other.weights.items():
        assert torch.equal(one.weights[key], value), key
    assert one.record["data"]["train_images"] == 40


def test_features_give_what_images_give(config: Make) -> None:
    """The features were rounded to half precision; all else is the same."""
    log = Log()
    run = {"epochs": 1, "lr": 1e-4}
    images = train(config("images", data={"cache": None}, train=run), log)
    features = train(config("features", train=run), log)
    assert not any("not used" in line for line in log.messages)
    losses = [record["history"][0]["val_loss"] for record in (features, images)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_features_of_another_encoder_are_not_used(config: Make) -> None:
    def inputs(**sections: Any) -> tuple[Any, list[str]]:
        log, made = Log(), config(**sections)
        found = set_up(made, device=CPU, dtype=torch.float32, processes=ALONE, reporter=log)
        return found.train_loader.inputs, log.messages

    found, _ = inputs()
    assert isinstance(found, ShardFeatures)
    for sections, reason in (
        ({"encoder": {"size": 96}}, "their size is 64, that of this run 96"),
        ({"data": {"mirror": True}}, "data.mirror or data.crops needs other views"),
        ({"encoder": {"finetune_from": "blocks.6"}}, "their encoder is 'efficientnet_lite0', "),
    ):
        found, messages = inputs(**sections)
        assert isinstance(found, ShardPixels)
        line = next(line for line in messages if "not used" in line)
        assert reason in line


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"preprocessing": {"sharpen": 1}}, "their sharpen is 1, that of this run None"),
        ({"preprocessing": {"sharpen": None}}, "their sharpen is None, that of this run None"),
        ({"preprocessing": {"size": [[1] * 9000] * 9000}}, "their size is [[1, 1, 1"),
        ({"preprocessing": {"x\n" * 9000: 1}}, r"their x\nx\n"),
        ({"encoder": {"a": "x" * 10**6}}, "their encoder is {'a': 'xxx"),
        ({"preprocessing": 3}, "their preprocessing is 3, that of this run {"),
        ({"preprocessing": None}, "their preprocessing is None"),
        ({"encoder": None}, "their encoder is None"),
    ],
)
def test_any_recipe_of_features_is_compared(changes: dict[str, Any], reason: str) -> None:
    encoder = encoder_of(EncoderConfig(name="timm:test_efficientnet"), pretrained=False)
    preprocessing = Preprocessing(size=32)
    encoder.measure(32)
    arguments = encoder, preprocessing, torch.float32
    recipe = recipe_of(*arguments, WHOLE, 1.0)
    assert _unfit([recipe], *arguments, DataConfig()) is None
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(recipe[key], dict)
        changed = recipe | {key: recipe[key] | value if both else value}
        found = _unfit([recipe, changed], *arguments, DataConfig())
        assert found is not None
        assert reason in found
        assert found.isprintable()
        assert len(found) < 400


def test_a_part_of_the_shards(config: Make) -> None:
    found = read_shards(config(data={"train_images": 10, "val_images": 3}))
    assert sum(count for _, count in found.draws) == 10
    assert len(found.validation) == 3
    again = read_shards(config(data={"train_images": 10, "val_images": 3}))
    assert (again.draws, again.digest) == (found.draws, found.digest)
    some = read_shards(config(pattern="{train-000000,val-000000}.tar"))
    assert (sum(count for _, count in some.draws), some.digest != found.digest) == (7, True)


def test_weights_draw_shards_several_times(config: Make, folder: Path) -> None:
    pattern = f"{folder}/shards/*.tar"
    sets = [{"path": pattern, "weight": 2, "name": "twice"}, {"path": pattern, "name": "once"}]
    found = read_shards(config(data={"path": sets}))
    assert sum(count for _, count in found.draws) == 3 * 40
    assert found.validation.names == ("twice", "once")
    assert len(found.validation) == 2 * 8


def test_the_photographs_of_a_board_come_from_the_shards(config: Make) -> None:
    photos = read_shards(config()).photos(2)
    assert len(photos) == 2
    assert all(photo.open("rb").read(3) == b"\xff\xd8\xff" for photo in photos)


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"self_critical": {"epochs": 1}}, r"self_critical\.epochs with shards"),
        ({"data": {"lanes": 0}}, r"data\.lanes is 0"),
        ({"data": {"mixed_shards": 0}}, r"data\.mixed_shards is 0"),
    ],
)
def test_what_shards_cannot_do_is_refused(
    sections: dict[str, Any], reason: str, config: Make
) -> None:
    with pytest.raises(ConfigError, match=reason):
        read_shards(config(**sections))


def test_patterns_that_do_not_fit_are_refused(config: Make, folder: Path) -> None:
    for pattern, reason in (
        ("train-*.tar", "40 training and 0 validation images"),
        ("val-*.tar", "0 training and 8 validation images"),
    ):
        with pytest.raises(DataError, match=reason):
            read_shards(config(pattern=pattern))
    mixed = config(data={"path": [f"{folder}/shards/*.tar", str(folder / "toy/dataset.jsonl")]})
    with pytest.raises(ConfigError, match=r"names shards and .*dataset\.jsonl.*--shards"):
        uses_shards(mixed.data)
    half = config(data={"path": [{"path": f"{folder}/shards/*.tar", "weight": 0.5}]})
    with pytest.raises(ConfigError, match="must be a whole number"):
        uses_shards(half.data)
    with pytest.raises(ConfigError, match=r"data\.images is photos, but the images of .* are in"):
        uses_shards(config(data={"images": "photos"}).data)
    assert not uses_shards(replace(mixed.data, path="toy"))


def test_features_that_cannot_be_kept_are_refused(config: Make) -> None:
    with pytest.raises(ConfigError, match=r"encoder\.pretrained false"):
        EncodedPhotos(config(encoder={"pretrained": False}), CPU, torch.float32)
