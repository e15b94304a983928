"""Modules without weights: nothing is drawn, and loading fills them in."""

from __future__ import annotations

import torch
from torch import nn

from showattend.config import DecoderConfig
from showattend.model.build import build_decoder
from showattend.model.fast.undrawn import undrawn


def decoder() -> nn.Module:
    return build_decoder(DecoderConfig(), vocabulary_size=20, feature_dim=6)  # type: ignore[no-any-return]


def test_nothing_is_drawn_and_loading_fills_all_in() -> None:
    torch.manual_seed(3)
    drawn = decoder()
    before = torch.random.get_rng_state()
    with undrawn():
        empty = decoder()
    assert torch.equal(torch.random.get_rng_state(), before)
    if torch.__version__ >= (2, 9):  # type: ignore[operator]
        assert all(weight.is_meta for weight in empty.parameters())
    empty.load_state_dict(drawn.state_dict(), assign=True)
    assert not any(part.is_meta for part in (*empty.parameters(), *empty.buffers()))
    assert nn.Linear(2, 2).weight.device.type == "cpu"  # and it ends with the block
    assert torch.random.get_rng_state().ne(before).any()
