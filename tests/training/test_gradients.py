"""Gradients of several processes: every parameter takes part, as `SharedGradients` needs it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from showattend.config import Config, from_dict
from showattend.data.loader import Batch
from showattend.model.attention import ATTENTIONS
from showattend.model.build import build_decoder
from showattend.model.decoders import DECODERS
from showattend.system.processes import ALONE
from showattend.training.gradients import SharedGradients
from showattend.training.losses import batch_loss
from showattend.training.setup import freeze_unused

V, D = 12, 16
RECURRENT = ("lstm", "luong", "updown")
HARD = ("additive", "dot", "scaled_dot", "general", "location", "convolution")
OPTIONS = {"embedding_dim": 512, "attention_dim": 512}  # defaults: Transformers do not use them
CASES = [
    *[(decoder, {"kind": kind}) for decoder in RECURRENT for kind in ATTENTIONS],
    *[("lstm", {"kind": kind, "mode": "hard"}) for kind in HARD],
    ("transformer", {}),
    ("masked", {}),
]


def batch() -> Batch:
    captions = torch.tensor(
        [[[1, 4, 5, 6, 2], [1, 7, 8, 2, 0]], [[1, 9, 2, 0, 0], [1, 5, 4, 2, 0]]]
    )
    lengths = torch.tensor([[4, 3], [2, 3]])
    return Batch(torch.randn(2, 4, 4, D), captions, lengths, [0, 1])


@pytest.mark.parametrize(("decoder", "attention"), CASES)
def test_every_parameter_has_a_gradient(decoder: str, attention: dict[str, Any]) -> None:
    if decoder.startswith("my_") or str(attention.get("kind")).startswith("my_"):
        pytest.skip("of another test")
    torch.manual_seed(0)
    blocks = {**OPTIONS, "hidden_dim": 16, "layers": 2, "heads": 2, "feedforward_dim": 8}
    sizes = {"embedding_dim": 16, "hidden_dim": 16, "attention_dim": 16}
    grid = {"grid": 4} if attention.get("kind") == "location" else {}
    values = {
        "decoder": {"kind": decoder, **(sizes if decoder in RECURRENT else blocks)},
        "attention": attention | grid,
    }
    config = from_dict(Config, values, "test")
    model = build_decoder(
        config.decoder, config.attention, config.encoder, vocabulary_size=V, feature_dim=D
    ).train()
    gradients, given = SharedGradients(ALONE), batch()
    loss = gradients.backward(
        [model],
        lambda: batch_loss(model, given.inputs, given, config.train),
        lambda loss: loss.total,
        last=True,
    )
    assert loss.total.isfinite()
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing


def test_parameters_without_a_part_in_the_features_are_frozen() -> None:
    class Fake(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.head = torch.nn.Conv2d(3, 4, 1), torch.nn.Linear(4, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.used(images)

    fake: Any = Fake()
    freeze_unused(fake, list(fake.parameters()), 8)
    assert {name for name, p in fake.named_parameters() if p.requires_grad} == {
        "used.weight", "used.bias",
    }  # fmt: skip
    assert all(p.grad is None for p in fake.parameters())


def test_every_decoder_is_tried() -> None:
    known = {kind for kind in DECODERS if not kind.startswith("my_")}
    assert {decoder for decoder, _ in CASES} == known
