"""A linear map used at every time step, with a single product for the gradient of its weight.

For a recurrence, autograd computes a small product and a pass over the whole weight matrix in every
time step, to add up the weight's gradient. Here every step keeps its input and its output's
gradient, and one product over all steps computes the weight's gradient at the end. That is faster,
and avoids rounding between steps in low precision.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.nn import functional as F

Seen = list[tuple[torch.Tensor, torch.Tensor]]


class SharedProduct:
    """x -> x W^T + b, to be called many times within one autograd graph.

    On a CPU, oneDNN computes the products, from a copy of the weights that is packed once. For
    float32 PyTorch would use MKL, which on AMD processors takes up to twice as long for a few dozen
    rows or for the width of a vocabulary; for bfloat16 it would pack the weights in every call.

    Args:
        weight: W [out, in].
        bias: b [out], or None.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.seen: Seen = []
        self.weight, self.bias = weight, bias
        self.map = _Map(weight.detach(), None if bias is None else bias.detach())
        if torch.is_grad_enabled() and weight.requires_grad:
            self.weight, self.bias = _Collect.apply(self.seen, weight, bias)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map x [..., in] to [..., out]."""
        if torch.is_grad_enabled() and self.weight.requires_grad:
            return _Product.apply(self.seen, x, self.weight, self.bias, self.map)
        if torch.is_grad_enabled() and x.requires_grad:
            return F.linear(x, self.weight, self.bias)
        return self.map(x)


class _Map:
    """The product itself, outside autograd."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.weight, self.bias = weight, bias
        self.forth: _Packed | None = None
        self.turned: _Packed | None = None  # transposed weights
        # Packing costs as much as a few dozen rows. For float32 it pays at once, since PyTorch
        # would use MKL; for bfloat16, where it uses oneDNN as well, from the second call on.
        self.calls = int(weight.dtype == torch.float32)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map x [..., in] to [..., out]."""
        if not self._packs(x) or not self.calls:
            self.calls += 1
            # Without `contiguous`, PyTorch would compute a batch of small products.
            return F.linear(x.contiguous(), self.weight, self.bias)
        if self.forth is None:
            self.forth = _Packed(self.weight, self.bias)
        return self.forth(x)

    def back(self, gradient: torch.Tensor) -> torch.Tensor:
        """Compute the gradient of x [..., in] from that of the output [..., out]."""
        # To transpose weights for oneDNN costs more than it saves in bfloat16.
        if not self._packs(gradient) or gradient.dtype != torch.float32:
            return gradient @ self.weight
        if self.turned is None:
            self.turned = _Packed(self.weight.T.contiguous(), None)
        return self.turned(gradient)

    def _packs(self, x: torch.Tensor) -> bool:
        # Compilers and exporters need the plain operation.
        if torch.compiler.is_compiling() or x.ndim < 2 or not x.numel():
            return False
        return x.device.type == "cpu" and packs(x.dtype)


class _Packed:
    """x -> x W^T + b by oneDNN, from a copy of the weights in the order in which it reads them.

    Args:
        weight: W [out, in].
        bias: b [out], or None.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.width = len(weight)
        # In bfloat16, rows that do not fill the last tile make the whole product twice as slow.
        # The result is then a view. In float32 padding changes nothing.
        if (missing := -len(weight) % 32) and weight.dtype == torch.bfloat16:
            weight = F.pad(weight, (0, 0, 0, missing))
            bias = None if bias is None else F.pad(bias, (0, missing))
        self.weight, self.bias = torch.ops.mkldnn._reorder_linear_weight(weight, None), bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Map x [..., in] to [..., out], on a CPU and outside autograd."""
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x.contiguous(), self.weight, self.bias, "none", [], ""
        )
        return found if found.shape[-1] == self.width else found[..., : self.width]


@functools.cache
def packs(dtype: torch.dtype) -> bool:
    """Whether this processor and PyTorch compute products from packed weights of a dtype."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    one = torch.ones(32, 32, dtype=dtype)
    try:
        return bool((_Packed(one, None)(one) == 32).all())
    except (AttributeError, RuntimeError, TypeError):  # another PyTorch, or no bfloat16
        return False


class _Collect(torch.autograd.Function):
    """Passes the weights on to all products; its backward pass runs when all of theirs are done."""

    @staticmethod
    def forward(
        ctx: Any, seen: Seen, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        ctx.seen = seen
        ctx.set_materialize_grads(False)
        return weight.view_as(weight), None if bias is None else bias.view_as(bias)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> tuple[None, torch.Tensor | None, torch.Tensor | None]:
        if not ctx.seen:
            return None, None, None
        inputs, gradients = ctx.seen[0]
        if len(ctx.seen) > 1:
            inputs = torch.cat([x for x, _ in ctx.seen])
            gradients = torch.cat([gradient for _, gradient in ctx.seen])
        ctx.seen.clear()
        weight = gradients.T @ inputs if ctx.needs_input_grad[1] else None
        bias = gradients.sum(0) if ctx.needs_input_grad[2] else None
        return None, weight, bias


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        seen: Seen,
        x: torch.Tensor,
        weight: torch.Tensor,  # noqa: ARG004, an input only for autograd's graph
        bias: torch.Tensor | None,  # noqa: ARG004
        product: _Map,
    ) -> torch.Tensor:
        ctx.seen, ctx.product = seen, product
        ctx.save_for_backward(x)
        return product(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor, None, None, None]:
        (gradient,) = gradients
        (x,) = ctx.saved_tensors
        ctx.seen.append((x.flatten(0, -2), gradient.flatten(0, -2)))
        return None, ctx.product.back(gradient), None, None, None
