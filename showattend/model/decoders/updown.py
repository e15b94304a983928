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
    """The states of both LSTMs: LSTM 1 attends, LSTM 2 predicts the words."""

    h1: torch.Tensor  # [B, K, M], in the precision of the products
    c1: torch.Tensor  # [B, K, M], at least float32
    h2: torch.Tensor  # [B, K, M]
    c2: torch.Tensor  # [B, K, M]
    last: torch.Tensor  # the previous weights, [B, K, L]; [B, K, 0] if the attention ignores them


@register("updown")
class UpDownDecoder(Recurrent):
    """One LSTM chooses where to look, another predicts the words (section 3.2).

    * h1_t = LSTM_1([h2_{t-1}; mean(v); W_e y_{t-1}], h1_{t-1}) (equation 2)
    * v^_t = attention(h1_t, v) (equations 3 to 5, for the additive kind)
    * h2_t = LSTM_2([v^_t; h1_t], h2_{t-1}) (equation 6)
    * p(y_t) = softmax(W_p h2_t + b_p) (equation 7)

    All states start at zero. In the paper, v are the features of detected regions; here they are
    the annotations of the grid's cells.

    Arguments and errors are those of `Recurrent`.
    """

    def _build(self) -> int:
        E, M, D = self.embedding.embedding_dim, self.hidden_dim, self.context_dim
        self.lstm_1 = LSTMCell(M + D + E, M)
        self.lstm_2 = LSTMCell(D + M, M)
        return M + D + E

    def start(self, memory: Memory) -> State:
        """Return a state of zeros."""
        h = memory.features.new_zeros(memory.features.shape[0], 1, self.hidden_dim)
        c = h.to(wide(h.dtype))
        return State(h, c, h, c, self.even(memory))

    def say(self, words_BK: torch.Tensor, state: State, memory: Memory) -> Said:
        """Read one word of each caption [B, K]; see `Recurrent.say`."""
        mean_BKD = memory.features.mean(1, keepdim=True).expand(-1, words_BK.shape[1], -1)
        x = torch.cat([state.h2, mean_BKD, self.embed(words_BK, memory)], 2)
        h1, c1 = self.lstm_1(x, state.h1, state.c1)
        seen, last = self.look(x, state.h1, h1, c1, state.last, memory)
        h2, c2 = self.lstm_2(torch.cat([seen.context, h1], 2), state.h2, state.c2)
        return Said(h2, State(h1, c1, h2, c2, last), seen)

    @staticmethod
    def feature_dim_of(weights: Mapping[str, torch.Tensor]) -> int:
        """Return D, the input size of the projection [M, D].

        Without a projection, it is what remains of the input of LSTM_1, [4M, M + D + E], after h2
        and E y.
        """
        if "projection.weight" in weights:
            return weights["projection.weight"].shape[1]
        beside = weights["lstm_1.W_h.weight"].shape[1] + weights["embedding.weight"].shape[1]
        return weights["lstm_1.W_x.weight"].shape[1] - beside
