"""Layers that compute in the precision of their input.

A model's weights stay in float32 during training. The annotations come in the precision of the
matrix products (float32, bf16, float16; float64 in tests), and the weights are cast to it.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Linear(nn.Linear):
    """x W^T + b in the precision of x."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x [..., in] to [..., out]."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return float32, or float64 for float64: the type of sums that need full precision."""
    return torch.promote_types(dtype, torch.float32)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation in at least float32, whatever the precision of the products."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise x [..., M] over its last axis; the result is `wide`."""
        x = x.to(wide(x.dtype))
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class LSTMCell(nn.Module):
    """One step of an LSTM, with the cell in at least float32.

    i, f, g, o = W_x x + W_h h + b; c = sigmoid(f) c + sigmoid(i) tanh(g); h = sigmoid(o) tanh(c).

    Args:
        input_dim: The size of x.
        hidden_dim: M, the size of h and c.
    """

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.W_x = Linear(input_dim, 4 * hidden_dim)
        self.W_h = Linear(hidden_dim, 4 * hidden_dim, bias=False)
        nn.init.orthogonal_(self.W_h.weight)
        with torch.no_grad():  # an open forget gate lets gradients through from the start
            self.W_x.bias.zero_()
            self.W_x.bias[hidden_dim : 2 * hidden_dim] = 1.0

    def forward(
        self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the next h (in the precision of x) and c [..., M] from x [..., input], h, c."""
        gates = self.W_x(x) + self.W_h(h)
        i, f, g, o = gates.to(c.dtype).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return (torch.sigmoid(o) * torch.tanh(c)).to(gates.dtype), c
