"""Gradients of tensors that all time steps read, computed once instead of in every step.

In every step, autograd writes a gradient for the whole tensor, with zeros for the images that the
step did not need, and then adds these gradients up. Annotations and keys are the largest tensors of
the decoder, so it is cheaper to add into one tensor in place (`SharedSum`), or to keep the two
small factors of each step's gradient and multiply them once (`SharedContext`).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch


class _Gathers(Protocol):
    """Collects the steps' contributions to a gradient.

    It must not refer to the handle. The autograd graph refers to this object, and the cycle would
    keep the largest tensors in memory until Python's garbage collector runs.
    """

    def take(self) -> torch.Tensor | None: ...


class _Sum:
    def __init__(self, factor: torch.Tensor) -> None:
        self.factor = factor
        self.total: torch.Tensor | None = None

    def take(self) -> torch.Tensor | None:
        total, self.total = self.total, None
        return None if total is None else total.mul_(self.factor)


class _Factors:
    def __init__(self, images: int) -> None:
        self.images = images
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def take(self) -> torch.Tensor | None:
        """Return the sum over all steps of alpha^T dz [B, L, D], in one product per image."""
        if not self.seen:
            return None
        rows = sum(alpha.shape[1] for alpha, _ in self.seen)
        alphas, gradients = (
            torch.zeros(self.images, rows, part.shape[2], dtype=part.dtype, device=part.device)
            for part in self.seen[0]
        )
        start = 0
        for alpha, gradient in self.seen:
            (b, k), here = alpha.shape[:2], start
            start += k
            alphas[:b, here:start], gradients[:b, here:start] = alpha, gradient
        self.seen.clear()
        return torch.bmm(alphas.transpose(1, 2), gradients)


class SharedSum:
    """A tensor [B, ...] for whose gradient all steps add to one sum in place.

    Args:
        tensor: The tensor.
        factor: The tensor's gradient is the sum times this, [B, ...].

    Attributes:
        value: The tensor for steps to read, detached from autograd.
        handle: The tensor for steps to take as an input, so that autograd waits for them.
    """

    def __init__(self, tensor: torch.Tensor, *, factor: torch.Tensor) -> None:
        self.value, self._sum = tensor.detach(), _Sum(factor)
        self.handle = _Collect.apply(self._sum, tensor)

    def leading(self, images: int) -> torch.Tensor:
        """Return the sum for the leading images, [B', ...], for a step to add to in place."""
        if self._sum.total is None:
            self._sum.total = torch.zeros_like(self.value)
        return self._sum.total[:images]


class SharedContext:
    """Annotations [B, L, D] from which each step takes weighted sums for the leading images.

    Args:
        features_BLD: The annotations.

    Attributes:
        value: The annotations for steps to read, detached from autograd.
        handle: The annotations for steps to take as an input, so that autograd waits for them; None
            if they need no gradient.
    """

    def __init__(self, features_BLD: torch.Tensor) -> None:
        self.value, self._factors = features_BLD.detach(), _Factors(len(features_BLD))
        self.handle = None
        if features_BLD.requires_grad:
            self.handle = _Collect.apply(self._factors, features_BLD)

    def __call__(self, alpha_BKL: torch.Tensor) -> torch.Tensor:
        """Compute the sums [b, K, D] for weights [b, K, L] of the b leading images."""
        features = self.value[: len(alpha_BKL)]
        if self.handle is None:
            return torch.bmm(alpha_BKL, features)
        return _Context.apply(self._factors, alpha_BKL, features, self.handle)


class _Collect(torch.autograd.Function):
    """Passes a tensor on to all steps; its backward pass runs when all of theirs are done."""

    @staticmethod
    def forward(ctx: Any, gathers: _Gathers, tensor: torch.Tensor) -> torch.Tensor:
        ctx.gathers = gathers
        ctx.set_materialize_grads(False)
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[None, torch.Tensor | None]:
        (gradient,) = gradients  # from code that used the handle as a tensor
        taken = ctx.gathers.take()
        if gradient is None or taken is None:
            return None, gradient if taken is None else taken
        return None, gradient + taken


class _Context(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        factors: _Factors,
        alpha_BKL: torch.Tensor,
        features_BLD: torch.Tensor,
        handle: torch.Tensor,  # noqa: ARG004, an input only for autograd's graph
    ) -> torch.Tensor:
        ctx.factors = factors
        ctx.save_for_backward(alpha_BKL, features_BLD)
        return torch.bmm(alpha_BKL, features_BLD)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor, None, None]:
        (gradient_BKD,) = gradients
        alpha_BKL, features_BLD = ctx.saved_tensors
        ctx.factors.seen.append((alpha_BKL, gradient_BKD))
        return None, torch.bmm(gradient_BKD, features_BLD.transpose(1, 2)), None, None
