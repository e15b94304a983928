"""The stand-in for depthwise convolutions against PyTorch's own in float32."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from showattend.model.fast import depthwise
from showattend.model.fast.depthwise import FastDepthwise
from tests.rounding import BF16


def gradients(
    module: torch.nn.Module, x: torch.Tensor, *, fast: bool = False, low: bool = False
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    x = x.clone().requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16, enabled=low or fast):
        if fast:
            with FastDepthwise():
                y = module(x)
        else:
            y = module(x)
    module.zero_grad()
    (y.float() * torch.linspace(0, 1, y.numel()).view_as(y)).sum().backward()
    return y, [x.grad, *(p.grad.clone() for p in module.parameters())]


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 5, "padding": 2, "bias": False},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 3, "padding": (2, 1), "dilation": 2},
    ],
)
def test_result_and_gradients_are_those_of_float32(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = torch.nn.Conv2d(8, 8, groups=8, **settings)
    x = torch.randn(4, 8, 9, 7)
    y, found = gradients(module, x, fast=True)
    wanted_y, wanted = gradients(module, x)
    assert y.dtype == torch.bfloat16
    # What the sums would be if nothing in them cancelled: errors are shares of these.
    module_of_sizes = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in module_of_sizes.parameters():
            parameter.abs_()
    largest_y, largest = gradients(module_of_sizes, x.abs())
    # Both factors are rounded and the sum, which without AVX-512 is added up in bfloat16, too.
    terms = module.weight[0].numel() + (module.bias is not None)
    assert ((y.float() - wanted_y).abs() <= (terms + 2) * BF16 * largest_y).all()
    # The input's is PyTorch's own; those of the parameters are added up in float32.
    wanted[0] = gradients(module, x, low=True)[1][0]
    torch.testing.assert_close(found[0], wanted[0], rtol=BF16, atol=0)
    for one, other, size in zip(found[1:], wanted[1:], largest[1:], strict=True):
        assert one.dtype == torch.float32
        assert ((one - other).abs() <= 3 * BF16 * size).all()
        assert (3 * BF16 * size).mean() < other.abs().mean() / 2  # else it would allow anything


def test_only_depthwise_convolutions_that_learn_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = depthwise._depthwise
    monkeypatch.setattr(
        depthwise, "_depthwise", lambda *a, **k: calls.append(a[1].shape) or original(*a, **k)
    )
    x, deep, dense = torch.randn(1, 4, 5, 5), torch.randn(4, 1, 3, 3), torch.randn(4, 4, 3, 3)
    deep.requires_grad_(True)
    dense.requires_grad_(True)
    with FastDepthwise(), torch.autocast("cpu", torch.bfloat16):
        F.conv2d(x, dense)
        F.conv2d(x, deep.detach(), groups=4)
        with torch.no_grad():
            F.conv2d(x, deep, groups=4)
        assert not calls
        F.conv2d(x, deep, groups=4)
        F.conv2d(x, deep, None, 1, "same", 1, 4)
    assert calls == [deep.shape] * 2
    with FastDepthwise():
        assert F.conv2d(x, deep, groups=4).dtype == torch.float32
    assert len(calls) == 2
