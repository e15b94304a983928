"""The paper's decoder: an LSTM that attends to the annotations word by word (section 3.1.2).

Shape suffixes: B images, K captions or beams of an image, L locations, D feature, A attention,
E embedding, M hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from showattend.exceptions import ConfigError
from showattend.model.attention.contract import Attended, Keys, build_attention
from showattend.model.attention.sentinel import Sentinel
from showattend.model.decoders import decoder_options
from showattend.model.decoders.lstm_description import LSTMDescription
from showattend.model.decoders.protocol import Forced, Step, flat, register, teacher_forcing
from showattend.model.kinds import check_options
from showattend.model.layers import Linear, wide


class Memory(NamedTuple):
    """What the decoder keeps for a batch of images; nothing is repeated K times."""

    features: torch.Tensor  # a [B, L, D]
    keys: Keys  # the attention's


class State(NamedTuple):
    """The recurrent state."""

    h: torch.Tensor  # [B, K, M], in the precision of the products
    c: torch.Tensor  # [B, K, M], at least float32: it accumulates over the whole sentence
    z: torch.Tensor  # [B, K, D], the last context; read only when attending with the current state


class LookingState(NamedTuple):
    """`State`, for an attention that reads its previous weights (`Attention.needs_last`)."""

    h: torch.Tensor
    c: torch.Tensor
    z: torch.Tensor
    last: torch.Tensor  # [B, K, L], alpha_{t-1}, at least float32


@register("lstm")
class LSTMDecoder(LSTMDescription):
    """LSTM with attention, gate beta and deep output layer.

    The equations, with the paper's symbols (equation numbers are the paper's):

    * h_0, c_0 = tanh(W_init mean(a) + b) (section 3.1.2)
    * alpha_t, z_t = attention(h_{t-1}, a) (4, 5, 13)
    * beta_t = sigmoid(f_beta(h_{t-1})), z_t = beta_t z_t (section 4.2.1)
    * h_t, c_t = LSTM(E y_{t-1}, h_{t-1}, z_t) (1 to 3)
    * p(y_t) = softmax(L_o(E y_{t-1} + L_h h_t + L_z z_t)) (7)

    This is the reference implementation. `showattend.model.fast.fused_lstm` computes the same
    faster and is used instead where possible, unless SHOWATTEND_PLAIN is set
    (`showattend.model.build`).

    An attention with a sentinel receives s_t = sigmoid(W_x x_t + W_h h_{t-1}) tanh(c_t) (Lu et
    al. 2017), with x_t = E y_{t-1}. That requires a state that has read the word. The sentinel
    replaces the gate, since both would scale the image down.

    Args:
        vocabulary_size: V, including the four special tokens.
        feature_dim: The encoder's D.
        embedding_dim: E.
        hidden_dim: M.
        attention_dim: A.
        attention: The kind of attention, a name in `showattend.model.attention.ATTENTIONS`; or a
            config's attention section, a kind with its options.
        gate: "scalar" (the paper), "vector" (one gate per feature) or "none".
        attend_with: "previous" attends with h_{t-1}, as in the paper, before the model has read
            word t-1. "current" lets the LSTM read the word first and attends with h_t; the LSTM
            then receives the context z_{t-1} (zero at the start).
        embedding_dropout: Dropout on E y.
        feature_dropout: Dropout on the annotations, with one mask for all captions of an image.
        dropout: Dropout before the output product L_o.
        projection_dim: The width of a trained ReLU layer that the annotations pass first, which
            then replaces D; 0 uses the encoder's annotations unchanged (the paper).

    Raises:
        ConfigError: ``gate``, ``attend_with`` or ``attention`` is invalid, or they cannot be
            combined.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_dim: int,
        embedding_dim: decoder_options.EmbeddingDim = 512,
        hidden_dim: decoder_options.HiddenDim = 512,
        attention_dim: decoder_options.AttentionDim = 512,
        attention: str | Mapping[str, Any] = "additive",
        gate: decoder_options.Gate = "scalar",
        attend_with: decoder_options.AttendWith = "previous",
        embedding_dropout: decoder_options.EmbeddingDropout = 0.0,
        feature_dropout: decoder_options.FeatureDropout = 0.0,
        dropout: decoder_options.Dropout = 0.5,
        projection_dim: decoder_options.ProjectionDim = 0,
    ) -> None:
        super().__init__()
        check_options("decoder", LSTMDecoder, gate=gate, attend_with=attend_with)
        self.feature_dim = feature_dim
        self.projection = Linear(feature_dim, projection_dim) if projection_dim else None
        feature_dim = projection_dim or feature_dim
        self.hidden_dim, self.attention_dim = hidden_dim, attention_dim
        self.gate, self.attend_with = gate, attend_with
        self.embedding_dropout, self.feature_dropout = embedding_dropout, feature_dropout
        self.dropout = dropout

        self.embedding = nn.Embedding(vocabulary_size, embedding_dim)
        self.initial = Linear(feature_dim, 2 * hidden_dim)
        self.attention = build_attention(
            attention,
            feature_dim=feature_dim,
            query_dim=hidden_dim,
            attention_dim=attention_dim,
        )
        self.sentinel = None
        if self.attention.section.get("sentinel"):
            if attend_with != "current" or gate != "none":
                raise ConfigError(
                    "attention.sentinel needs decoder.attend_with current (it is what the LSTM "
                    "knows with the last word read) and decoder.gate none (it is a gate itself)"
                )
            self.sentinel = Sentinel(input_dim=embedding_dim, hidden_dim=hidden_dim)
        self.gate_dim = {"scalar": 1, "vector": feature_dim, "none": 0}[gate]
        self.f_beta = Linear(hidden_dim, self.gate_dim) if self.gate_dim else None
        self.lstm_word = Linear(embedding_dim, 4 * hidden_dim)  # gates in the order i, f, g, o
        self.lstm_hidden = Linear(hidden_dim, 4 * hidden_dim, bias=False)
        self.lstm_context = Linear(feature_dim, 4 * hidden_dim, bias=False)
        self.L_h = Linear(hidden_dim, embedding_dim)
        self.L_z = Linear(feature_dim, embedding_dim, bias=False)
        self.L_o = Linear(embedding_dim, vocabulary_size)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.orthogonal_(self.lstm_hidden.weight)
        with torch.no_grad():  # an open forget gate lets gradients through from the first step
            self.lstm_word.bias.zero_()
            self.lstm_word.bias[self.hidden_dim : 2 * self.hidden_dim] = 1.0
            self.L_o.bias.zero_()

    # Once per image --------------------------------------------------------------------------

    def memory(self, features: torch.Tensor) -> Memory:
        """Project annotations [B, H, W, D] and compute the keys; see `Decoder.memory`."""
        a_BLD, grid = flat(features)
        if self.projection is not None:
            a_BLD = torch.relu(self.projection(a_BLD))
        a_BLD = F.dropout(a_BLD, self.feature_dropout, self.training)
        return Memory(a_BLD, self.attention.keys(a_BLD, grid))

    def start(self, memory: Memory) -> State | LookingState:
        """Compute h_0 and c_0 from the mean annotation."""
        mean_B1D = memory.features.mean(1, keepdim=True)
        h, c = torch.tanh(self.initial(mean_B1D)).chunk(2, -1)
        state = State(h, c.to(wide(c.dtype)), torch.zeros_like(mean_B1D))
        if not self.attention.needs_last:
            return state
        B, L, _ = memory.features.shape
        return LookingState(*state, state.c.new_full((B, 1, L), 1 / L))

    # Words -----------------------------------------------------------------------------------

    def step(self, words_BK: torch.Tensor, state: State | LookingState, memory: Memory) -> Step:
        """Read one word of each caption [B, K]; see `Decoder.step`."""
        Ey = self.embedding(words_BK).to(memory.features)
        Ey = F.dropout(Ey, self.embedding_dropout, self.training)
        last = state.last if isinstance(state, LookingState) else None
        if self.attend_with == "previous":
            z, beta, seen = self._attend(state.h, memory, last)
            h, c = self._lstm(Ey, state.h, state.c, z)
        else:
            h, c = self._lstm(Ey, state.h, state.c, state.z)
            s = None if self.sentinel is None else self.sentinel(Ey, state.h, c)
            z, beta, seen = self._attend(h, memory, last, s)
        deep = F.dropout(Ey + self.L_h(h) + self.L_z(z), self.dropout, self.training)
        logits = self.L_o(deep)
        log_probs = torch.log_softmax(logits.to(wide(logits.dtype)), -1)
        after: State | LookingState = State(h, c, z)
        if last is not None and seen.alpha is not None:
            after = LookingState(h, c, z, seen.alpha)
        return Step(log_probs, after, seen.alpha, beta, seen.parts, seen.sentinel, seen.aside)

    def _attend(
        self,
        h: torch.Tensor,
        memory: Memory,
        last: torch.Tensor | None,
        s: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None, Attended]:
        """Attend; return the gated context z [B, K, D], beta [B, K] and the ungated result.

        A vector gate is reduced to its mean.
        """
        attended = self.attention(h, memory.keys, last, s)
        if self.f_beta is None:
            return attended.context, None, attended
        beta = torch.sigmoid(self.f_beta(h))
        return beta * attended.context, beta.to(wide(beta.dtype)).mean(-1), attended

    def _lstm(
        self, Ey: torch.Tensor, h: torch.Tensor, c: torch.Tensor, z: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute equations 1 to 3, with the cell in at least float32."""
        gates = self.lstm_word(Ey) + self.lstm_hidden(h) + self.lstm_context(z)
        i, f, g, o = gates.to(c.dtype).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return (torch.sigmoid(o) * torch.tanh(c)).to(gates.dtype), c

    def forward(
        self, features: torch.Tensor, captions_BKT: torch.Tensor, lengths_BK: torch.Tensor
    ) -> Forced:
        """Run teacher forcing step by step; see `teacher_forcing`."""
        return teacher_forcing(self, features, captions_BKT, lengths_BK)
