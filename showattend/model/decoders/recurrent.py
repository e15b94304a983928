"""The base class of decoders with LSTMs and one attention, except the paper's own (`lstm`).

Shape suffixes: B images, K captions or beams of an image, L locations, D feature, A attention,
E embedding, M hidden, V vocabulary, N real tokens of a batch, T time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from showattend.model.attention.contract import Attended, Keys, build_attention, sizes_of
from showattend.model.attention.sentinel import Sentinel
from showattend.model.decoders import decoder_options
from showattend.model.decoders.lstm_description import widen_projection
from showattend.model.decoders.protocol import Forced, State, Step, flat, teacher_forcing
from showattend.model.layers import Linear, wide


class Memory(NamedTuple):
    """What the decoder keeps for a batch of images; nothing is repeated K times."""

    features: torch.Tensor  # a [B, L, D]
    keys: Keys  # the attention's


class Said(NamedTuple):
    """The result of a step, before the words are scored."""

    hidden: torch.Tensor  # the output layer's input, [B, K, M]
    state: State
    seen: Attended


class Recurrent(nn.Module):
    """Embedding, annotations, attention and output layer around a recurrence.

    Subclasses add their LSTM cells in `_build`, `start` and `say`.

    Args:
        vocabulary_size: V, including the four special tokens.
        feature_dim: The encoder's D.
        embedding_dim: E.
        hidden_dim: M.
        attention_dim: A.
        attention: The kind of attention, a name in `showattend.model.attention.ATTENTIONS`; or a
            config's attention section, a kind with its options.
        embedding_dropout: Dropout on E y.
        feature_dropout: Dropout on the annotations, with one mask for all captions of an image.
        dropout: Dropout before the output product.
        projection_dim: The width of a trained ReLU layer that the annotations pass first, which
            then replaces D; 0 uses the encoder's annotations unchanged.

    Raises:
        ConfigError: ``attention`` is invalid.
    """

    summary: ClassVar[str] = "{kind} {hidden_dim}, {attention}"

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_dim: int,
        embedding_dim: decoder_options.EmbeddingDim = 512,
        hidden_dim: decoder_options.HiddenDim = 512,
        attention_dim: decoder_options.AttentionDim = 512,
        attention: str | Mapping[str, Any] = "additive",
        embedding_dropout: decoder_options.EmbeddingDropout = 0.0,
        feature_dropout: decoder_options.FeatureDropout = 0.0,
        dropout: decoder_options.Dropout = 0.5,
        projection_dim: decoder_options.ProjectionDim = 0,
    ) -> None:
        super().__init__()
        self.feature_dim, self.hidden_dim = feature_dim, hidden_dim
        self.attention_dim, self.projection_dim = attention_dim, projection_dim
        self.embedding_dropout, self.feature_dropout = embedding_dropout, feature_dropout
        self.dropout = dropout
        self.projection = Linear(feature_dim, projection_dim) if projection_dim else None
        self.context_dim = projection_dim or feature_dim  # D of what is attended to
        self.embedding = nn.Embedding(vocabulary_size, embedding_dim)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.attention = build_attention(
            attention,
            feature_dim=self.context_dim,
            query_dim=hidden_dim,
            attention_dim=attention_dim,
        )
        reads, self.sentinel = self._build(), None
        if self.attention.section.get("sentinel"):
            self.sentinel = Sentinel(input_dim=reads, hidden_dim=hidden_dim)
        self.output = Linear(hidden_dim, vocabulary_size)
        nn.init.zeros_(self.output.bias)

    def _build(self) -> int:
        """Build the subclass's layers; return the input size of the LSTM that attends."""
        raise NotImplementedError

    def start(self, memory: Memory) -> State:
        """Return the state before the first word; see `Decoder.start`."""
        raise NotImplementedError

    def say(self, words_BK: torch.Tensor, state: Any, memory: Memory) -> Said:
        """Read a word of each caption [B, K], attend, and return the output layer's input."""
        raise NotImplementedError

    @staticmethod
    def feature_dim_of(weights: Mapping[str, torch.Tensor]) -> int:
        """Return D of the annotations [..., D]; see `Decoder.feature_dim_of`."""
        raise NotImplementedError

    def memory(self, features: torch.Tensor) -> Memory:
        """Project annotations [B, H, W, D] and compute the keys; see `Decoder.memory`."""
        a_BLD, grid = flat(features)
        if self.projection is not None:
            a_BLD = torch.relu(self.projection(a_BLD))
        a_BLD = F.dropout(a_BLD, self.feature_dropout, self.training)
        return Memory(a_BLD, self.attention.keys(a_BLD, grid))

    def embed(self, words_BK: torch.Tensor, memory: Memory) -> torch.Tensor:
        """Look up the word embeddings E y, [B, K, E]."""
        Ey = self.embedding(words_BK).to(memory.features)
        return F.dropout(Ey, self.embedding_dropout, self.training)

    def step(self, words_BK: torch.Tensor, state: State, memory: Memory) -> Step:
        """Read one word of each caption [B, K]; see `Decoder.step`."""
        said = self.say(words_BK, state, memory)
        logits = self.output(F.dropout(said.hidden, self.dropout, self.training))
        log_probs = torch.log_softmax(logits.to(wide(logits.dtype)), -1)
        seen = said.seen
        return Step(log_probs, said.state, seen.alpha, None, seen.parts, seen.sentinel, seen.aside)

    def forward(
        self, features: torch.Tensor, captions_BKT: torch.Tensor, lengths_BK: torch.Tensor
    ) -> Forced:
        """Run teacher forcing step by step; see `teacher_forcing`."""
        return teacher_forcing(self, features, captions_BKT, lengths_BK)

    # Attention -------------------------------------------------------------------------------

    def look(
        self,
        x: torch.Tensor,
        before: torch.Tensor,
        h: torch.Tensor,
        c: torch.Tensor,
        last: torch.Tensor,
        memory: Memory,
    ) -> tuple[Attended, torch.Tensor]:
        """Attend with h_t.

        Args:
            x: The input of the LSTM that attends, [B, K, input]; used for a sentinel.
            before: Its h_{t-1}, [B, K, M]; used for a sentinel.
            h: Its h_t, [B, K, M].
            c: Its c_t, [B, K, M]; used for a sentinel.
            last: The weights of the previous step, [B, K, L].
            memory: The images.

        Returns:
            The attention's result, and the weights [B, K, L] for the next step.
        """
        s = None if self.sentinel is None else self.sentinel(x, before, c)
        needs_last = self.attention.needs_last
        seen = self.attention(h, memory.keys, last if needs_last else None, s)
        return seen, seen.alpha if needs_last and seen.alpha is not None else last

    def even(self, memory: Memory) -> torch.Tensor:
        """Return uniform weights for the first step, [B, 1, L]; [B, 1, 0] if not needed."""
        B, L, _ = memory.features.shape
        L = L if self.attention.needs_last else 0
        dtype, device = wide(memory.features.dtype), memory.features.device
        return torch.full((B, 1, L), 1 / max(L, 1), dtype=dtype, device=device)

    # Description -----------------------------------------------------------------------------

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names of the attention's maps."""
        return self.attention.part_names

    @property
    def options(self) -> Mapping[str, Any]:
        """See `Decoder.options`."""
        names = ("hidden_dim", "attention_dim", "projection_dim")
        dropouts = ("embedding_dropout", "feature_dropout", "dropout")
        return {
            "attention": self.attention.section,
            "embedding_dim": self.embedding.embedding_dim,
            **{name: getattr(self, name) for name in (*names, *dropouts)},
        }

    @property
    def sizes(self) -> Mapping[str, Any]:
        """See `Decoder.sizes`."""
        names = ("embedding_dim", "hidden_dim", "attention_dim", "projection_dim")
        return {
            **sizes_of(self.attention),
            **{f"decoder.{name}": self.options[name] for name in names},
        }

    @staticmethod
    def with_more_features(
        weights: Mapping[str, torch.Tensor], more: int
    ) -> dict[str, torch.Tensor] | None:
        """Add columns to the projection [M, D]; None without one, as the context would grow.

        See `Decoder.with_more_features`.
        """
        return widen_projection(weights, more)
