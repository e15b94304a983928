"""What Transformers are made of (Vaswani et al. 2017, "Attention Is All You Need").

Shape suffixes: B images, K captions or beams of an image, T words, L locations, S what is attended
to, H heads, M width, D feature.
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
"""How many cells a side an image counts as for its positions, whatever the grid: the paper's."""


def sinusoids(positions: torch.Tensor, width: int) -> torch.Tensor:
    """Section 3.5: sin(p / 10000^(2i/M)) in channel 2i, cos of the same in channel 2i + 1.

    Args:
        positions: p, [T], in float32 or float64; need not be whole.
        width: M, even.

    Returns:
        [T, M], of the type of the positions.
    """
    channels = torch.arange(0, width, 2, dtype=positions.dtype, device=positions.device)
    angles = positions.unsqueeze(1) * torch.exp(channels * (-math.log(10000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


def grid_sinusoids(height: int, width: int, channels: int, like: torch.Tensor) -> torch.Tensor:
    """Positions in two dimensions: half of the channels say the row, the others the column.

    As in Parmar et al. 2018 ("Image Transformer") and Carion et al. 2020 (DETR). A position is a
    place in the image, not the number of a cell: at another size the top is still the top.

    Args:
        height: Rows of the grid.
        width: Its columns.
        channels: M, a multiple of 4.
        like: Whose device to be on, and whose type, float32 or float64, to be of.

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
    """Refuse a width that cannot be divided among the heads and the positions.

    Raises:
        ConfigError: It says so; ``name`` is the option's.
    """
    if width % heads or width % 4:
        raise ConfigError(
            f"{name} is {width}; it must be a multiple of 4 and of the number of heads ({heads})"
        )


class MultiHead(nn.Module):
    """Section 3.2.2: head_j = softmax(Q_j K_j^T / sqrt(M / H)) V_j.

    Q = W_Q x, K = W_K y, V = W_V y, and head j has the j-th part of each. The output is
    W_O [head_1; ...; head_H]. All but K have a bias, as in
    `torch.nn.MultiheadAttention`; one of K would add the same to all scores of a query, and cancel.

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
        """K and V of what is attended to, y [..., S, M]: [..., H, S, M / H] each."""
        return self._split(self.W_K(y)), self._split(self.W_V(y))

    def forward(
        self,
        x: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        allowed: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend.

        Args:
            x: What asks, [..., T, M].
            keys: K, of `keys`.
            values: V, likewise.
            allowed: Where x may look, true or false, broadcast to [..., H, T, S]; None: anywhere.

        Returns:
            The output [..., T, M], and the weights [..., H, T, S] in float32 at least.
        """
        Q = self._split(self.W_Q(x))
        scores = (Q @ keys.transpose(-1, -2)).to(wide(x.dtype)) / math.sqrt(Q.shape[-1])
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -torch.inf)
        weights = scores.softmax(-1)
        heads = weights.to(values.dtype) @ values
        return self.W_O(heads.transpose(-2, -3).flatten(-2)), weights

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """[..., T, M] as [..., H, T, M / H]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-2, -3)


class FeedForward(nn.Module):
    """Section 3.3: W_2 max(0, W_1 x + b_1) + b_2.

    Args:
        width: M.
        inner: Of the layer between.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.W_1, self.W_2 = Linear(width, inner), Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., M] to [..., M]."""
        return self.W_2(torch.relu(self.W_1(x)))


class EncoderBlock(nn.Module):
    """A layer over the grid: x + SelfAttention(LN x), then x + FeedForward(LN x).

    The normalisation comes before each part (pre-norm: Xiong et al. 2020), which learns without
    a long warm-up. x is in float32 at least; the products are in the precision that is asked for.

    Args:
        width: M.
        heads: H.
        inner: Of the feed-forward layer.
        dropout: On what each part adds (section 5.4).
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.norm_1, self.attention = LayerNorm(width), MultiHead(width, heads)
        self.norm_2, self.feedforward = LayerNorm(width), FeedForward(width, inner)
        self.dropout = dropout

    def forward(self, x: torch.Tensor, precision: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """[B, L, M] to [B, L, M], and where each location looked, [B, H, L, L]."""
        n = self.norm_1(x).to(precision)
        seen, weights = self.attention(n, *self.attention.keys(n))
        x = x + F.dropout(seen, self.dropout, self.training)
        more = self.feedforward(self.norm_2(x).to(precision))
        return x + F.dropout(more, self.dropout, self.training), weights


class Read(NamedTuple):
    """What a `DecoderBlock` makes of words."""

    x: torch.Tensor  # [B, K, T, M], float32 at least
    keys: torch.Tensor  # of its self-attention, with those before them, [B, K, H, S, M / H]
    values: torch.Tensor  # likewise
    words: torch.Tensor  # where each word looked among the words, [B, K, H, T, S]
    image: torch.Tensor  # and in the image, [B, K, T, H, L]


class DecoderBlock(nn.Module):
    """A layer over the words: self-attention, attention to the image, feed-forward; pre-norm.

    x + SelfAttention(LN x), then x + CrossAttention(LN x, a), then x + FeedForward(LN x).

    Args:
        width: M.
        heads: H.
        inner: Of the feed-forward layer.
        dropout: On what each part adds (section 5.4).
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
        """Read words.

        Args:
            x: [B, K, T, M].
            image: Keys and values of the image, [B, H, L, M / H] each, which all of its captions
                share; their precision is that of the products.
            before: Keys and values of the words before these, as of `Read`.
            allowed: As of `MultiHead`.
        """
        precision = image[0].dtype
        n = self.norm_1(x).to(precision)
        keys, values = self.attention.keys(n)
        if before is not None:
            keys, values = torch.cat([before[0], keys], 3), torch.cat([before[1], values], 3)
        said, words = self.attention(n, keys, values, allowed)
        x = x + self._drop(said)
        n = self.norm_2(x).to(precision)
        seen, looked = self.cross_attention(n.flatten(1, 2), *image)  # the K x T words ask together
        x = x + self._drop(seen.unflatten(1, n.shape[1:3]))
        x = x + self._drop(self.feedforward(self.norm_3(x).to(precision)))
        return Read(x, keys, values, words, looked.transpose(1, 2).unflatten(1, n.shape[1:3]))

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training)
