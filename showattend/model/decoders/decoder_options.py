"""The options that several kinds of decoders share, for the annotations of their constructors."""

from __future__ import annotations

from typing import Annotated

from showattend.model.kinds import Option

GATES = ("scalar", "vector", "none")
ATTEND_WITH = ("previous", "current")

EmbeddingDim = Annotated[int, Option("word embedding (E)", 1)]
HiddenDim = Annotated[int, Option("LSTM state (M)", 1)]
AttentionDim = Annotated[int, Option("attention space (A)", 1)]
ProjectionDim = Annotated[
    int,
    Option(
        "width of a ReLU layer that the annotation vectors pass through first; 0: no such layer", 0
    ),
]
Gate = Annotated[str, Option("gate beta, scalar (the paper), vector or none", among=GATES)]
AttendWith = Annotated[
    str, Option("previous (the paper's h_{t-1}) or current (h_t)", among=ATTEND_WITH)
]
EmbeddingDropout = Annotated[
    float, Option("dropout on word embeddings", 0, below=1, training=True, default=0.3)
]
FeatureDropout = Annotated[
    float, Option("dropout on annotations", 0, below=1, training=True, default=0.3)
]
Dropout = Annotated[float, Option("dropout before the output layer", 0, below=1, training=True)]
