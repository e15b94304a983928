"""Gradients that many steps make together, against autograd's own."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from showattend.model.fast.exponentials import additive_weights, powers, share_powers
from showattend.model.fast.shared_gradient import SharedContext
from tests.rounding import BF16

STEPS = ((3, 2), (3, 1), (1, 1))  # leading images, captions


def leaves(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    """Queries [B, K, A], keys [B, L, A], v [A], annotations [B, L, D]."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 2, 4), (3, 5, 4), (4,), (3, 5, 6))
    return tuple(
        torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype).requires_grad_()
        for shape in shapes
    )


def attended(*given: torch.Tensor, shared: bool) -> torch.Tensor:
    """Three steps, each of which asks what the one before has found."""
    query, keys, v, features = given
    E = powers(keys)
    together, context = (share_powers(E, v), SharedContext(features)) if shared else (None, None)
    total = features.new_zeros((), dtype=torch.promote_types(features.dtype, torch.float32))
    for b, k in STEPS:
        if together is not None and context is not None:
            alpha = additive_weights(query[:b, :k], together.value[:b], v, shared=together)
            z = context(alpha.to(features))
        else:
            alpha = additive_weights(query[:b, :k], E[:b], v)
            z = torch.bmm(alpha.to(features), features[:b])
        total = total + z.to(total).square().sum()
        query = torch.tanh(query[:b, :k] + z[..., :4])
    return total


def test_gradients_are_autograds() -> None:
    given = leaves()
    one, other = (attended(*given, shared=shared) for shared in (True, False))
    torch.testing.assert_close(one, other, rtol=1e-12, atol=0)
    for found, wanted in zip(
        torch.autograd.grad(one, given), torch.autograd.grad(other, given), strict=True
    ):
        assert wanted.abs().max() > 0
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_gradients_in_bf16_are_as_exact_as_autograds() -> None:
    exact = leaves(torch.bfloat16)
    given = leaves(torch.bfloat16)
    wanted = torch.autograd.grad(attended(*(each.double() for each in exact), shared=False), exact)
    errors = []
    for shared in (True, False):
        found = torch.autograd.grad(attended(*given, shared=shared), given)
        assert all(each.dtype == torch.bfloat16 for each in found)
        errors.append(
            [
                float((mine - theirs).float().norm() / theirs.float().norm())
                for mine, theirs in zip(found, wanted, strict=True)
            ]
        )
    # Each of the three steps rounds its weights, its sum, and what the next step asks with.
    for ours, autograds in zip(*errors, strict=True):
        assert ours <= max(9 * BF16, 2 * autograds)


@pytest.mark.parametrize("fixed", [0, 1, 2, 3])
def test_what_needs_no_gradient_is_left_out(fixed: int) -> None:
    given = leaves()
    given[fixed].requires_grad_(False)
    rest = [leaf for leaf in given if leaf.requires_grad]
    one, other = (
        torch.autograd.grad(attended(*given, shared=shared), rest) for shared in (True, False)
    )
    for found, wanted in zip(one, other, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_gradients_of_two_backwards_do_not_mix() -> None:
    """Nothing is left over from one batch to the next."""
    given = leaves()
    first = torch.autograd.grad(attended(*given, shared=True), given)
    again = torch.autograd.grad(attended(*given, shared=True), given)
    torch.testing.assert_close(again, first, rtol=1e-10, atol=1e-12)


def test_nothing_is_kept_when_a_step_is_over() -> None:
    """Freed at once, not when Python next looks for cycles: these are the largest tensors."""
    gc.collect()
    gc.disable()
    try:
        query, keys, v, features = leaves()
        shared, context = share_powers(powers(keys), v), SharedContext(features)
        kept = weakref.ref(shared), weakref.ref(context)
        z = context(additive_weights(query, shared.value, v, shared=shared))
        z.square().sum().backward()
        assert keys.grad is not None
        assert features.grad is not None
        del shared, context, z
        assert [each() for each in kept] == [None, None]
    finally:
        gc.enable()


def test_a_handle_is_the_tensor_too() -> None:
    """What a compiler makes of a step reads it as autograd knows it."""
    query, keys, v, _ = leaves()
    shared = share_powers(powers(keys), v)
    alpha = additive_weights(query, shared.value, v, shared=shared)
    again = additive_weights(query, shared.handle, v)
    (found,) = torch.autograd.grad((alpha[..., 0] * again[..., 1]).sum(), keys)
    E = powers(keys)
    one, other = (additive_weights(query, E, v) for _ in range(2))
    (wanted,) = torch.autograd.grad((one[..., 0] * other[..., 1]).sum(), keys)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_what_no_step_has_read_has_no_gradient() -> None:
    features = torch.randn(2, 3, 4, requires_grad=True)
    shared = SharedContext(features)
    assert shared.handle is not None
    (features.sum() + 0 * shared.handle.sum()).backward()
    assert torch.equal(features.grad, torch.ones(2, 3, 4))
