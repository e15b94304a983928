"""The paper's decoder: an LSTM that attends to the annotations word by word (section 3.1.2).

What depends on the image alone (the keys W_a a_i, the initial state) is computed once an image
and kept in a `Memory`. The captions of one image, or the beams of one search, are the K axis of
every state tensor and share that memory through the B axis.

Shape suffixes: B images, K captions or beams of an image, L locations, D feature, A attention,
E embedding, M hidden, V vocabulary, N real tokens of a batch, T time.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from showattend.attention import AdditiveAttention, additive_weights, powers
from showattend.decoders.dropout import dropout
from showattend.decoders.forcing import Forced, teacher_forcing
from showattend.decoders.shared_product import SharedProduct
from showattend.decoders.state import Memory, State, Step, Weights
from showattend.errors import ConfigError

ATTEND_WITH = ("previous", "current")
GATES = ("scalar", "vector", "none")


class LSTMDecoder(nn.Module):
    """LSTM with soft attention, gate beta and deep output layer.

    The equations, with the paper's symbols (equation numbers are the paper's):

    * h_0, c_0 = tanh(W_init mean(a) + b) (section 3.1.2)
    * e_ti = v . tanh(W_a a_i + W_h h_{t-1}), alpha_t = softmax(e_t) (4, 5)
    * z_t = beta_t sum_i alpha_ti a_i, beta_t = sigmoid(f_beta(h_{t-1})) (13; section 4.2.1)
    * h_t, c_t = LSTM(E y_{t-1}, h_{t-1}, z_t) (1 to 3)
    * p(y_t) = softmax(L_o(E y_{t-1} + L_h h_t + L_z z_t)) (7)

    Args:
        vocabulary_size: V, the four special tokens included.
        feature_dim: D, the encoder's.
        embedding_dim: E.
        hidden_dim: M.
        attention_dim: A.
        gate: "scalar" (the paper), "vector" (one gate a feature) or "none".
        attend_with: "previous", the paper's h_{t-1}, chooses where to look before the model has
            read word t-1. "current" lets the LSTM read the word first and attends with h_t; its
            LSTM is then fed the context z_{t-1} (zero at the start).
        embedding_dropout: Dropout on E y.
        feature_dropout: Dropout on the annotations, one mask for all the captions of an image.
        dropout: Dropout before the output product L_o.
        projection_dim: Annotations pass through a trained ReLU layer of this width first, and D
            is this from there on; 0 takes them as the encoder gives them (the paper).

    Raises:
        ConfigError: gate or attend_with is not one of the above.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_dim: int,
        embedding_dim: int = 512,
        hidden_dim: int = 512,
        attention_dim: int = 512,
        gate: str = "scalar",
        attend_with: str = "previous",
        embedding_dropout: float = 0.0,
        feature_dropout: float = 0.0,
        dropout: float = 0.5,
        projection_dim: int = 0,
    ) -> None:
        super().__init__()
        if gate not in GATES:
            raise ConfigError(f"decoder.gate is {gate!r}; it must be one of {', '.join(GATES)}")
        if attend_with not in ATTEND_WITH:
            raise ConfigError(
                f"decoder.attend_with is {attend_with!r}; it must be one of "
                + ", ".join(ATTEND_WITH)
            )
        self.projection = nn.Linear(feature_dim, projection_dim) if projection_dim else None
        feature_dim = projection_dim or feature_dim
        self.hidden_dim, self.attention_dim = hidden_dim, attention_dim
        self.gate, self.attend_with = gate, attend_with
        self.embedding_dropout, self.feature_dropout = embedding_dropout, feature_dropout
        self.dropout = dropout
        # What a step does element by element; a training run may put compiled ones in their place.
        self.cell, self.score = lstm_cell, additive_weights

        self.embedding = nn.Embedding(vocabulary_size, embedding_dim)
        self.initial = nn.Linear(feature_dim, 2 * hidden_dim)
        self.attention = AdditiveAttention(
            feature_dim=feature_dim, query_dim=hidden_dim, attention_dim=attention_dim
        )
        self.gate_dim = {"scalar": 1, "vector": feature_dim, "none": 0}[gate]
        self.f_beta = nn.Linear(hidden_dim, self.gate_dim) if self.gate_dim else None
        # Of a number of rows that is no multiple of 32, a product takes up to twice as long.
        self.padding = -(attention_dim + self.gate_dim) % 32 if self.gate_dim else 0
        self.lstm_word = nn.Linear(embedding_dim, 4 * hidden_dim)  # gates in the order i, f, g, o
        self.lstm_hidden = nn.Linear(hidden_dim, 4 * hidden_dim, bias=False)
        self.lstm_context = nn.Linear(feature_dim, 4 * hidden_dim, bias=False)
        self.L_h = nn.Linear(hidden_dim, embedding_dim)
        self.L_z = nn.Linear(feature_dim, embedding_dim, bias=False)
        self.L_o = nn.Linear(embedding_dim, vocabulary_size)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.orthogonal_(self.lstm_hidden.weight)
        with torch.no_grad():  # an open forget gate lets gradients through from the first step
            self.lstm_word.bias.zero_()
            self.lstm_word.bias[self.hidden_dim : 2 * self.hidden_dim] = 1.0
            self.L_o.bias.zero_()

    @torch.no_grad()
    def sharpen(self, temperature: float) -> None:
        """Divide the scores of words by a temperature, for good: softmax(x / temperature)."""
        self.L_o.weight.div_(temperature)
        self.L_o.bias.div_(temperature)

    @torch.no_grad()
    def favour_rare_words(self, counts_V: torch.Tensor, tau: float) -> None:
        """Subtract tau times the log frequency of each word from its score, for good.

        Logit adjustment (Menon et al. 2021, "Long-tail learning via logit adjustment"): search
        looks for the single most probable caption, and so says common words more often still
        than people do.

        Args:
            counts_V: How often each word was a target in training; words never seen count as
                seen once.
            tau: How much.
        """
        counts = counts_V.clamp(min=1).to(self.L_o.bias)
        self.L_o.bias.sub_(tau * (counts / counts.sum()).log())

    # Once an image ---------------------------------------------------------------------------

    def memory(self, features: torch.Tensor) -> Memory:
        """Everything that depends on the images alone.

        Args:
            features: Annotations [B, L, D] (or [B, H, W, D]). Their dtype is the precision that
                the decoder runs in; weights are cast to it here, once.
        """
        if features.ndim == 4:
            features = features.flatten(1, 2)
        if self.projection is not None:
            features = torch.relu(_linear(self.projection, features))
        if self.training:
            features = dropout(features, self.feature_dropout)
        keys = powers(self.attention.keys(features))
        return Memory(features, keys, self._weights(features.dtype))

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
        else:  # the recurrence runs before the state that asks exists
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

    def select(self, memory: Memory, images: torch.Tensor) -> Memory:
        """The memory of these images alone, in this order."""
        return memory._replace(features=memory.features[images], keys=memory.keys[images])

    def initial_state(self, memory: Memory) -> State:
        """h_0 and c_0 from the mean annotation, as the only hypothesis of each image (K = 1)."""
        mean_BD = memory.features.mean(1)
        both = torch.tanh(_linear(self.initial, mean_BD)).unsqueeze(1)
        h, c = both.chunk(2, dim=-1)
        return State(h, c.to(_wide(c.dtype)), torch.zeros_like(mean_BD).unsqueeze(1))

    # Words -----------------------------------------------------------------------------------

    def embed(self, words: torch.Tensor, memory: Memory) -> tuple[torch.Tensor, torch.Tensor]:
        """E y and the LSTM's input from it, for words [...]: [..., E] and [..., 4M].

        Words are known before the time loop in training, so this is one product for all of them.
        """
        embedded = F.embedding(words, self.embedding.weight)
        embedded = embedded.to(memory.features.dtype)
        if self.training:
            embedded = dropout(embedded, self.embedding_dropout)
        return embedded, memory.weights.word(embedded)

    def logits(
        self, embedded: torch.Tensor, h: torch.Tensor, z: torch.Tensor, memory: Memory
    ) -> torch.Tensor:
        """The deep output layer (equation 7): [..., E], [..., M], [..., D] to [..., V]."""
        output = embedded + memory.weights.L_h(h) + memory.weights.L_z(z)
        if self.training:
            output = dropout(output, self.dropout)
        return memory.weights.L_o(output)

    # Time ------------------------------------------------------------------------------------

    def step(self, word_BK4M: torch.Tensor, state: State, memory: Memory) -> Step:
        """One step of attention and recurrence: training, search and export all call this.

        Args:
            word_BK4M: The projection of word t-1, from `embed`, [B, K, 4M].
            state: The state after step t-1.
            memory: The images, at least B of them in the same order.
        """
        weights, A = memory.weights, self.attention_dim
        if weights.recurrence is None:
            from_h = weights.h_in(state.h)
            sizes = (A, self.gate_dim, self.padding, 4 * self.hidden_dim)
            query, gate, _, recurrence = from_h.split(sizes, -1)
            z, alpha, beta = self._attend(query, gate, memory)
            gates = word_BK4M + recurrence + weights.z_in(z)
            h, c = self.cell(gates, state.c)
        else:
            gates = word_BK4M + weights.recurrence(state.h) + weights.z_in(state.z)
            h, c = self.cell(gates, state.c)
            query, gate, _ = weights.h_in(h).split((A, self.gate_dim, self.padding), -1)
            z, alpha, beta = self._attend(query, gate, memory)
        return Step(State(h, c, z), alpha, beta)

    def _attend(
        self, query_BKA: torch.Tensor, gate_BKG: torch.Tensor, memory: Memory
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

    def advance(
        self, words: torch.Tensor, state: State, memory: Memory
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, State]:
        """The protocol of search: read words [B, K], return what comes next.

        Returns:
            log-probabilities [B, K, V] (float32 at least), alpha [B, K, L], beta [B, K] (None
            without a gate), state.
        """
        embedded, word_BK4M = self.embed(words, memory)
        step = self.step(word_BK4M, state, memory)
        logits = self.logits(embedded, step.state.h, step.state.z, memory)
        log_probs = torch.log_softmax(logits.to(_wide(logits.dtype)), -1)
        return log_probs, step.alpha, step.beta, step.state

    def forward(
        self, features: torch.Tensor, captions_BKT: torch.Tensor, lengths_BK: torch.Tensor
    ) -> Forced:
        """`teacher_forcing`: the logits of all words, and what the maps add up to."""
        return teacher_forcing(self, features, captions_BKT, lengths_BK)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """float32, or float64 where the work is done in it."""
    return torch.promote_types(dtype, torch.float32)


def _linear(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """The layer in the precision of x."""
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return F.linear(x, layer.weight.to(x.dtype), bias)


def _product(weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> SharedProduct:
    return SharedProduct(weight.to(dtype), None if bias is None else bias.to(dtype))


def lstm_cell(gates: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The LSTM's elementwise part: gates [..., 4M] (i, f, g, o) and c to h and c.

    The cell is kept in float32: it adds up over the whole sentence.
    """
    i, f, g, o = gates.to(c.dtype).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return (torch.sigmoid(o) * torch.tanh(c)).to(gates.dtype), c
