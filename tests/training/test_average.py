"""The moving average of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from showattend.training.average import MovingAverage


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


def test_its_state_travels() -> None:
    model = nn.Linear(2, 2)
    average = MovingAverage(model, 0.99)
    average.update(model)
    again = MovingAverage(nn.Linear(2, 2), 0.99)
    again.load_state_dict(average.state_dict())
    assert int(again.updates) == 1
    assert torch.equal(again.model.weight, model.weight)  # type: ignore[arg-type]
