"""Every encoder: true shapes, frozen statistics, stages opened, and stages beside the last."""

from __future__ import annotations

import pytest
import torch

from showattend.exceptions import ConfigError
from showattend.images.preprocessing import Preprocessing
from showattend.model.backbones import RECIPES
from showattend.model.build import build_encoder
from showattend.model.encoder import Encoder, encode

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
    "timm:hrnet_w18_small": (2048, 32, (64,)),  # branches that are joined again
    "timm:vit_tiny_patch16_224": (192, 16, (64, 224)),  # patch tokens, one class token
}
# More than their parts one after another.
NO_CHAIN = {"timm:hrnet_w18_small"}


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


# A stage beside the last one ---------------------------------------------------------------------

# Name: the stage, its D and pixels a cell; backbones that keep channels last within are among them.
BESIDE = {
    "efficientnet_lite0": ("blocks.4", 112, 16),
    "resnet101": ("layer3", 1024, 16),
    "torchvision:swin_t": ("features.3", 192, 8),
    "timm:convnext_atto": ("stages.1", 80, 8),
    "timm:mambaout_femto": ("stages.2", 192, 16),
}


@pytest.fixture(scope="module", params=BESIDE)
def both(request: pytest.FixtureRequest) -> Encoder:
    torch.manual_seed(0)
    return build_encoder(name=request.param, pretrained=False, beside=BESIDE[request.param][0])


def test_a_stage_beside_the_last_one_makes_the_grid_finer(both: Encoder) -> None:
    stage, dim, stride = BESIDE[both.backbone]
    images = torch.randn(2, 3, 64, 64)
    torch.manual_seed(0)
    alone = build_encoder(name=both.backbone, pretrained=False)
    features, coarse = both(images), alone(images)
    cells = 64 // stride
    assert features.shape == (2, cells, cells, alone.dim + dim)
    assert (both.grid(64), both.dim, both.stride(64)) == ((cells, cells), alone.dim + dim, stride)
    # The last stage's part of a cell is that of the coarse cell it lies in, and of the next ones.
    times = cells // coarse.shape[1]
    pooled = features[..., : alone.dim].unflatten(1, (-1, times)).unflatten(3, (-1, times))
    mine = pooled.mean((2, 4))
    torch.testing.assert_close(mine.mean((1, 2)), coarse.mean((1, 2)), rtol=1e-3, atol=1e-4)
    # The rest is what the stage says, in its place.
    seen: list[torch.Tensor] = []
    part = dict(both._parts)[stage]
    hook = part.register_forward_hook(lambda _, __, out: seen.append(out))
    features = both(images)
    hook.remove()
    (finer,) = seen
    finer = finer if finer.shape[1] == cells else finer.permute(0, 2, 3, 1)
    torch.testing.assert_close(features[..., alone.dim :], finer)
    assert both.name == f"{alone.name} beside {stage}"
    assert both.fingerprint() != alone.fingerprint()  # another cache, another checkpoint


def test_an_encoder_with_two_stages_is_cut_where_both_can_be_had(both: Encoder) -> None:
    """Before the stage that is opened, but no later than after the one that stands beside."""
    stage = BESIDE[both.backbone][0]
    images = torch.randn(1, 3, 64, 64)
    for opened in (stage, both.stages[both.stages.index(stage) + 1], both.stages[-1]):
        front = both.before(opened, 64)
        assert front is not None
        with torch.inference_mode():
            found = both.forward_from(opened, front(images))
            torch.testing.assert_close(found, both(images), rtol=1e-4, atol=1e-4)
    both.finetune_from(both.stages[-1])
    with torch.no_grad():
        middle = front(images)
    both.forward_from(both.stages[-1], middle).square().sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in both.parameters())
    both.finetune_from(None)


def test_a_stage_of_a_network_that_is_no_chain() -> None:
    """Its output is taken while the whole network runs, and there is nothing to cut."""
    torch.manual_seed(0)
    encoder = build_encoder(name="timm:hrnet_w18_small", pretrained=False, beside="layer1")
    images = torch.randn(2, 3, 64, 64)
    seen: list[torch.Tensor] = []
    dict(encoder._parts)["layer1"].register_forward_hook(lambda _, __, out: seen.append(out))
    features = encoder(images)  # without having been measured
    assert encoder.measure(64) == (16, 16, 2048 + 128)
    assert features.shape == (2, 16, 16, 2048 + 128)
    finer = next(each for each in seen if len(each) == 2)
    torch.testing.assert_close(features[..., 2048:], finer.permute(0, 2, 3, 1))
    assert encoder.before(encoder.stages[-1], 64) is None
    opened = encoder.finetune_from(encoder.stages[-1])
    encoder(images).square().sum().backward()
    assert all(parameter.grad is not None for parameter in opened)


def test_a_change_in_one_corner_shows_in_that_corner_of_both_parts() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(name="torchvision:resnet18", pretrained=False, beside="layer2")
    image = torch.randn(1, 3, 256, 256)
    other = image.clone()
    other[:, :, 32:64, 192:224] += 3.0  # cell (1, 6) of 8 x 8, (4..7, 24..27) of 32 x 32
    change = (encoder(other) - encoder(image))[0]
    for part, most in ((change[..., :512], 4), (change[..., 512:], 2)):
        row, column = divmod(int(part.norm(dim=-1).argmax()), 32)
        assert abs(row - 5.5) <= most
        assert abs(column - 25.5) <= most


@pytest.mark.parametrize(
    ("name", "stage", "message"),
    [
        ("torchvision:resnet18", "layr3", "no stage 'layr3'; did you mean layer3"),
        ("torchvision:resnet18", "layer4", "its grid is 2x2, no finer than the last one's 2x2"),
        ("efficientnet_lite0", "blocks.6", "blocks.6 beside its last stage: its grid is 2x2"),
        ("timm:vit_tiny_patch16_224", "blocks.4", "Vision Transformer have the same grid"),
        ("timm:hrnet_w18_small", "stage4", "its output is not a square map"),
    ],
)
def test_a_stage_that_cannot_stand_beside_is_refused(name: str, stage: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_encoder(name=name, pretrained=False, beside=stage).measure(64)
    assert "\n" not in str(caught.value)


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


def test_a_size_that_the_backbone_does_not_take_is_refused() -> None:
    encoder = build_encoder(name="timm:vit_tiny_patch16_224", pretrained=False)
    with pytest.raises(ConfigError, match="does not take images of 100 pixels"):
        encoder.measure(100)


def test_a_model_saves_a_vision_transformers_weights_once() -> None:
    encoder = build_encoder(name="torchvision:vit_b_16", pretrained=False)
    places = [tensor.data_ptr() for tensor in encoder.state_dict().values()]
    assert len(places) == len(set(places))
    assert encoder.measure(32) == (2, 2, 768)


def test_dim_of_an_encoder_that_takes_its_own_size_only() -> None:
    assert build_encoder(name="timm:vit_tiny_r_s16_p8_384", pretrained=False).dim == 192


# The weights -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite0() -> Encoder:
    return build_encoder(name="efficientnet_lite0")


def test_encode_normalises_and_keeps_the_asked_precision(lite0: Encoder) -> None:
    preprocessing = Preprocessing(size=64, mean=(0.5,) * 3, std=(0.5,) * 3)
    pixels = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        wanted = lite0(pixels / 127.5 - 1)
        found = encode(lite0, pixels, preprocessing, torch.float32)
        rounded = encode(lite0, pixels, preprocessing, torch.bfloat16)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert rounded.dtype == torch.bfloat16
    # Each of about 60 layers adds an error of 2 ** -8 of its output, which together are 0.03.
    assert (rounded.float() - wanted).norm() < 0.1 * wanted.norm()


def test_the_fingerprint_is_of_the_weights(lite0: Encoder) -> None:
    before = lite0.fingerprint()
    bias = lite0.body.model.bn2.bias  # type: ignore[union-attr]
    with torch.no_grad():
        bias[0] += 1e-3
        changed = lite0.fingerprint()
        bias[0] -= 1e-3
    assert changed != before
