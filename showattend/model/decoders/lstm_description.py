"""The description of an LSTM decoder: the options and sizes from which it can be built again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from showattend.model.attention.contract import sizes_of

if TYPE_CHECKING:
    from showattend.model.attention.contract import Attention


def widen_projection(
    weights: Mapping[str, torch.Tensor], more: int
) -> dict[str, torch.Tensor] | None:
    """Add ``more`` columns of zeros to the projection [M, D]; None if there is no projection."""
    if "projection.weight" not in weights:
        return None
    wider = F.pad(weights["projection.weight"], (0, more))
    return {**weights, "projection.weight": wider}


class LSTMDescription(nn.Module):
    """The base of `showattend.model.decoders.lstm.LSTMDecoder`, which has the layers."""

    summary: ClassVar[str] = (
        "LSTM {hidden_dim}, {attention} with the {attend_with} state, gate {gate}"
    )
    compiles: ClassVar[bool] = True

    if TYPE_CHECKING:
        attention: Attention
        embedding: nn.Embedding
        projection: nn.Linear | None
        L_o: nn.Linear
        hidden_dim: int
        attention_dim: int
        gate: str
        attend_with: str

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names of the attention's maps."""
        return self.attention.part_names

    @property
    def output(self) -> nn.Linear:
        """The output layer L_o."""
        return self.L_o

    @property
    def options(self) -> Mapping[str, Any]:
        """See `Decoder.options`."""
        names = ("hidden_dim", "attention_dim", "gate", "attend_with")
        dropouts = ("embedding_dropout", "feature_dropout", "dropout")
        return {
            "attention": self.attention.section,
            "embedding_dim": self.embedding.embedding_dim,
            "projection_dim": 0 if self.projection is None else self.projection.out_features,
            **{name: getattr(self, name) for name in (*names, *dropouts)},
        }

    @property
    def sizes(self) -> Mapping[str, Any]:
        """See `Decoder.sizes`."""
        return {
            **sizes_of(self.attention),
            "decoder.attend_with": self.attend_with,
            "decoder.gate": self.gate,
            "decoder.embedding_dim": self.embedding.embedding_dim,
            "decoder.hidden_dim": self.hidden_dim,
            "decoder.attention_dim": self.attention_dim,
            "decoder.projection_dim": 0
            if self.projection is None
            else self.projection.out_features,
        }

    @staticmethod
    def with_more_features(
        weights: Mapping[str, torch.Tensor], more: int
    ) -> dict[str, torch.Tensor] | None:
        """Add columns to the projection [M, D]; None without one, as the context would grow.

        See `Decoder.with_more_features`.
        """
        return widen_projection(weights, more)

    @staticmethod
    def feature_dim_of(weights: Mapping[str, torch.Tensor]) -> int:
        """Return D, the input size of the projection [M, D], or without one of L_z [E, D]."""
        return (weights.get("projection.weight", weights["L_z.weight"])).shape[1]
