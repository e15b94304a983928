"""SHOWATTEND_PLAIN turns every part of `showattend.model.fast` off."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from showattend.config import AttentionConfig, DecoderConfig
from showattend.decoding.beam import search
from showattend.model import fast
from showattend.model.build import build_decoder
from showattend.model.decoders.protocol import Forced
from showattend.model.search_options import SearchOptions
from showattend.training.losses import captioning_loss

HERE = Path(fast.__file__).parent
PARTS = sorted(path.stem for path in HERE.glob("*.py") if path.stem != "__init__")


def decoder() -> torch.nn.Module:
    config = DecoderConfig(embedding_dim=4, hidden_dim=4, attention_dim=4)
    return build_decoder(config, AttentionConfig(), vocabulary_size=9, feature_dim=4)  # type: ignore[no-any-return]


def train_step() -> list[Any]:
    model = decoder().train()
    features, lengths = torch.randn(2, 4, 4), torch.tensor([[3, 2], [1, 2]])
    captions = torch.randint(4, 9, (2, 2, 5))
    captioning_loss(model(features, captions, lengths), lengths).total.backward()
    return [model, model.memory(features)]


def compile_step() -> list[Any]:
    fast.compile_step(decoder(), torch.float32)
    return []


def depthwise_gradient() -> list[Any]:
    weight = torch.randn(4, 1, 3, 3, requires_grad=True)
    with fast.depthwise_gradients(), torch.autocast("cpu", torch.bfloat16):
        F.conv2d(torch.randn(1, 4, 5, 5), weight, groups=4).sum().backward()
    return []


def light_network() -> list[Any]:
    return [fast.light_network("tf_efficientnet_lite0")]


def without_weights() -> list[Any]:
    with fast.without_weights():
        return [torch.nn.Linear(2, 2)]


def loss() -> list[Any]:
    logits = torch.randn(3, 5, requires_grad=True)
    forced = Forced(logits, torch.tensor([0, 1, 2]), torch.zeros(3).long(), None)
    return [captioning_loss(forced, torch.tensor([[3]])).total.backward()]


def searching() -> list[Any]:
    return [search(decoder().eval(), torch.randn(1, 4, 4), SearchOptions(max_length=2))]


WORK: dict[str, Callable[[], list[Any]]] = {
    **dict.fromkeys(
        (
            "exponentials", "fused_lstm", "packed_forcing", "prepared", "quick_dropout",
            "shared_gradient", "shared_product",
        ),
        train_step,
    ),
    "by_blocks": searching,
    "compiling": compile_step,
    "depthwise": depthwise_gradient,
    "entropy_by_rows": loss,
    "lite_network": light_network,
    "undrawn": without_weights,
}  # fmt: skip


def parts_in(work: Callable[[], list[Any]]) -> set[str]:
    """The parts of which a function runs, or whose classes are in what the work returns."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.parent == HERE and frame.f_code.co_name != "<module>":
            found.add(path.stem)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        made = work()
    finally:
        sys.setprofile(before)
    found |= {type(each).__module__.removeprefix(f"{fast.__name__}.") for each in made}
    return found & set(PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_one_switch_turns_every_part_off(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert part in WORK, f"{part}: say in WORK what uses it"
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    for value, expected in (("", True), ("1", False), ("0", True)):
        monkeypatch.setenv("SHOWATTEND_PLAIN", value)
        found = parts_in(WORK[part])
        assert (part in found) == expected, value
        assert expected or not found


def test_random_numbers_do_not_depend_on_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is built without weights leaves later random numbers as they are."""
    before = torch.random.get_rng_state()
    for value in ("0", "1"):
        monkeypatch.setenv("SHOWATTEND_PLAIN", value)
        with fast.without_weights():
            decoder()
        assert torch.equal(torch.random.get_rng_state(), before), value


def test_a_compiled_step_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOWATTEND_PLAIN", "1")
    said = fast.compile_step(decoder(), torch.float32)
    assert said == "train.compile: SHOWATTEND_PLAIN is set; continuing without it"
