"""A linear map used at every time step, with a single product for the gradient of its weight.

For a recurrence, autograd computes a small product and a pass over the whole weight matrix in every
time step, to add up the weight's gradient. Here every step keeps its input and its output's
gradient, and one product over all steps computes the weight's gradient at the end. That is faster,
and avoids rounding between steps in low precision.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

Seen = list[tuple[torch.Tensor, torch.Tensor]]


class SharedProduct:
    """x -> x W^T + b, to be called many times within one autograd graph.

    In float32 on a CPU, oneDNN computes the products, from a copy of the weights made once. PyTorch
    would use MKL, which on AMD processors takes up to twice as long for a few dozen rows or for the
    width of a vocabulary. (In bfloat16, PyTorch uses oneDNN as well.)

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
        self.copies: tuple[torch.Tensor, torch.Tensor | None] | None = None
        self.turned: torch.Tensor | None = None  # transposed weights, made by the first `back`
        if (
            weight.device.type == "cpu"
            and weight.dtype == torch.float32
            and torch.backends.mkldnn.is_available()
            and not torch.compiler.is_compiling()
        ):
            self.copies = weight.to_mkldnn(), None if bias is None else bias.to_mkldnn()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        # Compilers and exporters need the plain operation.
        if self.copies is None or not x.numel() or torch.compiler.is_compiling():
            # Without `contiguous`, PyTorch would compute a batch of small products.
            return F.linear(x.contiguous(), self.weight, self.bias)
        return F.linear(x.contiguous().to_mkldnn(), *self.copies).to_dense()

    def back(self, gradient: torch.Tensor) -> torch.Tensor:
        """Compute the gradient of x [..., in] from that of the output [..., out]."""
        if self.copies is None or not gradient.numel() or torch.compiler.is_compiling():
            return gradient @ self.weight
        if self.turned is None:
            self.turned = self.weight.T.contiguous().to_mkldnn()
        return F.linear(gradient.contiguous().to_mkldnn(), self.turned).to_dense()


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
