"""What a decoder costs."""

from __future__ import annotations

import torch

from showattend.config import DecoderConfig
from showattend.model.build import build_decoder
from showattend.training.decoder_cost import measure_cost


def test_a_larger_decoder_costs_more_and_none_is_changed() -> None:
    found = []
    for size in (8, 512):
        config = DecoderConfig(embedding_dim=size, hidden_dim=size, attention_dim=size)
        decoder = build_decoder(config, vocabulary_size=50, feature_dim=12)
        decoder.eval()
        before = {name: value.clone() for name, value in decoder.state_dict().items()}
        found.append(measure_cost(decoder, (3, 4)))
        assert not decoder.training
        assert all(torch.equal(before[name], x) for name, x in decoder.state_dict().items())
        assert all(parameter.grad is None for parameter in decoder.parameters())
        assert found[-1].parameters == sum(each.numel() for each in decoder.parameters())
    small, large = found
    assert small.step > 0
    assert small.search > 0
    assert large.parameters > small.parameters
    if small.memory is not None and large.memory is not None:
        assert large.memory > small.memory
