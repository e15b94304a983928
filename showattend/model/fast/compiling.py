"""Compilation of the elementwise operations in the decoder's time step with torch.compile."""

from __future__ import annotations

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
    """Give a decoder compiled functions for the LSTM's cell and the attention's scores.

    The matrix products are not compiled, since they would not become faster. Only steps that record
    gradients use the compiled functions: search and sampling change their shapes with every word,
    and each kind of shape and grad mode is a compilation of its own, of which PyTorch allows eight.
    The functions are tested at once, including gradients, because a missing compiler shows only
    when it is called.

    Args:
        decoder: A decoder, on the device on which it will run.
        dtype: The precision in which it will run.

    Returns:
        None on success. If compilation fails, one line with the reason; the decoder is unchanged.
    """
    if not isinstance(decoder, FusedLSTMDecoder):
        return "train.compile: this decoder has no compiled step; continuing without it"
    compiled_cell = torch.compile(lstm_cell, dynamic=True)
    kernels = Kernels(
        torch.compile(plain_scores, dynamic=True), torch.compile(plain_gradients, dynamic=True)
    )

    def cell(gates: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (compiled_cell if torch.is_grad_enabled() else lstm_cell)(gates, c)

    def score(*inputs: torch.Tensor, **options: Any) -> torch.Tensor:
        chosen = kernels if torch.is_grad_enabled() else None
        return additive_weights(*inputs, **options, kernels=chosen)

    B, K, L, A, M = 4, 3, 9, decoder.attention_dim, decoder.hidden_dim
    device = decoder.output.weight.device

    def new(*shape: int, kind: torch.dtype = dtype) -> torch.Tensor:
        return torch.zeros(*shape, dtype=kind, device=device, requires_grad=True)

    try:
        h, c = cell(new(B, K, 4 * M), new(B, K, M, kind=torch.float32))
        alpha = score(new(B, K, A), new(B, L, A, kind=torch.float32), new(A))
        (h.float().sum() + c.sum() + alpha.sum()).backward()
    except Exception as error:  # from the compiler, its tools, or because they are missing
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = ": ".join([type(error).__name__, *lines[:1]])[:140]
        return f"train.compile: no compiled step here ({reason}); continuing without it"
    decoder.cell, decoder.score = cell, score
    return None
