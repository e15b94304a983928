"""Dropout: how often, how much, and the same again from the same seed."""

from __future__ import annotations

import pytest
import torch

from showattend.model.fast.quick_dropout import dropout


@pytest.mark.parametrize("p", [0.1, 0.4, 0.5, 0.9])
def test_elements_are_dropped_as_often_as_said_and_the_mean_stays(p: float) -> None:
    torch.manual_seed(0)
    found = dropout(torch.ones(300, 1000), p)
    assert found.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)])
    assert float((found == 0).float().mean()) == pytest.approx(p, abs=0.003)
    # Neither rows nor columns go together.
    assert float((found == 0).float().mean(0).std()) == pytest.approx(
        (p * (1 - p) / 300) ** 0.5, rel=0.1
    )
    assert float((found == 0).float().mean(1).std()) == pytest.approx(
        (p * (1 - p) / 1000) ** 0.5, rel=0.2
    )


def test_the_gradient_passes_where_the_value_does() -> None:
    x = torch.randn(50, 7, requires_grad=True)
    found = dropout(x, 0.3)
    found.sum().backward()
    assert torch.equal(x.grad == 0, found == 0)
    assert torch.allclose(x.grad[x.grad != 0], torch.tensor(1 / 0.7))


def test_the_seed_decides() -> None:
    x = torch.ones(1000)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append((dropout(x, 0.5), dropout(x, 0.5)))
    assert torch.equal(draws[0][0], draws[1][0])
    assert torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][0], draws[0][1])
    assert not torch.equal(draws[0][0], draws[2][0])


def test_without_dropout_nothing_is_touched() -> None:
    x = torch.randn(3)
    assert dropout(x, 0.0) is x
    half = dropout(torch.ones(64, dtype=torch.bfloat16), 0.5)
    assert half.dtype == torch.bfloat16
