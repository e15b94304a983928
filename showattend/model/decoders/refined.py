"""Self-attention over the grid, before any decoder: the annotations learn of each other.

``encoder.self_attention`` in a config. Seen from the photograph it is the last part of the encoder
(Cornia et al. 2020, "Meshed-Memory Transformer", and Huang et al. 2019, "Attention on Attention",
refine their features so); but it is trained from nothing with the decoder, while the features
before it are frozen, or delivered weights, and cached. So it lives here: a model's file, a moving
average, self-critical training and an export hold it as they hold the decoder, and the cache, which
ends before it, never goes stale.

Shape suffixes: B images, L locations of an H x W grid, D feature, M width, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from showattend.model.decoders.blocks import EncoderBlock, check_width, grid_sinusoids
from showattend.model.decoders.protocol import Decoder, Forced, Memory, State, Step, flat
from showattend.model.layers import LayerNorm, Linear


class GridSelfAttention(nn.Module):
    """N layers of `EncoderBlock` over the annotations and their places in the image.

    a_i = LN(W_a f_i) + p(row of i, column of i), then N times `EncoderBlock`, then LN.

    Args:
        feature_dim: D, the encoder's.
        layers: N.
        width: M; the annotations have this size from there on.
        heads: H.
        dropout: On what each part of a layer adds.

    Raises:
        ConfigError: The width is no multiple of 4 and of heads.
    """

    def __init__(
        self, *, feature_dim: int, layers: int, width: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        check_width(width, heads, "encoder.self_attention_dim")
        self.feature_dim, self.width, self.heads, self.dropout = feature_dim, width, heads, dropout
        self.W_a, self.norm_a = Linear(feature_dim, width), LayerNorm(width)
        self.layers = nn.ModuleList(
            EncoderBlock(width, heads, 4 * width, dropout) for _ in range(layers)
        )
        self.norm = LayerNorm(width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Annotations [B, H, W, D] to [B, H, W, M]."""
        return self.look(features)[0]

    def look(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, and where each location looked, by layer and head: [B, N * H, L, L]."""
        f_BLD, grid = flat(features)
        x = self.norm_a(self.W_a(f_BLD))
        x = x + grid_sinusoids(*grid, self.width, x)
        maps = []
        for layer in self.layers:
            x, weights = layer(x, f_BLD.dtype)
            maps.append(weights)
        return self.norm(x).to(f_BLD.dtype).unflatten(1, grid), torch.cat(maps, 1)

    @property
    def section(self) -> dict[str, Any]:
        """Keys of the config's encoder section that build it again."""
        return {
            "self_attention": len(self.layers),
            "self_attention_dim": self.width,
            "self_attention_heads": self.heads,
            "self_attention_dropout": self.dropout,
        }


class RefinedDecoder(nn.Module):
    """Any decoder, given annotations that have passed `GridSelfAttention`.

    It follows the protocol itself; what it is asked, the decoder within answers.

    Args:
        refine: Over the grid.
        decoder: Built for annotations of the width of ``refine``.
    """

    def __init__(self, refine: GridSelfAttention, decoder: Decoder) -> None:
        super().__init__()
        self.refine, self.decoder = refine, decoder

    def memory(self, features: torch.Tensor) -> Memory:
        """The refined annotations, and what the decoder makes of them."""
        return self.decoder.memory(self.refine(features))

    def start(self, memory: Memory) -> State:
        """The decoder's."""
        return self.decoder.start(memory)

    def step(self, words_BK: torch.Tensor, state: State, memory: Memory) -> Step:
        """The decoder's."""
        return self.decoder.step(words_BK, state, memory)

    def forward(
        self, features: torch.Tensor, captions_BKT: torch.Tensor, lengths_BK: torch.Tensor
    ) -> Forced:
        """The decoder's teacher forcing."""
        return self.decoder(self.refine(features), captions_BKT, lengths_BK)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the decoder has."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("decoder"), name)

    @property
    def feature_dim(self) -> int:
        """D, the encoder's."""
        return self.refine.feature_dim

    @property
    def sizes(self) -> Mapping[str, Any]:
        """The decoder's, and those of the layers over the grid."""
        section = {f"encoder.{key}": value for key, value in self.refine.section.items()}
        del section["encoder.self_attention_dropout"]  # no weight depends on it
        return {**self.decoder.sizes, **section}

    @staticmethod
    def with_more_features(
        weights: Mapping[str, torch.Tensor], more: int
    ) -> dict[str, torch.Tensor] | None:
        """New columns of W_a."""
        wider = F.pad(weights["refine.W_a.weight"], (0, more))
        return {**weights, "refine.W_a.weight": wider}

    @staticmethod
    def feature_dim_of(weights: Mapping[str, torch.Tensor]) -> int:
        """The input of W_a."""
        return weights["refine.W_a.weight"].shape[1]


def innermost(decoder: Any) -> Any:
    """A decoder without the layers over the grid before it, if it has any."""
    return decoder.decoder if isinstance(decoder, RefinedDecoder) else decoder
