"""The decoder of Luong et al. 2015 ("Effective Approaches to Attention-based Neural MT").

Shape suffixes: B images, K captions or beams of an image, L locations, D feature, A attention,
E embedding, M hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

from showattend.model.decoders.protocol import register
from showattend.model.decoders.recurrent import Memory, Recurrent, Said
from showattend.model.layers import Linear, LSTMCell, wide


class State(NamedTuple):
    """The recurrent state."""

    h: torch.Tensor  # [B, K, M], in the precision of the products
    c: torch.Tensor  # [B, K, M], at least float32
    fed: torch.Tensor  # h~ of the previous step, [B, K, M]
    last: torch.Tensor  # the previous weights, [B, K, L]; [B, K, 0] if the attention ignores them


@register("luong")
class LuongDecoder(Recurrent):
    """Attention after the recurrent step, and input feeding.

    * h_0, c_0 = tanh(W_init mean(a) + b), h~_0 = 0; the paper starts from the encoder's last state,
      which an image does not have
    * h_t, c_t = LSTM([E y_{t-1}; h~_{t-1}]) (input feeding, section 3.3)
    * c_t = attention(h_t, a) (section 3.1)
    * h~_t = tanh(W_c [c_t; h_t]) (equation 5)
    * p(y_t) = softmax(W_s h~_t) (equation 6)

    Arguments and errors are those of `Recurrent`.
    """

    def _build(self) -> int:
        E, M, D = self.embedding.embedding_dim, self.hidden_dim, self.context_dim
        self.initial = Linear(D, 2 * M)
        self.lstm = LSTMCell(E + M, M)
        self.W_c = Linear(D + M, M, bias=False)
        return E + M

    def start(self, memory: Memory) -> State:
        """Compute h_0 and c_0 from the mean annotation."""
        mean_B1D = memory.features.mean(1, keepdim=True)
        h, c = torch.tanh(self.initial(mean_B1D)).chunk(2, -1)
        return State(h, c.to(wide(c.dtype)), torch.zeros_like(h), self.even(memory))

    def say(self, words_BK: torch.Tensor, state: State, memory: Memory) -> Said:
        """Read one word of each caption [B, K]; see `Recurrent.say`."""
        x = torch.cat([self.embed(words_BK, memory), state.fed], 2)
        h, c = self.lstm(x, state.h, state.c)
        seen, last = self.look(x, state.h, h, c, state.last, memory)
        fed = torch.tanh(self.W_c(torch.cat([seen.context, h], 2)))
        return Said(fed, State(h, c, fed, last), seen)

    @staticmethod
    def feature_dim_of(weights: Mapping[str, torch.Tensor]) -> int:
        """Return D, the input size of the projection [M, D], or without one of W_init [2M, D]."""
        return weights.get("projection.weight", weights["initial.weight"]).shape[1]
