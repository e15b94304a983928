"""Encoders: a batch of images to a grid of annotation vectors a_1..a_L (paper, section 3.1.1).

Backbones of torchvision and timm (`showattend.model.backbones`) share one interface, `Encoder`. Its
`dim`, `stride` and `grid` are measured by running the backbone, and no pooling stretches the grid
to another shape.

Shape suffixes: B images, H and W rows and columns of the grid, D feature dimension.
"""

from __future__ import annotations

from typing import Self

import torch

from showattend.images.preprocessing import Preprocessing
from showattend.model.staged import Staged


class Encoder(Staged):
    """A backbone that keeps its spatial activation map.

    It stays in eval mode, whatever mode `train` sets: dropout is off and batch normalisation
    uses its stored statistics, in a frozen encoder as in the fine-tuned stages of an open one.
    `Staged` has its arguments and attributes.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Encode images [B, 3, size, size], normalised as in the recipe, to [B, H, W, D]."""
        images = images.contiguous(memory_format=torch.channels_last)
        if self.beside is not None:
            return self._with_finer(images)
        return self.body(images).permute(0, 2, 3, 1)

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """Stay in eval mode (see the class)."""
        return super().train(False)


def encode(
    encoder: Encoder, pixels: torch.Tensor, preprocessing: Preprocessing, dtype: torch.dtype
) -> torch.Tensor:
    """Pixels [B, 3, size, size] uint8 to annotations [B, H, W, D] in ``dtype``."""
    images = preprocessing.normalize(pixels)
    with torch.autocast(pixels.device.type, dtype, enabled=dtype != torch.float32):
        return encoder(images).to(dtype)
