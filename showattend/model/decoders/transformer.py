"""A pre-norm Transformer decoder that attends to the grid of the image (Vaswani et al. 2017).

Shape suffixes: B images, K captions or beams of an image, T words, S words attended to,
L locations, D feature, M width, H heads, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple, cast

import torch
from torch import nn
from torch.nn import functional as F

from showattend.model.decoders import decoder_options
from showattend.model.decoders.blocks import (
    DecoderBlock,
    Read,
    check_width,
    grid_sinusoids,
    sinusoids,
)
from showattend.model.decoders.protocol import Forced, Step, flat, register
from showattend.model.kinds import Option
from showattend.model.layers import LayerNorm, Linear, wide


class Memory(NamedTuple):
    """The keys and values of the image, one tensor [B, H, L, M / H] per layer."""

    image_keys: tuple[torch.Tensor, ...]
    image_values: tuple[torch.Tensor, ...]


class State(NamedTuple):
    """A cache: keys and values of the t words read so far, [B, K, H, t, M / H] per layer."""

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]


class Seen(NamedTuple):
    """The layers' output for T words."""

    hidden: torch.Tensor  # [B, K, T, M]
    state: State  # includes the words read before
    image: torch.Tensor  # where each layer's heads looked in the image, [B, K, T, layers * H, L]
    words: torch.Tensor  # where they looked among the words, [B, K, layers * H, T, S]


class Transformer(nn.Module):
    """The base class of the causal and the masked decoder.

    * a_i = LN(W_a f_i) + p(row of i, column of i): the annotations in the width of the layers
    * x = sqrt(M) E y_t + p(t) (sections 3.4 and 3.5), then `layers` times `DecoderBlock`
    * scores of words: L_o LN(x)

    Maps: ``alpha`` is the mean over the heads of the last layer; ``parts`` are the maps of all
    heads, layer by layer.

    Args:
        vocabulary_size: V, including the four special tokens.
        feature_dim: The encoder's D.
        hidden_dim: M, the width of the layers and of the word embeddings.
        layers: The number of layers.
        heads: H.
        feedforward_dim: The width of the feed-forward layers.
        sublayer_dropout: Dropout on the output of each sublayer (section 5.4).
        embedding_dropout: Dropout on the sum of embedding and position (section 5.4).
        feature_dropout: Dropout on the annotations, with one mask for all captions of an image.
        dropout: Dropout before the output product L_o.

    Raises:
        ConfigError: ``hidden_dim`` is not a multiple of 4 and of ``heads``.
    """

    summary: ClassVar[str] = "{kind} {hidden_dim}, {layers} layers of {heads} heads"

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_dim: int,
        hidden_dim: Annotated[
            int, Option("width of the layers and of the word embedding (M)", 1)
        ] = 512,
        layers: Annotated[int, Option("layers", 1)] = 3,
        heads: Annotated[int, Option("heads of each attention", 1)] = 8,
        feedforward_dim: Annotated[int, Option("width of the feed-forward layers", 1)] = 2048,
        sublayer_dropout: Annotated[
            float, Option("dropout on what each part of a layer adds", 0, below=1, training=True)
        ] = 0.1,
        embedding_dropout: decoder_options.EmbeddingDropout = 0.0,
        feature_dropout: decoder_options.FeatureDropout = 0.0,
        dropout: decoder_options.Dropout = 0.5,
    ) -> None:
        super().__init__()
        check_width(hidden_dim, heads, "decoder.hidden_dim")
        self.feature_dim, self.hidden_dim = feature_dim, hidden_dim
        self.heads, self.feedforward_dim = heads, feedforward_dim
        self.sublayer_dropout, self.dropout = sublayer_dropout, dropout
        self.embedding_dropout, self.feature_dropout = embedding_dropout, feature_dropout
        self.W_a, self.norm_a = Linear(feature_dim, hidden_dim), LayerNorm(hidden_dim)
        self.embedding = nn.Embedding(vocabulary_size, hidden_dim)
        nn.init.normal_(self.embedding.weight, std=hidden_dim**-0.5)
        blocks = [
            DecoderBlock(hidden_dim, heads, feedforward_dim, sublayer_dropout)
            for _ in range(layers)
        ]
        self.layers = cast("Sequence[DecoderBlock]", nn.ModuleList(blocks))
        self.norm = LayerNorm(hidden_dim)
        self.L_o = Linear(hidden_dim, vocabulary_size)
        nn.init.zeros_(self.L_o.bias)

    def memory(self, features: torch.Tensor) -> Memory:
        """Compute keys and values of annotations [B, H, W, D] per layer; see `Decoder.memory`."""
        f_BLD, (height, width) = flat(features)
        f_BLD = F.dropout(f_BLD, self.feature_dropout, self.training)
        a_BLM = self.norm_a(self.W_a(f_BLD))
        a_BLM = (a_BLM + grid_sinusoids(height, width, self.hidden_dim, a_BLM)).to(f_BLD)
        pairs = [layer.cross_attention.keys(a_BLM) for layer in self.layers]
        # Contiguous, since every step reads them.
        keys, values = (
            tuple(each.contiguous() for each in part) for part in zip(*pairs, strict=True)
        )
        return Memory(keys, values)

    def read(
        self,
        words_BKT: torch.Tensor,
        memory: Memory,
        before: State | None = None,
        allowed: torch.Tensor | None = None,
    ) -> Seen:
        """Pass words through all layers.

        Args:
            words_BKT: T words of each caption.
            memory: The images.
            before: The cache of the preceding words; None if there are none.
            allowed: Which words each word may attend to, bool, broadcast to [B, K, H, T, S]; None
                allows all.

        Returns:
            Hidden states [B, K, T, M], the extended cache, and the maps.
        """
        first = 0 if before is None else before.keys[0].shape[3]
        x = self.embedding(words_BKT) * math.sqrt(self.hidden_dim)
        x = x.to(wide(x.dtype))
        positions = torch.arange(first, first + words_BKT.shape[2], device=x.device).to(x)
        x = x + sinusoids(positions, self.hidden_dim)
        x = F.dropout(x, self.embedding_dropout, self.training)
        reads: list[Read] = []
        for n, layer in enumerate(self.layers):
            image = memory.image_keys[n], memory.image_values[n]
            past = None if before is None else (before.keys[n], before.values[n])
            reads.append(layer(x, image, past, allowed))
            x = reads[-1].x
        return Seen(
            self.norm(x).to(memory.image_keys[0]),
            State(tuple(r.keys for r in reads), tuple(r.values for r in reads)),
            torch.cat([r.image for r in reads], 3),
            torch.cat([r.words for r in reads], 2),
        )

    def alpha(self, image: torch.Tensor) -> torch.Tensor:
        """Average the maps of the last layer's heads: [..., layers * H, L] to [..., L]."""
        return image[..., -self.heads :, :].mean(-2)

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """Compute the logits of the words: [..., M] to [..., V]."""
        return self.L_o(F.dropout(hidden, self.dropout, self.training))

    def allowed(self, T: int) -> torch.Tensor | None:  # noqa: ARG002
        """Return which of T words each may attend to, bool [T, T]; None if all."""
        return None

    def among_words(self, words_BKT: torch.Tensor, memory: Memory) -> torch.Tensor:
        """Return the self-attention maps of sentences [B, K, T]: [B, K, layers, H, T, T]."""
        allowed = self.allowed(words_BKT.shape[2])
        weights = self.read(words_BKT, memory, allowed=allowed).words
        return weights.unflatten(2, (len(self.layers), self.heads))

    # Description -----------------------------------------------------------------------------

    @property
    def output(self) -> nn.Linear:
        """The output layer L_o."""
        return self.L_o

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names of the maps in `Step.parts`."""
        layers, heads = range(1, len(self.layers) + 1), range(1, self.heads + 1)
        return tuple(f"layer {n}, head {j}" for n in layers for j in heads)

    @property
    def options(self) -> Mapping[str, Any]:
        """See `Decoder.options`."""
        names = ("hidden_dim", "heads", "feedforward_dim")
        dropouts = ("sublayer_dropout", "embedding_dropout", "feature_dropout", "dropout")
        return {
            "layers": len(self.layers),
            **{name: getattr(self, name) for name in (*names, *dropouts)},
        }

    @property
    def sizes(self) -> Mapping[str, Any]:
        """See `Decoder.sizes`."""
        names = ("hidden_dim", "layers", "heads", "feedforward_dim")
        return {f"decoder.{name}": self.options[name] for name in names}

    @staticmethod
    def with_more_features(
        weights: Mapping[str, torch.Tensor], more: int
    ) -> dict[str, torch.Tensor] | None:
        """Add columns to W_a [M, D]; see `Decoder.with_more_features`."""
        return {**weights, "W_a.weight": F.pad(weights["W_a.weight"], (0, more))}

    @staticmethod
    def feature_dim_of(weights: Mapping[str, torch.Tensor]) -> int:
        """Return D, the input size of W_a [M, D]."""
        return weights["W_a.weight"].shape[1]


@register("transformer")
class TransformerDecoder(Transformer):
    """p(y_t | y_<t, a): each word attends to itself and the words before it; see `Transformer`.

    Teacher forcing reads all words of all captions in one pass. A step reads one word and keeps its
    keys and values: the state is a cache that grows by one word per step.

    Arguments are those of `Transformer`.
    """

    def start(self, memory: Memory) -> State:
        """Return an empty cache."""
        B, H, _, d = memory.image_keys[0].shape
        nothing = memory.image_keys[0].new_zeros(B, 1, H, 0, d)
        return State((nothing,) * len(self.layers), (nothing,) * len(self.layers))

    def step(self, words_BK: torch.Tensor, state: State, memory: Memory) -> Step:
        """Read one word of each caption [B, K]; see `Decoder.step`."""
        seen = self.read(words_BK.unsqueeze(2), memory, state)
        logits = self.scores(seen.hidden.squeeze(2))
        log_probs = torch.log_softmax(logits.to(wide(logits.dtype)), -1)
        maps = seen.image.squeeze(2)
        return Step(log_probs, seen.state, self.alpha(maps), None, maps)

    def forward(
        self, features: torch.Tensor, captions_BKT: torch.Tensor, lengths_BK: torch.Tensor
    ) -> Forced:
        """Run teacher forcing over all time steps at once; see `teacher_forcing`."""
        T = int(lengths_BK.max())
        seen = self.read(captions_BKT[:, :, :T], self.memory(features), allowed=self.allowed(T))
        real_BKT = torch.arange(T, device=lengths_BK.device) < lengths_BK.unsqueeze(2)
        number_BK = torch.arange(lengths_BK.numel(), device=lengths_BK.device).view_as(lengths_BK)
        return Forced(
            self.scores(seen.hidden[real_BKT]),
            captions_BKT[:, :, 1 : T + 1][real_BKT],
            number_BK.unsqueeze(2).expand_as(real_BKT)[real_BKT],
            (self.alpha(seen.image) * real_BKT.unsqueeze(3)).sum(2),
        )

    def allowed(self, T: int) -> torch.Tensor:
        """Return the causal mask, bool [T, T]: each word attends to itself and those before it."""
        return torch.ones(T, T, dtype=torch.bool, device=self.L_o.weight.device).tril()
