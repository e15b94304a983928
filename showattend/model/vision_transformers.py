"""Vision Transformers as encoders: patch tokens as a map, at any size, cut into stages."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn


class TokenPart(nn.Module):
    """A part of a Vision Transformer, for a chain like the parts of other networks.

    Between parts, the N tokens of an image are a map of one row, [B, D, 1, N]. The parts share the
    network's modules and belong to no other module, so that a model's weights keep their names.

    Args:
        inner: Maps tokens [B, N, D] to tokens [B, N, D].
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens [B, D, 1, N] to tokens [B, D, 1, N]."""
        return _row(self.inner(_tokens(tokens)))


class _Embed(TokenPart):
    """Maps images to the first layer's tokens, with their positions.

    Args:
        embed: Maps images [B, 3, size, size] to tokens [B, N, D].
        weights: The network's weights that it uses.
    """

    def __init__(self, embed: Callable[[torch.Tensor], torch.Tensor], weights: nn.Module) -> None:
        super().__init__(weights)
        self.embed = embed

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return _row(self.embed(images))


class _ToGrid(TokenPart):
    """The last normalisation; then the patches' tokens as a grid, without the prefix ones."""

    def __init__(self, inner: nn.Module, prefix: int) -> None:
        super().__init__(inner)
        self.prefix = prefix

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return square(self.inner(_tokens(tokens)), self.prefix)


class _Own(nn.Module):
    """Some weights of a network as a module."""

    def __init__(self, *modules: nn.Module, **parameters: nn.Parameter | None) -> None:
        super().__init__()
        self.modules_ = nn.ModuleList(modules)
        for name, parameter in parameters.items():
            self.register_parameter(name, parameter)


def _row(tokens_BND: torch.Tensor) -> torch.Tensor:
    return tokens_BND.transpose(1, 2).unsqueeze(2)


def _tokens(row_BD1N: torch.Tensor) -> torch.Tensor:
    return row_BD1N.squeeze(2).transpose(1, 2)


def square(tokens_BND: torch.Tensor, prefix: int) -> torch.Tensor:
    """Patch tokens as a map [B, D, H, W], without class or register tokens.

    Raises:
        ValueError: They are not a square grid.
    """
    patches = tokens_BND[:, prefix:]
    side = math.isqrt(patches.shape[1])
    if side * side != patches.shape[1]:
        raise ValueError(f"its {patches.shape[1]} tokens are not a square grid")
    return patches.unflatten(1, (side, side)).permute(0, 3, 1, 2)


class TorchvisionViT(nn.Module):
    """torchvision's Vision Transformer: its patch tokens as [B, D, H, W].

    Positions are interpolated for grids other than the one it was built for (Dosovitskiy et al.
    2021, section 3.2).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Map images [B, 3, size, size] to tokens [B, 1 + H W, D]."""
        model = cast(Any, self.model)
        patch = model.conv_proj.kernel_size[0]
        if images.shape[2] % patch or images.shape[3] % patch:
            raise ValueError(f"not a multiple of {patch} pixels, the size of its patches")
        patches = model.conv_proj(images)
        positions = model.encoder.pos_embedding
        H, W = patches.shape[2:]
        if positions.shape[1] != 1 + H * W:
            grid = square(positions, 1)
            grid = nn.functional.interpolate(grid, (H, W), mode="bicubic", antialias=True)
            positions = torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], 1)
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([model.class_token.expand(len(tokens), -1, -1), tokens], 1)
        return model.encoder.dropout(tokens + positions)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images [B, 3, size, size] to their map [B, D, H, W]."""
        encoder = cast(Any, self.model).encoder
        return square(encoder.ln(encoder.layers(self.embed(images))), 1)

    def stages(self) -> dict[str, nn.Module]:
        """Its parts, by torchvision's names."""
        model = cast(Any, self.model)
        positions = model.encoder.pos_embedding
        own = _Own(model.conv_proj, token=model.class_token, positions=positions)
        layers = {name: TokenPart(each) for name, each in model.encoder.layers.named_children()}
        return {"conv_proj": _Embed(self.embed, own), **layers, "ln": _ToGrid(model.encoder.ln, 1)}


class _TimmViT:
    """The beginning of timm's Vision Transformer, up to its first block."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Map images [B, 3, size, size] to tokens [B, N, D]."""
        tokens = self.model._pos_embed(self.model.patch_embed(images))
        return self.model.norm_pre(self.model.patch_drop(tokens))


def timm_vit_stages(model: Any, prefix: int) -> dict[str, nn.Module]:
    """The parts of timm's Vision Transformer, by timm's names."""
    own = _Own(model.patch_embed, model.norm_pre)
    for name in ("cls_token", "reg_token", "dist_token", "pos_embed"):
        if isinstance(parameter := getattr(model, name, None), nn.Parameter):
            own.register_parameter(name, parameter)
    blocks = {f"blocks.{name}": TokenPart(each) for name, each in model.blocks.named_children()}
    return {
        "patch_embed": _Embed(_TimmViT(model).embed, own),
        **blocks,
        "norm": _ToGrid(model.norm, prefix),
    }
