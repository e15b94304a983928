"""Gradients of several processes: every parameter takes part, as `SharedGradients` needs it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from showattend.config import Config, from_dict
from showattend.data.loader import Batch
from showattend.model.attention import ATTENTIONS
from showattend.model.build import build_decoder
from showattend.model.decoders import DECODERS
from showattend.system.processes import ALONE, Processes
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


def test_buffers_that_training_changes_are_averaged_after_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not those of a module in eval mode, nor counts, nor in the middle of a step."""

    class WithBuffers(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))
            self.register_buffer("baseline", torch.tensor(1.0))
            self.register_buffer("count", torch.tensor(5))
            self.frozen = torch.nn.BatchNorm1d(2).eval()

    class Twin(Processes):
        def average(self, tensors: Sequence[torch.Tensor]) -> None:
            averaged.append(list(tensors))

    class Called:
        """In place of what exchanges gradients."""

        no_sync = nullcontext

        def __call__(self, compute: Any) -> Any:
            return compute()

    averaged: list[list[torch.Tensor]] = []
    module: Any = WithBuffers()
    gradients = SharedGradients(Twin(0, 2))
    monkeypatch.setattr(gradients, "_wrap", lambda _: None)
    monkeypatch.setattr(gradients, "_model", Called())
    for last in (False, True):
        gradients.backward([module], lambda: module.weight.sum(), lambda loss: loss, last=last)
        assert len(averaged) == last
    assert [each is module.baseline for each in averaged[0]] == [True]


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
