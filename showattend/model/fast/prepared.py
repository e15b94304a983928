"""What the fast decoder keeps for a batch, in addition to the annotations.

Shape suffixes: B images, L locations, D feature, A attention, E embedding, M hidden, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from showattend.model.fast.shared_gradient import SharedContext, SharedSum
from showattend.model.fast.shared_product import SharedProduct


@dataclass(frozen=True)
class Weights:
    """The weights that words and time steps use, cast once to the precision of the products."""

    h_in: SharedProduct  # [A + gate (+ 4M), M]: W_h, f_beta, padding (and the LSTM's recurrence)
    recurrence: SharedProduct | None  # [4M, M], if it cannot be part of h_in
    z_in: SharedProduct  # [4M, D]: the LSTM's input from the context
    v: torch.Tensor  # [A]
    word: SharedProduct  # [4M, E]: the LSTM's input from the word
    L_h: SharedProduct  # [E, M]
    L_z: SharedProduct  # [E, D]
    L_o: SharedProduct  # [V, E]


@dataclass(frozen=True)
class Shared:
    """The tensors that all time steps share, with their gradients."""

    context: SharedContext
    keys: SharedSum


class FastMemory(NamedTuple):
    """The plain decoder's memory, but with exponentials as keys, and the prepared weights."""

    features: torch.Tensor  # [B, L, D]
    keys: torch.Tensor  # [B, L, A]: the `powers` of W_a a, float32 at least
    weights: Weights
    shared: Shared | None = None  # only in training
