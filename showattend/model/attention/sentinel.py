"""The adaptive sentinel: what a decoder knows without looking (Lu et al. 2017).

"Knowing When to Look: Adaptive Attention via a Visual Sentinel for Image Captioning", section 2.3.
`ScoredAttention` weighs it against the image.
"""

from __future__ import annotations

import torch
from torch import nn

from showattend.model.layers import Linear


class Sentinel(nn.Module):
    """s_t = sigmoid(W_x x_t + W_h h_{t-1}) * tanh(c_t) (equations 9 and 10).

    For decoders whose attention has a sentinel: an LSTM's cell c_t, as far as a gate lets it out.

    Args:
        input_dim: The size of x_t, what the LSTM reads beside its state.
        hidden_dim: M.
    """

    def __init__(self, *, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.W_x = Linear(input_dim, hidden_dim)
        self.W_h = Linear(hidden_dim, hidden_dim, bias=False)

    def forward(self, x: torch.Tensor, h_before: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """The s [B, K, M] of x [B, K, input], h_{t-1} and c_t [B, K, M]."""
        gate = torch.sigmoid(self.W_x(x) + self.W_h(h_before))
        return gate * torch.tanh(c).to(gate)
