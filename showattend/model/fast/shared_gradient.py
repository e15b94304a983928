"""What every time step reads of the images, its gradient made once instead of in every step.

Autograd writes a gradient for the whole of what a step read, zeros included where the step needed
the leading images only, and adds these up step by step. Annotations and keys are the largest
tensors there are here, and a step has little to say of each: it is cheaper to add into one tensor
(`SharedSum`), or to keep the two small factors of each step and multiply once (`SharedContext`).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch


class _Gathers(Protocol):
    """Where the steps leave what they know. It must not know the handle: the graph that keeps it
    would keep itself, and with it the step's largest tensors, until Python looks for cycles.
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
        """The sum over all steps of alpha^T dz: one product an image."""
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
    """A tensor [B, ...] whose steps add to one sum, in place.

    Args:
        tensor: The tensor.
        factor: What the sum is to be multiplied by to be the tensor's gradient.

    Attributes:
        value: The tensor, for a step to read; autograd knows nothing of it.
        handle: The tensor, for a step to name as its input, so that autograd waits for it.
    """

    def __init__(self, tensor: torch.Tensor, *, factor: torch.Tensor) -> None:
        self.value, self._sum = tensor.detach(), _Sum(factor)
        self.handle = _Collect.apply(self._sum, tensor)

    def leading(self, images: int) -> torch.Tensor:
        """The sum's part for the leading images, for a step to add to."""
        if self._sum.total is None:
            self._sum.total = torch.zeros_like(self.value)
        return self._sum.total[:images]


class SharedContext:
    """Annotations [B, L, D], whose steps each take weighted sums alpha a of the leading images.

    Attributes:
        value: The annotations, for a step to read; autograd knows nothing of them.
    """

    def __init__(self, features_BLD: torch.Tensor) -> None:
        self.value, self._factors = features_BLD.detach(), _Factors(len(features_BLD))
        self.handle = None
        if features_BLD.requires_grad:
            self.handle = _Collect.apply(self._factors, features_BLD)

    def __call__(self, alpha_BKL: torch.Tensor) -> torch.Tensor:
        """The sums [b, K, D] for weights [b, K, L] of the b leading images."""
        features = self.value[: len(alpha_BKL)]
        if self.handle is None:
            return torch.bmm(alpha_BKL, features)
        return _Context.apply(self._factors, alpha_BKL, features, self.handle)


class _Collect(torch.autograd.Function):
    """Stands before every step: autograd comes back to it when all of them are done."""

    @staticmethod
    def forward(ctx: Any, gathers: _Gathers, tensor: torch.Tensor) -> torch.Tensor:
        ctx.gathers = gathers
        ctx.set_materialize_grads(False)
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[None, torch.Tensor | None]:
        (gradient,) = gradients  # of whoever has used the handle as a tensor
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
        handle: torch.Tensor,  # noqa: ARG004, only so that autograd comes back to it
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
