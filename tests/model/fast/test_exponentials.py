"""The additive score."""

from __future__ import annotations

import pytest
import torch

from showattend.model.fast import exponentials
from showattend.model.fast.exponentials import (
    Kernels,
    additive_weights,
    plain_gradients,
    plain_scores,
    powers,
)
from tests.rounding import BF16


def test_weights_are_a_distribution_over_locations() -> None:
    torch.manual_seed(0)
    weights = additive_weights(torch.randn(2, 3, 4), powers(torch.randn(2, 5, 4)), torch.randn(4))
    assert weights.shape == (2, 3, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3))


def test_softmax_is_float32_whatever_the_products() -> None:
    low = additive_weights(
        torch.randn(1, 1, 4).bfloat16(),
        powers(torch.randn(1, 100, 4).bfloat16()),
        torch.randn(4).bfloat16(),
    )
    assert low.dtype == torch.float32
    torch.testing.assert_close(low.sum(-1), torch.ones(1, 1))


def test_attends_where_a_key_answers_the_query() -> None:
    """With v = 1 and strong keys, the location whose key is largest wins."""
    keys = torch.full((1, 3, 4), -2.0)
    keys[0, 1] = 2.0
    weights = additive_weights(torch.zeros(1, 1, 4), powers(keys), torch.full((4,), 5.0))
    assert weights.argmax(-1).item() == 1
    assert weights.max() > 0.99


def literal(query: torch.Tensor, keys: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The paper's equation 4, with its tanh."""
    hidden = torch.tanh(query.unsqueeze(2) + keys.unsqueeze(1))
    return torch.softmax((hidden * v).sum(-1), -1)


def inputs(scale: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 2, 4), (3, 5, 4), (4,))
    return [
        (scale * torch.randn(*shape, dtype=torch.float64, generator=generator)).requires_grad_()
        for shape in shapes
    ]


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("at_once", [1, 80, 1 << 21, None])
def test_without_a_tanh_weights_and_gradients_are_the_same(
    scale: float, at_once: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = None
    if at_once is None:  # what is given to a compiler
        kernels = Kernels(plain_scores, plain_gradients)
    else:  # one image at a time, two, all of them
        monkeypatch.setattr(exponentials, "_AT_ONCE", at_once)
    query, keys, v = inputs(scale)
    found = additive_weights(query, powers(keys), v, kernels=kernels)
    wanted = literal(query, keys, v)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    towards = torch.randn(3, 2, 5, dtype=torch.float64, generator=torch.manual_seed(1))
    for one, other in zip(
        torch.autograd.grad((found * towards).sum(), (query, keys, v)),
        torch.autograd.grad((wanted * towards).sum(), (query, keys, v)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_extreme_queries_and_keys_stay_finite() -> None:
    """Saturated either way: tanh is 1 or -1, in the weights and in their gradients."""
    query = torch.tensor([[[1e4, -1e4, 50.0, 0.0]]], requires_grad=True)
    keys = torch.tensor([[[1e4, -1e4, -20.0, 1e-30], [3e4, 1.0, 20.0, -90.0]]], requires_grad=True)
    weights = additive_weights(query, powers(keys), torch.ones(4))
    torch.testing.assert_close(weights, literal(query, keys, torch.ones(4)))
    weights[0, 0, 0].backward()
    assert query.grad is not None
    assert keys.grad is not None
    assert query.grad.isfinite().all()
    assert keys.grad.isfinite().all()


class Weights(torch.nn.Module):
    def forward(self, query: torch.Tensor, keys: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return additive_weights(query, powers(keys), v)


def test_what_an_exporter_sees_is_what_is_computed() -> None:
    query, keys, v = (each.detach().float() for each in inputs(1.0))
    exported = torch.export.export(Weights(), (query, keys, v)).module()
    torch.testing.assert_close(exported(query, keys, v), Weights()(query, keys, v))


def test_float32_is_as_exact_as_with_a_tanh() -> None:
    query, keys, v = (each.detach() for each in inputs(1.0))
    exact = literal(query, keys, v)
    low = [each.float() for each in (query, keys, v)]
    error = (additive_weights(low[0], powers(low[1]), low[2]) - exact).abs().max()
    assert error < 1e-6


def test_gradients_in_bf16_are_rounded_once() -> None:
    """Queries, keys and v are in bf16; everything between is computed in float32."""
    rounded = [each.detach().bfloat16().requires_grad_() for each in inputs(1.0)]
    exact = [each.detach().double().requires_grad_() for each in rounded]
    towards = torch.randn(3, 2, 5, dtype=torch.float64, generator=torch.manual_seed(1))
    query, keys, v = rounded
    found = additive_weights(query, powers(keys), v)
    assert found.dtype == torch.float32
    wanted = literal(*exact)
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-5)
    for mine, theirs in zip(
        torch.autograd.grad((found * towards).sum(), rounded),
        torch.autograd.grad((wanted * towards).sum(), exact),
        strict=True,
    ):
        assert mine.dtype == torch.bfloat16
        # keys are rounded twice: as they pass `powers`, and as a gradient
        torch.testing.assert_close(mine.double(), theirs, rtol=2 * BF16, atol=1e-5)
