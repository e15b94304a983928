"""The product whose weight gradient is made at once, against autograd's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from showattend.decoders.shared_product import SharedProduct


def recurrence(
    weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor, *, shared: bool
) -> torch.Tensor:
    """Three steps, each of fewer rows than the one before."""
    product = SharedProduct(weight, bias) if shared else lambda y: F.linear(y, weight, bias)
    total = x.new_zeros(())
    for rows in (4, 3, 1):
        x = torch.tanh(product(x[:rows]))
        total = total + x.square().sum()
    return total


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape", [(4, 3), (4, 2, 3)])
def test_gradients_are_autograds(with_bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True) if with_bias else None
    x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    leaves = [leaf for leaf in (weight, bias, x) if leaf is not None]
    one, other = (recurrence(weight, bias, x, shared=shared) for shared in (True, False))
    assert torch.equal(one, other)
    for found, wanted in zip(
        torch.autograd.grad(one, leaves), torch.autograd.grad(other, leaves), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_what_needs_no_gradient_gets_none_and_the_rest_still_does() -> None:
    weight, x = torch.randn(3, 3), torch.randn(4, 3, requires_grad=True)
    recurrence(weight, None, x, shared=True).backward()
    assert x.grad is not None
    weight.requires_grad_(True)
    fixed = torch.randn(4, 3)
    recurrence(weight, torch.zeros(3), fixed, shared=True).backward()
    assert weight.grad is not None
    with torch.no_grad():
        assert not SharedProduct(weight)(fixed).requires_grad


def test_a_product_that_was_never_called_has_no_gradient() -> None:
    weight = torch.randn(3, 3, requires_grad=True)
    product = SharedProduct(weight)
    (weight.sum() + 0 * product.weight.sum()).backward()
    assert torch.equal(weight.grad, torch.ones(3, 3))
