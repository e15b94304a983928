"""The decoder of Anderson et al. 2018 ("Bottom-Up and Top-Down Attention").

Shape suffixes: B images, K captions or beams of an image, L locations, D feature, A attention,
E embedding, M hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

from showattend.model.decoders.protocol import register
from showattend.model.decoders.recurrent import Memory, Recurrent, Said
from showattend.model.layers import LSTMCell, wide


class State(NamedTuple):
    """The states of both LSTMs: 1 looks, 2 speaks."""

    h1: torch.Tensor  # [B, K, M], in the precision of the products
    c1: torch.Tensor  # [B, K, M], float32 at least
    h2: torch.Tensor
    c2: torch.Tensor
    last: torch.Tensor  # the weights of the step before, [B, K, L]; nothing where none needs them


@register("updown")
class UpDownDecoder(Recurrent):
    """One LSTM chooses where to look, another speaks (section 3.2).

    * h1_t = LSTM_1([h2_{t-1}; mean(v); W_e y_{t-1}], h1_{t-1}) (equation 2)
    * v^_t = attention(h1_t, v) (equations 3 to 5, for the additive kind)
    * h2_t = LSTM_2([v^_t; h1_t], h2_{t-1}) (equation 6)
    * p(y_t) = softmax(W_p h2_t + b_p) (equation 7)

    All states begin with zeros. The paper's v are the features of detected regions; here they are
    the cells of the grid.

    Args:
        sizes: Those of `Recurrent`.
    """

    def _build(self) -> int:
        E, M, D = self.embedding.embedding_dim, self.hidden_dim, self.context_dim
        self.lstm_1 = LSTMCell(M + D + E, M)
        self.lstm_2 = LSTMCell(D + M, M)
        return M + D + E

    def start(self, memory: Memory) -> State:
        """Zeros."""
        h = memory.features.new_zeros(memory.features.shape[0], 1, self.hidden_dim)
        c = h.to(wide(h.dtype))
        return State(h, c, h, c, self.even(memory))

    def say(self, words_BK: torch.Tensor, state: State, memory: Memory) -> Said:
        """One word; see `Recurrent.say`."""
        mean_BKD = memory.features.mean(1, keepdim=True).expand(-1, words_BK.shape[1], -1)
        x = torch.cat([state.h2, mean_BKD, self.embed(words_BK, memory)], 2)
        h1, c1 = self.lstm_1(x, state.h1, state.c1)
        seen, last = self.look(x, state.h1, h1, c1, state.last, memory)
        h2, c2 = self.lstm_2(torch.cat([seen.context, h1], 2), state.h2, state.c2)
        return Said(h2, State(h1, c1, h2, c2, last), seen)

    @staticmethod
    def feature_dim_of(weights: Mapping[str, torch.Tensor]) -> int:
        """The input of the projection, or without one what LSTM_1 reads beside h2 and E y."""
        if "projection.weight" in weights:
            return weights["projection.weight"].shape[1]
        beside = weights["lstm_1.W_h.weight"].shape[1] + weights["embedding.weight"].shape[1]
        return weights["lstm_1.W_x.weight"].shape[1] - beside
