"""The adaptive sentinel: what a decoder knows without looking (Lu et al. 2017).

"Knowing When to Look: Adaptive Attention via a Visual Sentinel for Image Captioning", section 2.3.
`ScoredAttention` weights it against the image.
"""

from __future__ import annotations

import torch
from torch import nn

from showattend.model.layers import Linear


class Sentinel(nn.Module):
    """s_t = sigmoid(W_x x_t + W_h h_{t-1}) * tanh(c_t) (equations 9 and 10).

    The sentinel is an LSTM's cell c_t behind a gate. Decoders whose attention has a sentinel
    compute it.

    Args:
        input_dim: The size of x_t, the LSTM's input.
        hidden_dim: M.
    """

    def __init__(self, *, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.W_x = Linear(input_dim, hidden_dim)
        self.W_h = Linear(hidden_dim, hidden_dim, bias=False)

    def forward(self, x: torch.Tensor, h_before: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        """Compute s_t [B, K, M] from x_t [B, K, input], h_{t-1} and c_t [B, K, M]."""
        gate = torch.sigmoid(self.W_x(x) + self.W_h(h_before))
        return gate * torch.tanh(c).to(gate)
