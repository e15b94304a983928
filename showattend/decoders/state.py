"""What passes between the decoder and those who drive it.

Shape suffixes: B images, K captions or beams of an image, L locations, D feature, A attention,
E embedding, M hidden, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from showattend.decoders.shared_product import SharedProduct
from showattend.shared_gradient import SharedContext, SharedSum


class Weights(NamedTuple):
    """The weights that words and time steps use, cast once to the precision they run in."""

    h_in: SharedProduct  # [A + gate (+ 4M), M]: W_h, f_beta, zeros (and the LSTM's recurrence)
    recurrence: SharedProduct | None  # [4M, M], where it cannot be in h_in
    z_in: SharedProduct  # [4M, D]: the LSTM's input from the context
    v: torch.Tensor  # [A]
    word: SharedProduct  # [4M, E]: the LSTM's input from the word
    L_h: SharedProduct  # [E, M]
    L_z: SharedProduct  # [E, D]
    L_o: SharedProduct  # [V, E]


class Shared(NamedTuple):
    """Where the gradients of what all time steps read of the images come together."""

    context: SharedContext
    keys: SharedSum


class Memory(NamedTuple):
    """What the decoder keeps of a batch of images; nothing in it is repeated for K."""

    features: torch.Tensor  # [B, L, D]
    keys: torch.Tensor  # [B, L, A]: the `powers` of W_a a, float32 at least
    weights: Weights
    shared: Shared | None = None  # in training


class State(NamedTuple):
    """The recurrent state, with leading axes [B, K]."""

    h: torch.Tensor  # [B, K, M], in the precision of the products
    c: torch.Tensor  # [B, K, M], float32 at least
    z: torch.Tensor  # [B, K, D], the last context; read only when attending with the current state


class Step(NamedTuple):
    """One time step: the new state, and where the model looked."""

    state: State
    alpha: torch.Tensor  # [B, K, L], float32 at least
    beta: torch.Tensor | None  # [B, K]; a vector gate's mean; None without a gate
