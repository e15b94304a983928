"""The building blocks of Transformers (Vaswani et al. 2017, "Attention Is All You Need").

Shape suffixes: B images, K captions or beams of an image, T words, L locations, S positions
attended to, H heads, M width, D feature.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from showattend.exceptions import ConfigError
from showattend.model.layers import LayerNorm, Linear, wide

SIDE = 14
"""Positions are scaled as if every image had this many cells per side, as in the paper."""


def sinusoids(positions: torch.Tensor, width: int) -> torch.Tensor:
    """Encode positions: sin(p / 10000^(2i/M)) in channel 2i, cos in channel 2i + 1 (section 3.5).

    Args:
        positions: p, [T], in float32 or float64; not necessarily integers.
        width: M, even.

    Returns:
        [T, M], in the dtype of the positions.
    """
    channels = torch.arange(0, width, 2, dtype=positions.dtype, device=positions.device)
    angles = positions.unsqueeze(1) * torch.exp(channels * (-math.log(10000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


def grid_sinusoids(height: int, width: int, channels: int, like: torch.Tensor) -> torch.Tensor:
    """Encode positions in two dimensions: half of the channels the row, the other half the column.

    The scheme is that of Parmar et al. 2018 ("Image Transformer") and Carion et al. 2020 (DETR).
    Positions are relative to the image, not cell numbers: a place in the image has about the same
    encoding on grids of different sizes.

    Args:
        height: The number of rows of the grid.
        width: The number of columns.
        channels: M, a multiple of 4.
        like: A tensor of any shape, in float32 or float64; the result has its dtype and device.

    Returns:
        [height * width, M].
    """
    row, column = (
        sinusoids((torch.arange(n).to(like) + 0.5) * (SIDE / n), channels // 2)
        for n in (height, width)
    )
    both = row.unsqueeze(1).expand(-1, width, -1), column.unsqueeze(0).expand(height, -1, -1)
    return torch.cat(both, 2).flatten(0, 1)


def check_width(width: int, heads: int, name: str) -> None:
    """Check that a width can be divided among the heads and the encodings of positions.

    Args:
        width: M.
        heads: H.
        name: The name of the option for the width, for messages.

    Raises:
        ConfigError: The width is not a multiple of 4 and of ``heads``.
    """
    if width % heads or width % 4:
        raise ConfigError(
            f"{name} is {width}; it must be a multiple of 4 and of the number of heads ({heads})"
        )


class MultiHead(nn.Module):
    """Multi-head attention: head_j = softmax(Q_j K_j^T / sqrt(M / H)) V_j (section 3.2.2).

    Q = W_Q x, K = W_K y and V = W_V y; head j reads the j-th slice of each. The output is
    W_O [head_1; ...; head_H]. All projections except W_K have a bias: a bias of W_K would add the
    same to all scores of a query, and cancel in the softmax.

    Args:
        width: M.
        heads: H, which divides M.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.W_Q, self.W_V, self.W_O = (Linear(width, width) for _ in range(3))
        self.W_K = Linear(width, width, bias=False)
        for each in (self.W_Q, self.W_K, self.W_V, self.W_O):
            nn.init.xavier_uniform_(each.weight)
        for each in (self.W_Q, self.W_V, self.W_O):
            nn.init.zeros_(each.bias)

    def keys(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute K and V [..., H, S, M / H] from y [..., S, M]."""
        return self._split(self.W_K(y)), self._split(self.W_V(y))

    def forward(
        self,
        x: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        allowed: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend from x to y.

        Args:
            x: The queries' input, [..., T, M].
            keys: K from `keys`, [..., H, S, M / H].
            values: V from `keys`, [..., H, S, M / H].
            allowed: The positions that x may attend to, bool, broadcast to [..., H, T, S]; None
                allows all.

        Returns:
            The output [..., T, M], and the weights [..., H, T, S] in at least float32.
        """
        Q = self._split(self.W_Q(x))
        scores = (Q @ keys.transpose(-1, -2)).to(wide(x.dtype)) / math.sqrt(Q.shape[-1])
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -torch.inf)
        weights = scores.softmax(-1)
        heads = weights.to(values.dtype) @ values
        return self.W_O(heads.transpose(-2, -3).flatten(-2)), weights

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """Split [..., T, M] into heads [..., H, T, M / H]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)


class FeedForward(nn.Module):
    """A feed-forward layer: W_2 max(0, W_1 x + b_1) + b_2 (section 3.3).

    Args:
        width: M.
        inner: The width of the hidden layer.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.W_1, self.W_2 = Linear(width, inner), Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x [..., M] to [..., M]."""
        return self.W_2(torch.relu(self.W_1(x)))


class EncoderBlock(nn.Module):
    """A layer over the grid: x + SelfAttention(LN x), then x + FeedForward(LN x).

    The normalisation comes before each sublayer (pre-norm, Xiong et al. 2020), so that training
    needs no long warm-up. x is in at least float32; the products run in the given precision.

    Args:
        width: M.
        heads: H.
        inner: The width of the feed-forward layer.
        dropout: Dropout on the output of each sublayer (section 5.4).
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.norm_1, self.attention = LayerNorm(width), MultiHead(width, heads)
        self.norm_2, self.feedforward = LayerNorm(width), FeedForward(width, inner)
        self.dropout = dropout

    def forward(self, x: torch.Tensor, precision: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Apply the layer to x [B, L, M], with products in ``precision``.

        Returns:
            The output [B, L, M], and where each location looked, [B, H, L, L].
        """
        n = self.norm_1(x).to(precision)
        seen, weights = self.attention(n, *self.attention.keys(n))
        x = x + F.dropout(seen, self.dropout, self.training)
        more = self.feedforward(self.norm_2(x).to(precision))
        return x + F.dropout(more, self.dropout, self.training), weights


class Read(NamedTuple):
    """The result of a `DecoderBlock` for T words."""

    x: torch.Tensor  # [B, K, T, M], at least float32
    keys: torch.Tensor  # self-attention keys, including earlier words, [B, K, H, S, M / H]
    values: torch.Tensor  # self-attention values, the same shape
    words: torch.Tensor  # where each word looked among the words, [B, K, H, T, S]
    image: torch.Tensor  # where each word looked in the image, [B, K, T, H, L]


class DecoderBlock(nn.Module):
    """A pre-norm layer over the words: self-attention, attention to the image, feed-forward.

    x + SelfAttention(LN x), then x + CrossAttention(LN x, a), then x + FeedForward(LN x).

    Args:
        width: M.
        heads: H.
        inner: The width of the feed-forward layer.
        dropout: Dropout on the output of each sublayer (section 5.4).
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.norm_1, self.attention = LayerNorm(width), MultiHead(width, heads)
        self.norm_2, self.cross_attention = LayerNorm(width), MultiHead(width, heads)
        self.norm_3, self.feedforward = LayerNorm(width), FeedForward(width, inner)
        self.dropout = dropout

    def forward(
        self,
        x: torch.Tensor,
        image: tuple[torch.Tensor, torch.Tensor],
        before: tuple[torch.Tensor, torch.Tensor] | None = None,
        allowed: torch.Tensor | None = None,
    ) -> Read:
        """Apply the layer to T words of each caption.

        Args:
            x: The words' hidden states, [B, K, T, M].
            image: Keys and values of the image, [B, H, L, M / H] each, shared by all its captions.
                Their precision is that of the products.
            before: Keys and values of the preceding words, [B, K, H, S - T, M / H] each, from
                `Read`; None if there are none.
            allowed: See `MultiHead.forward`.

        Returns:
            The new hidden states, the keys and values for the next words, and the maps.
        """
        precision = image[0].dtype
        n = self.norm_1(x).to(precision)
        keys, values = self.attention.keys(n)
        if before is not None:
            keys, values = torch.cat([before[0], keys], 3), torch.cat([before[1], values], 3)
        said, words = self.attention(n, keys, values, allowed)
        x = x + self._drop(said)
        n = self.norm_2(x).to(precision)
        seen, looked = self.cross_attention(n.flatten(1, 2), *image)  # K x T words in one product
        x = x + self._drop(seen.unflatten(1, n.shape[1:3]))
        x = x + self._drop(self.feedforward(self.norm_3(x).to(precision)))
        return Read(x, keys, values, words, looked.transpose(1, 2).unflatten(1, n.shape[1:3]))

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training)
