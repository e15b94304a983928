"""Families of encoders with random weights: each trains a step, or says in one line why not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from showattend.data.toy import write_toy
from showattend.exceptions import UserError
from showattend.training.trainer import Silent, train
from tests.tinyrun import tiny_run

SMALL = {
    # Name: input size, the stage from which it is fine-tuned.
    "torchvision:mobilenet_v3_small": (64, None),  # MobileNet
    "timm:vit_tiny_patch16_224": (64, "blocks.11"),  # Vision Transformer
    "timm:regnetx_002": (64, "s4"),  # RegNet
    "timm:convnext_atto": (64, None),  # ConvNeXt
}
LARGE = {
    "efficientnet_lite0": (64, None),
    "vgg19": (64, None),
    "resnet101": (64, None),
    "torchvision:convnext_tiny": (64, None),
    "torchvision:densenet121": (64, None),
    "torchvision:googlenet": (64, None),
    "torchvision:inception_v3": (96, "Mixed_7c"),  # Inception
    "torchvision:regnet_y_400mf": (64, None),
    "torchvision:shufflenet_v2_x0_5": (64, None),
    "torchvision:swin_t": (64, "features.7"),  # Swin
    "torchvision:vit_b_16": (64, "encoder_layer_11"),
    "timm:deit_tiny_distilled_patch16_224": (64, None),  # DeiT
    "timm:inception_v3": (96, None),  # its activations exceed float16
    "timm:mobilenetv3_small_050": (64, None),
    "timm:swin_tiny_patch4_window7_224": (224, None),
    "timm:hrnet_w18_small": (64, None),
}
REFUSED = {
    "torchvision:vit_b_16": (100, "does not take images of 100 pixels"),
    "torchvision:inception_v3": (32, "does not take images of 32 pixels"),
    "timm:vit_tiny_patch16_224": (72, "does not take images of 72 pixels"),
    "timm:eva_giant_patch14_225": (56, "did you mean timm:eva_giant_patch14_224"),
}


def test_there_are_twenty() -> None:
    assert len({**SMALL, **LARGE}) >= 20


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "data", images=12, size=64)


def try_one(toy: Path, out: Path, name: str, size: int, stage: str | None) -> None:
    config = tiny_run(
        toy,
        out,
        encoder={"name": name, "size": size, "pretrained": False, "finetune_from": stage},
        data={"train_images": 4, "val_images": 2, "cache": str(out / "cache")},
        train={"epochs": 1, "validate_beam": 1, "lr": 1e-4},
    )
    (epoch,) = train(config, Silent())["history"]
    assert math.isfinite(epoch["loss"])
    assert math.isfinite(epoch["val_loss"])


@pytest.mark.parametrize("name", SMALL)
def test_a_small_one_trains(name: str, toy: Path, tmp_path: Path) -> None:
    try_one(toy, tmp_path, name, *SMALL[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_large_one_trains(name: str, toy: Path, tmp_path: Path) -> None:
    try_one(toy, tmp_path, name, *LARGE[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(name: str, toy: Path, tmp_path: Path) -> None:
    size, reason = REFUSED[name]
    with pytest.raises(UserError, match=reason) as caught:
        try_one(toy, tmp_path, name, size, None)
    assert "\n" not in str(caught.value)


def test_a_grid_that_needs_more_memory_than_there_is_is_refused(toy: Path, tmp_path: Path) -> None:
    config = tiny_run(
        toy,
        tmp_path,
        encoder={"name": "timm:convnext_atto", "size": 256, "pretrained": False,
                 "beside": "stages.0"},
        train={"batch_size": 100_000},
    )  # fmt: skip
    with pytest.raises(UserError, match=r"grid of 64x64 needs about .* GB per step") as caught:
        train(config, Silent())
    assert "train.batch_size" in str(caught.value)
