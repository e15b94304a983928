"""The elementwise work of the decoder's time step, fused by torch.compile."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from showattend.model.fast.exponentials import (
    Kernels,
    additive_weights,
    plain_gradients,
    plain_scores,
)
from showattend.model.fast.fused_lstm import FusedLSTMDecoder, lstm_cell


def compile_step(decoder: Any, dtype: torch.dtype) -> str | None:
    """Put compiled functions for the LSTM's cell and the attention's score into a decoder.

    The products stay as they are: they are as fast as they get. Tried out at once, gradients
    included, since a compiler that is missing shows only when it is called.

    Args:
        decoder: On the device that it will run on.
        dtype: The precision that it will run in.

    Returns:
        None; or, where compiling fails and the decoder stays as it was, why, in one line.
    """
    if not isinstance(decoder, FusedLSTMDecoder):
        return "train.compile: this decoder has no compiled step; going on without"
    cell = torch.compile(lstm_cell, dynamic=True)
    kernels = Kernels(
        torch.compile(plain_scores, dynamic=True), torch.compile(plain_gradients, dynamic=True)
    )
    score = partial(additive_weights, kernels=kernels)
    B, K, L, A, M = 4, 3, 9, decoder.attention_dim, decoder.hidden_dim
    device = decoder.output.weight.device

    def new(*shape: int, kind: torch.dtype = dtype) -> torch.Tensor:
        return torch.zeros(*shape, dtype=kind, device=device, requires_grad=True)

    try:
        h, c = cell(new(B, K, 4 * M), new(B, K, M, kind=torch.float32))
        alpha = score(new(B, K, A), new(B, L, A, kind=torch.float32), new(A))
        (h.float().sum() + c.sum() + alpha.sum()).backward()
    except Exception as error:  # of the compiler, of what it runs, or that it is not there
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = ": ".join([type(error).__name__, *lines[:1]])[:140]
        return f"train.compile: no compiled step here ({reason}); going on without"
    decoder.cell, decoder.score = cell, score
    return None
