"""The moving average of the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from showattend.exceptions import CheckpointError
from showattend.training.average import Merger, MovingAverage


def test_it_follows_by_the_formula() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = MovingAverage(model, 0.9)
    expected = 0.0
    for n in range(30):
        nn.init.constant_(model.weight, n + 1.0)
        average.update(model)
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * (n + 1.0)
    assert average.model.weight.item() == pytest.approx(expected, rel=1e-5)
    assert model.weight.item() == 30.0


def test_frozen_parameters_stay_and_nothing_gets_a_gradient() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    average = MovingAverage(model, 0.5)
    before = average.model[0].weight.clone()  # type: ignore[index, union-attr, operator]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    average.update(model)
    after = average.model[0].weight  # type: ignore[index, union-attr]
    assert torch.equal(before, after)  # type: ignore[arg-type]
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_buffers_are_those_of_the_last_step() -> None:
    """Such as the baseline of hard attention, which is an average itself."""
    model = nn.BatchNorm1d(1)
    average = MovingAverage(model, 0.9)
    assert model.running_mean is not None
    model.running_mean.fill_(3.0)
    average.update(model)
    assert float(average.model.running_mean) == 3.0  # type: ignore[arg-type]
    model.running_mean.fill_(4.0)
    assert float(average.model.running_mean) == 3.0  # type: ignore[arg-type]


def test_its_state_travels() -> None:
    model = nn.Linear(2, 2)
    average = MovingAverage(model, 0.99)
    average.update(model)
    again = MovingAverage(nn.Linear(2, 2), 0.99)
    again.load_state_dict(average.state_dict())
    assert int(again.updates) == 1
    assert torch.equal(again.model.weight, model.weight)  # type: ignore[arg-type]


def test_runs_are_averaged_with_a_share_of_their_start(tmp_path: Path) -> None:
    merger, model = Merger(tmp_path, 2, 0.2), nn.BatchNorm1d(1)

    def say(value: float, seen: int) -> dict[str, nn.Module]:
        nn.init.constant_(model.weight, value)
        assert model.num_batches_tracked is not None
        model.num_batches_tracked.fill_(seen)
        return {"decoder": model}

    merger.save_start(say(1.0, 1))
    merger.save_run(0, say(2.0, 2))
    merger.save_run(1, say(4.0, 3))
    merger.load_start({"decoder": model})
    assert model.weight.item() == 1.0
    merger.merge({"decoder": model})
    assert model.weight.item() == pytest.approx(0.2 * 1 + 0.8 * 3)
    assert int(model.num_batches_tracked) == 3  # type: ignore[arg-type]  # a count has no mean
    with pytest.raises(CheckpointError, match=r"start.safetensors: no such file"):
        Merger(tmp_path / "elsewhere", 2, 0.2).load_start({"decoder": model})
