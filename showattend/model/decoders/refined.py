"""Self-attention over the grid, before any decoder (``encoder.self_attention`` in a config).

Conceptually it is the last part of the encoder: Cornia et al. 2020, "Meshed-Memory Transformer",
and Huang et al. 2019, "Attention on Attention", refine their features in this way. But it is
trained from scratch together with the decoder, while the features before it come from frozen or
pretrained weights and are cached. It is therefore part of the decoder here: model files, moving
averages, self-critical training and exports handle it like the decoder's other weights, and cached
features stay valid.

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
        feature_dim: The encoder's D.
        layers: N.
        width: M, the size of the refined annotations.
        heads: The number of heads per layer.
        dropout: Dropout on the output of each sublayer.

    Raises:
        ConfigError: ``width`` is not a multiple of 4 and of ``heads``.
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
        """Refine annotations [B, H, W, D] to [B, H, W, M]."""
        return self.look(features)[0]

    def look(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Refine annotations [B, H, W, D], and also return the maps.

        Returns:
            The refined annotations [B, H, W, M], and where each location looked, for each layer and
            head, [B, N * heads, L, L].
        """
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
        """The keys of the config's encoder section from which the module can be built again."""
        return {
            "self_attention": len(self.layers),
            "self_attention_dim": self.width,
            "self_attention_heads": self.heads,
            "self_attention_dropout": self.dropout,
        }


class RefinedDecoder(nn.Module):
    """A decoder that reads annotations refined by `GridSelfAttention`.

    It follows the decoder protocol and delegates everything else to the decoder that it wraps.

    Args:
        refine: The layers over the grid.
        decoder: A decoder built for annotations of the width of ``refine``.
    """

    def __init__(self, refine: GridSelfAttention, decoder: Decoder) -> None:
        super().__init__()
        self.refine, self.decoder = refine, decoder

    def memory(self, features: torch.Tensor) -> Memory:
        """Refine annotations [B, H, W, D], and return the wrapped decoder's memory of them."""
        return self.decoder.memory(self.refine(features))

    def start(self, memory: Memory) -> State:
        """Return the wrapped decoder's first state; see `Decoder.start`."""
        return self.decoder.start(memory)

    def step(self, words_BK: torch.Tensor, state: State, memory: Memory) -> Step:
        """Read one word of each caption [B, K]; see `Decoder.step`."""
        return self.decoder.step(words_BK, state, memory)

    def forward(
        self, features: torch.Tensor, captions_BKT: torch.Tensor, lengths_BK: torch.Tensor
    ) -> Forced:
        """Run the wrapped decoder's teacher forcing; see `teacher_forcing`."""
        return self.decoder(self.refine(features), captions_BKT, lengths_BK)

    def __getattr__(self, name: str) -> Any:
        """Look up other attributes in the wrapped decoder."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("decoder"), name)

    @property
    def feature_dim(self) -> int:
        """The encoder's D."""
        return self.refine.feature_dim

    @property
    def sizes(self) -> Mapping[str, Any]:
        """The options that the weights depend on: the decoder's and those of ``refine``."""
        section = {f"encoder.{key}": value for key, value in self.refine.section.items()}
        del section["encoder.self_attention_dropout"]  # no weight's shape depends on it
        return {**self.decoder.sizes, **section}

    @staticmethod
    def with_more_features(
        weights: Mapping[str, torch.Tensor], more: int
    ) -> dict[str, torch.Tensor] | None:
        """Add columns to W_a [M, D]; see `Decoder.with_more_features`."""
        wider = F.pad(weights["refine.W_a.weight"], (0, more))
        return {**weights, "refine.W_a.weight": wider}

    @staticmethod
    def feature_dim_of(weights: Mapping[str, torch.Tensor]) -> int:
        """Return D, the input size of W_a [M, D]."""
        return weights["refine.W_a.weight"].shape[1]


def innermost(decoder: Any) -> Any:
    """Return the decoder without a `RefinedDecoder` around it."""
    return decoder.decoder if isinstance(decoder, RefinedDecoder) else decoder
