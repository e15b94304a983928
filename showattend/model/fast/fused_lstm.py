"""A faster version of the paper's decoder, with fewer, larger products and less memory.

It differs from the reference, `LSTMDecoder`, in four ways:

* the products with a state are one product with stacked weights (`FusedLSTMDecoder._weights`);
* attention computes with exponentials (`exponentials`);
* gradients of tensors that all time steps share are computed once (`shared_gradient`,
  `shared_product`);
* teacher forcing skips captions that have ended, and computes everything outside the recurrence in
  one product (`packed_forcing`).

tests/model/fast compares values and gradients with the reference.

Shape suffixes: B images, K captions or beams of an image, L locations, D feature, A attention,
E embedding, M hidden, V vocabulary, N real tokens of a batch, T time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from showattend.model.attention.additive import AdditiveAttention
from showattend.model.decoders.lstm import LSTMDecoder, State
from showattend.model.decoders.protocol import Forced, Step, flat
from showattend.model.fast.exponentials import additive_weights, powers
from showattend.model.fast.packed_forcing import packed_forcing
from showattend.model.fast.prepared import FastMemory, Weights
from showattend.model.fast.quick_dropout import dropout
from showattend.model.fast.shared_product import SharedProduct
from showattend.model.layers import wide


class FusedLSTMDecoder(LSTMDecoder):
    """`LSTMDecoder` with additive attention: the same parameters and results, but faster.

    Args:
        **sizes: See `LSTMDecoder`; ``attention`` must be additive.

    Raises:
        ConfigError: See `LSTMDecoder`.
    """

    attention: AdditiveAttention

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        # Products take up to twice as long if the number of rows is not a multiple of 32.
        self.padding = -(self.attention_dim + self.gate_dim) % 32 if self.gate_dim else 0
        # The elementwise operations of a step; `compile_step` may replace them.
        self.cell, self.score = lstm_cell, additive_weights

    # Once per image --------------------------------------------------------------------------

    def memory(self, features: torch.Tensor) -> FastMemory:  # type: ignore[override]
        """Compute everything that depends only on the images; see `Decoder.memory`.

        Args:
            features: Annotations [B, L, D] or [B, H, W, D]. Their dtype is the precision of the
                decoder; the weights are cast to it here, once.
        """
        features, grid = flat(features)
        if self.projection is not None:
            features = torch.relu(self.projection(features))
        if self.training:
            features = dropout(features, self.feature_dropout)
        _, keys = self.attention.keys(features, grid)
        return FastMemory(features, powers(keys), self._weights(features.dtype))

    def _weights(self, dtype: torch.dtype) -> Weights:
        rows = [self.attention.W_h.weight]
        bias = [torch.zeros_like(self.attention.W_h.weight[:, 0])]
        if self.f_beta is not None:
            rows.append(self.f_beta.weight)
            bias.append(self.f_beta.bias)
            rows.append(self.f_beta.weight.new_zeros(self.padding, self.hidden_dim))
            bias.append(self.f_beta.bias.new_zeros(self.padding))
        recurrence = None
        if self.attend_with == "previous":
            rows.append(self.lstm_hidden.weight)
            bias.append(torch.zeros_like(self.lstm_hidden.weight[:, 0]))
        else:  # the recurrence comes before the state that attends
            recurrence = _product(self.lstm_hidden.weight, None, dtype)
        return Weights(
            _product(torch.cat(rows), torch.cat(bias), dtype),
            recurrence,
            _product(self.lstm_context.weight, None, dtype),
            self.attention.v.to(dtype),
            _product(self.lstm_word.weight, self.lstm_word.bias, dtype),
            _product(self.L_h.weight, self.L_h.bias, dtype),
            _product(self.L_z.weight, None, dtype),
            _product(self.L_o.weight, self.L_o.bias, dtype),
        )

    def start(self, memory: FastMemory) -> State:  # type: ignore[override]
        """Compute h_0 and c_0 [B, 1, M] from the mean annotation."""
        mean_BD = memory.features.mean(1)
        both = torch.tanh(self.initial(mean_BD)).unsqueeze(1)
        h, c = both.chunk(2, dim=-1)
        return State(h, c.to(wide(c.dtype)), torch.zeros_like(mean_BD).unsqueeze(1))

    # Words -----------------------------------------------------------------------------------

    def embed(self, words: torch.Tensor, memory: FastMemory) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute E y [..., E] and the LSTM's input from it [..., 4M], for words [...].

        In training, words are known before the time loop, so this is one product for all of them.
        """
        embedded = F.embedding(words, self.embedding.weight)
        embedded = embedded.to(memory.features.dtype)
        if self.training:
            embedded = dropout(embedded, self.embedding_dropout)
        return embedded, memory.weights.word(embedded)

    def logits(
        self, embedded: torch.Tensor, h: torch.Tensor, z: torch.Tensor, memory: FastMemory
    ) -> torch.Tensor:
        """Compute the deep output layer (equation 7): [..., E], [..., M], [..., D] to [..., V]."""
        output = embedded + memory.weights.L_h(h) + memory.weights.L_z(z)
        if self.training:
            output = dropout(output, self.dropout)
        return memory.weights.L_o(output)

    # Time ------------------------------------------------------------------------------------

    def recur(
        self, word_BK4M: torch.Tensor, state: State, memory: FastMemory
    ) -> tuple[State, torch.Tensor, torch.Tensor | None]:
        """Compute one step of attention and recurrence, in training, search and export alike.

        Args:
            word_BK4M: The LSTM's input from word t-1, computed by `embed`.
            state: The state after step t-1.
            memory: The images.

        Returns:
            The new state, alpha [B, K, L] and beta [B, K]. beta is the mean of a vector gate, and
            None without a gate.
        """
        weights, A = memory.weights, self.attention_dim
        if weights.recurrence is None:
            from_h = weights.h_in(state.h)
            sizes = (A, self.gate_dim, self.padding, 4 * self.hidden_dim)
            query, gate, _, recurrence = from_h.split(sizes, -1)
            z, alpha, beta = self._attend_fast(query, gate, memory)
            gates = word_BK4M + recurrence + weights.z_in(z)
            h, c = self.cell(gates, state.c)
        else:
            gates = word_BK4M + weights.recurrence(state.h) + weights.z_in(state.z)
            h, c = self.cell(gates, state.c)
            query, gate, _ = weights.h_in(h).split((A, self.gate_dim, self.padding), -1)
            z, alpha, beta = self._attend_fast(query, gate, memory)
        return State(h, c, z), alpha, beta

    def _attend_fast(
        self, query_BKA: torch.Tensor, gate_BKG: torch.Tensor, memory: FastMemory
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        v_A, shared, precision = memory.weights.v, memory.shared, memory.features.dtype
        if shared is None:
            alpha_BKL = self.score(query_BKA, memory.keys, v_A)
            z_BKD = torch.bmm(alpha_BKL.to(precision), memory.features)
        else:
            alpha_BKL = self.score(query_BKA, memory.keys, v_A, shared=shared.keys)
            z_BKD = shared.context(alpha_BKL.to(precision))
        if self.gate == "none":
            return z_BKD, alpha_BKL, None
        beta_BKG = torch.sigmoid(gate_BKG)
        return beta_BKG * z_BKD, alpha_BKL, beta_BKG.to(alpha_BKL.dtype).mean(-1)

    def step(self, words_BK: torch.Tensor, state: State, memory: FastMemory) -> Step:  # type: ignore[override]
        """Read one word of each caption [B, K]; see `Decoder.step`."""
        embedded, word_BK4M = self.embed(words_BK, memory)
        state, alpha, beta = self.recur(word_BK4M, state, memory)
        logits = self.logits(embedded, state.h, state.z, memory)
        log_probs = torch.log_softmax(logits.to(wide(logits.dtype)), -1)
        return Step(log_probs, state, alpha, beta)

    def forward(
        self, features: torch.Tensor, captions_BKT: torch.Tensor, lengths_BK: torch.Tensor
    ) -> Forced:
        """Run teacher forcing; see `packed_forcing`."""
        return packed_forcing(self, features, captions_BKT, lengths_BK)


def _product(weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> SharedProduct:
    return SharedProduct(weight.to(dtype), None if bias is None else bias.to(dtype))


def lstm_cell(gates: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute h and c [..., M] from gates [..., 4M] (i, f, g, o) and the previous c [..., M].

    c stays in float32, since it accumulates over the whole sentence.
    """
    i, f, g, o = gates.to(c.dtype).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return (torch.sigmoid(o) * torch.tanh(c)).to(gates.dtype), c
