"""EfficientNet-Lite against timm's, to the last bit, and what a caption then need not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

from showattend.model.build import build_encoder
from showattend.model.fast.lite_network import WIDTH_AND_DEPTH, LiteNetwork, lite_network

PHOTO = Path(__file__).parents[3] / "assets/photos/chelsea.jpg"


def both(name: str) -> tuple[LiteNetwork, torch.nn.Module]:
    """Ours and timm's, from the same seed, in eval mode."""
    made = []
    for build in (lite_network, timm.create_model):
        torch.manual_seed(5)
        made.append(build(name).eval())
    return made[0], made[1]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name.endswith("0") else pytest.mark.slow)
        for name in WIDTH_AND_DEPTH
    ],
)
def test_weights_have_the_names_order_and_random_values_of_timm(name: str) -> None:
    torch.manual_seed(5)
    ours = lite_network(name)
    after = torch.rand(1)
    torch.manual_seed(5)
    theirs = timm.create_model(name)
    assert torch.equal(after, torch.rand(1))  # a decoder that is built next starts the same, too
    assert ours is not None
    mine, wanted = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(wanted)
    assert all(torch.equal(mine[key], wanted[key]) for key in mine)


@pytest.mark.parametrize(("size", "layout"), [(97, "last"), (96, "first")])
def test_maps_and_gradients_are_those_of_timm(size: int, layout: str) -> None:
    ours, theirs = both("tf_efficientnet_lite1")
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    if layout == "last":
        images = images.contiguous(memory_format=torch.channels_last)
    found, wanted = ours.forward_features(images), theirs.forward_features(images)
    assert torch.equal(found, wanted)
    weights = [net.get_parameter("blocks.5.0.conv_dw.weight") for net in (ours, theirs)]
    first, second = (
        torch.autograd.grad(y.square().mean(), w)[0]
        for y, w in zip((found, wanted), weights, strict=True)
    )
    assert torch.equal(first, second)


def test_the_encoder_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = build_encoder(name="efficientnet_lite0")
    monkeypatch.setenv("SHOWATTEND_PLAIN", "1")
    plain = build_encoder(name="efficientnet_lite0")
    assert isinstance(quick.body.model, LiteNetwork)
    assert not isinstance(plain.body.model, LiteNetwork)
    assert quick.fingerprint() == plain.fingerprint()
    assert quick.stages == plain.stages
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    assert torch.equal(quick(images), plain(images))


def test_weights_that_follow_are_the_same_without_drawing_any() -> None:
    """Also in memory: a resumed run would add up in another order otherwise."""
    drawn = build_encoder(name="efficientnet_lite0")
    torch.manual_seed(4)
    wanted = torch.rand(1)
    torch.manual_seed(4)
    filled = build_encoder(name="efficientnet_lite0", draw=False)
    assert torch.equal(torch.rand(1), wanted)
    weights = drawn.state_dict()
    for key, value in filled.state_dict().items():
        assert torch.equal(value, weights[key]), key
        assert value.stride() == weights[key].stride(), key
    assert filled.delivered == drawn.delivered


def test_other_networks_are_those_of_timm() -> None:
    assert lite_network("resnet18") is None


def test_a_caption_needs_neither_timm_nor_torchvision() -> None:
    code = (
        "import sys; from showattend import Captioner; "
        f"assert Captioner.from_pretrained().caption({str(PHOTO)!r}).words; "
        "loaded = {'timm', 'torchvision', 'torch._dynamo', 'sympy', 'matplotlib'}; "
        "print(sorted(loaded & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
