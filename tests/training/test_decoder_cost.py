"""What a decoder costs."""

from __future__ import annotations

import torch

from showattend.config import DecoderConfig
from showattend.model.build import build_decoder
from showattend.system.device import keep_freed_memory
from showattend.training.decoder_cost import LiveBytes, added_memory, measure_cost, work_of


def test_a_larger_decoder_costs_more_and_none_is_changed() -> None:
    found = []
    for size in (8, 128):
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
    assert 0 < small.memory < large.memory


def test_memory_is_measured_where_freed_memory_is_kept() -> None:
    """As after training, in the same process: a step then takes nothing from the system."""
    keep_freed_memory()
    work = {}
    for size in (16, 256):
        config = DecoderConfig(embedding_dim=size, hidden_dim=size, attention_dim=size)
        decoder = build_decoder(config, vocabulary_size=50, feature_dim=12)
        work[size] = work_of(decoder, (3, 4), images=4).step
    cpu = torch.device("cpu")
    for each in work.values():
        each()
    found = {size: added_memory(each, cpu) for size, each in work.items()}
    assert 0 < found[16] < found[256] / 8
    assert found == {size: added_memory(each, cpu) for size, each in work.items()}
    # At least the gradients of all parameters.
    assert found[256] > 4 * sum(each.numel() for each in decoder.parameters()) / 2**20


def test_tensors_count_while_they_exist() -> None:
    before = torch.ones(2**18)  # a megabyte
    with LiveBytes() as counted:
        first = before + 1
        assert counted.now == 2**20
        view = first.view(2, -1)[0]
        before.mul_(2)
        assert before[:5].sum() == 10
        assert counted.now == 2**20
        del first
        assert counted.now == 2**20, "the view still needs it"
        del view
        assert counted.now == 0
        twice = torch.cat([before, before])
        assert counted.now == 2**21
        del twice
        x = torch.ones(2**18, requires_grad=True)
        y = x.exp()
        loss = y.sum()
        del y  # kept for the gradient
        assert counted.now >= 2**21
        loss.backward()
        del loss
        assert counted.now == 2**21  # x and its gradient
        peak = counted.peak
    assert peak == counted.peak
    assert 2**21 < peak <= 2**22
