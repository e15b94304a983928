"""EfficientNet-Lite (Tan and Le 2019, with ReLU6 and no squeeze-and-excitation) without timm.

Importing timm imports torchvision and PyTorch's compiler, which takes longer than all the
arithmetic of a single caption. The plain twin is timm's ``tf_efficientnet_lite*``: weights have the
same names and order, the same operations run in the same order, and random weights take the same
random numbers, so that results agree bit for bit.

Shape suffixes: B images, H and W rows and columns, C channels.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

WIDTH_AND_DEPTH = {
    "tf_efficientnet_lite0": (1.0, 1.0),
    "tf_efficientnet_lite1": (1.0, 1.1),
    "tf_efficientnet_lite2": (1.1, 1.2),
}
"""Multipliers of channels and of blocks in a stage, by timm's names."""
FEATURES = 1280


class _Stage(NamedTuple):
    """Blocks of one width; the first one has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


class _Convolution(nn.Conv2d):
    """A convolution without bias and with TensorFlow's "same" padding: the larger half at the end.

    With stride 1 both halves are equal, and the convolution pads by itself.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, **options: Any) -> None:
        even = options.get("stride", 1) == 1
        padding = (kernel - 1) // 2 if even else 0
        super().__init__(inputs, outputs, kernel, padding=padding, bias=False, **options)
        self.pads = not even

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve a map [B, C, H, W]."""
        if self.pads:
            bottom, right = (
                max((math.ceil(size / step) - 1) * step + kernel - size, 0)
                for size, step, kernel in zip(
                    input.shape[-2:], self.stride, self.kernel_size, strict=True
                )
            )
            sides = (right // 2, right - right // 2, bottom // 2, bottom - bottom // 2)
            input = F.pad(input, sides)
        return super().forward(input)


class _Normalised(nn.BatchNorm2d):
    """Batch normalisation, and ReLU6 unless the output is linear."""

    def __init__(self, channels: int, linear: bool = False) -> None:
        super().__init__(channels, eps=1e-3)
        self.act = nn.Identity() if linear else nn.ReLU6(inplace=True)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise a map [B, C, H, W]."""
        result: torch.Tensor = self.act(super().forward(input))
        return result


class _Separable(nn.Module):
    """A depthwise convolution and a linear projection."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.skips = stride == 1 and inputs == outputs
        self.conv_dw = _Convolution(inputs, inputs, kernel, stride=stride, groups=inputs)
        self.bn1 = _Normalised(inputs)
        self.conv_pw = _Convolution(inputs, outputs, 1)
        self.bn2 = _Normalised(outputs, linear=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] to [B, C', H', W']."""
        y: torch.Tensor = self.bn2(self.conv_pw(self.bn1(self.conv_dw(x))))
        return y + x if self.skips else y


class _Inverted(nn.Module):
    """An inverted residual block: expansion, depthwise convolution, linear projection."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.skips = stride == 1 and inputs == outputs
        inner = _multiple_of_8(inputs * expansion)
        self.conv_pw = _Convolution(inputs, inner, 1)
        self.bn1 = _Normalised(inner)
        self.conv_dw = _Convolution(inner, inner, kernel, stride=stride, groups=inner)
        self.bn2 = _Normalised(inner)
        self.conv_pwl = _Convolution(inner, outputs, 1)
        self.bn3 = _Normalised(outputs, linear=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] to [B, C', H', W']."""
        y = self.bn2(self.conv_dw(self.bn1(self.conv_pw(x))))
        y = self.bn3(self.conv_pwl(y))
        return y + x if self.skips else y


class LiteNetwork(nn.Module):
    """EfficientNet-Lite.

    Args:
        width: Multiplier of the channels, except those of the stem and of the annotations.
        depth: Multiplier of the blocks of each stage but the first and the last.

    Attributes:
        num_features: D, the length of an annotation vector.
    """

    num_features = FEATURES

    def __init__(self, width: float = 1.0, depth: float = 1.0) -> None:
        super().__init__()
        channels = 32
        self.conv_stem = _Convolution(3, channels, 3, stride=2)
        self.bn1 = _Normalised(channels)
        # timm's builder makes such a pair here as a trial, and drops it. So a decoder built next
        # starts from the same random numbers with either network.
        nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        stages = []
        for number, stage in enumerate(_STAGES):
            outputs = _multiple_of_8(stage.channels * width)
            scaled = 0 < number < len(_STAGES) - 1
            count = math.ceil(stage.blocks * depth) if scaled else stage.blocks
            blocks = []
            for block in range(count):
                stride = 1 if block else stage.stride
                blocks.append(
                    _Separable(channels, outputs, stage.kernel, stride)
                    if stage.expansion == 1
                    else _Inverted(channels, outputs, stage.kernel, stride, stage.expansion)
                )
                channels = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = _Convolution(channels, FEATURES, 1)
        self.bn2 = _Normalised(FEATURES)
        self.classifier = nn.Linear(
            FEATURES, 1000
        )  # among the delivered weights; captions do without
        self._initialise()

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, 3, H, W] to the map [B, D, H / 32, W / 32], rounded up."""
        x = self.blocks(self.bn1(self.conv_stem(images)))
        features: torch.Tensor = self.bn2(self.conv_head(x))
        return features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, 3, H, W] to the logits [B, 1000] of ImageNet's classes."""
        logits: torch.Tensor = self.classifier(self.forward_features(images).mean((2, 3)))
        return logits

    def _initialise(self) -> None:
        """Random weights as timm draws them."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                outputs = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0, math.sqrt(2 / outputs))
            elif isinstance(module, nn.Linear):
                bound = 1 / math.sqrt(module.out_features)
                nn.init.uniform_(module.weight, -bound, bound)
                nn.init.zeros_(module.bias)


def lite_network(name: str) -> LiteNetwork | None:
    """The network named ``name`` in timm, with random weights; None if it is of another kind."""
    sizes = WIDTH_AND_DEPTH.get(name)
    return None if sizes is None else LiteNetwork(*sizes)


def _multiple_of_8(channels: float) -> int:
    """Round to a multiple of 8 that is at least 8, and at least nine tenths of the value."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
