"""The product whose weight gradient is made at once, against autograd's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from showattend.model.fast import shared_product
from showattend.model.fast.shared_product import SharedProduct, packs
from tests.rounding import BF16


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
    torch.testing.assert_close(one, other, rtol=1e-12, atol=0)
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


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5), (0, 5)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_float32_products_are_right_whoever_multiplies(
    shape: tuple[int, ...], with_bias: bool
) -> None:
    torch.manual_seed(0)
    weight = torch.randn(7, 5)
    bias = torch.randn(7) if with_bias else None
    x = torch.randn(shape)
    exact = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    with torch.no_grad():
        found = SharedProduct(weight, bias)(x)
    assert found.shape == (*shape[:-1], 7)
    torch.testing.assert_close(found, exact.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_autograds_in_other_precisions(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    leaves = [torch.randn(*shape).to(dtype).requires_grad_() for shape in ((3, 3), (3,), (4, 2, 3))]
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    wanted = torch.autograd.grad(recurrence(*exact, shared=False), exact)
    found = torch.autograd.grad(recurrence(*leaves, shared=True), leaves)
    # In bf16 each of the three steps rounds its product and its tanh, forward and back.
    rounding = {torch.float32: 1e-5, torch.bfloat16: 12 * BF16}[dtype]
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.dtype == dtype
        assert float((mine - theirs).abs().max()) <= rounding * float(theirs.abs().max())


class Doubled(torch.nn.Module):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.product = SharedProduct(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.product(x)


# Older PyTorch says so of its own tracing.
@pytest.mark.filterwarnings("ignore:.*get_attr:UserWarning")
def test_an_exporter_sees_a_plain_product() -> None:
    module, x = Doubled(torch.randn(3, 3)), torch.randn(4, 3)
    with torch.no_grad():
        exported = torch.export.export(module, (x,))
        assert "mkldnn" not in str(exported.graph)
        torch.testing.assert_close(exported.module()(x), module(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [1, 31, 32, 33, 190])
@pytest.mark.parametrize("with_bias", [True, False])
def test_packed_weights_give_the_same_product_in_every_call(
    dtype: torch.dtype, width: int, with_bias: bool
) -> None:
    """The first call may pack, or not yet; the number of rows changes from call to call."""
    torch.manual_seed(0)
    weight, bias = torch.randn(width, 24).to(dtype), torch.randn(width).to(dtype)
    product = SharedProduct(weight, bias if with_bias else None)
    for rows in (7, 1, 64, 3):
        x = torch.randn(2, rows, 24).to(dtype)
        exact = F.linear(x.double(), weight.double(), bias.double() if with_bias else None)
        with torch.no_grad():
            found = product(x)
        assert found.shape == exact.shape
        assert found.dtype == dtype
        rounding = 1e-6 if dtype == torch.float32 else BF16
        assert float((found - exact).abs().max()) <= rounding * float(exact.abs().max() + 1)


def test_float32_can_be_packed_wherever_there_is_onednn() -> None:
    assert packs(torch.float32) == torch.backends.mkldnn.is_available()
    assert not packs(torch.float64)


def test_without_packing_products_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(5, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    found = []
    for able in (True, False):
        monkeypatch.setattr(shared_product, "packs", lambda _, able=able: able)
        product = SharedProduct(weight)
        total = product(x) + product(2 * x)
        found.append([total, *torch.autograd.grad(total.sum(), [weight, x])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_weights_are_packed_by_the_call_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float32 at once; bfloat16 from the second call on, so that one product costs no packing."""
    made: list[torch.dtype] = []
    packed = shared_product._Packed

    def note(weight: torch.Tensor, bias: torch.Tensor | None) -> shared_product._Packed:
        made.append(weight.dtype)
        return packed(weight, bias)

    for dtype in (torch.float32, torch.bfloat16):
        if not packs(dtype):
            continue
        with monkeypatch.context() as patch, torch.no_grad():
            patch.setattr(shared_product, "_Packed", note)
            product = SharedProduct(torch.randn(4, 3).to(dtype))
            counts = []
            for _ in range(3):
                product(torch.randn(2, 3).to(dtype))
                counts.append(len(made))
        made.clear()
        assert counts == ([1, 1, 1] if dtype == torch.float32 else [0, 1, 1])
