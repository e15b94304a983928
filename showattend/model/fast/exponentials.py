"""Additive attention without a tanh in the time loop.

`AdditiveAttention` scores e_i = v . tanh(W_a a_i + W_h h). Since tanh(q + k) = 1 - 2 u / (u + E)
with u = e^(-2q) and E = e^(2k), exponentials are needed only for the keys (`powers`, once per
image) and the queries. Each pair of a key and a query then needs one addition and one division.

Shape suffixes: B images, K queries of one image (its captions in training, its beams in search),
L locations, A attention size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from showattend.model.fast.shared_gradient import SharedSum

_LIMIT = 40.0  # e^80 and its reciprocal still fit in float32
_AT_ONCE = 1 << 20  # numbers [b, K, L, A] at a time, so that a block stays in the CPU's cache


def powers(keys_BLA: torch.Tensor) -> torch.Tensor:
    """Compute E = e^(2k) [B, L, A] in at least float32, as `additive_weights` needs it.

    k is clamped to 40 in magnitude: in float32, tanh(40) is exactly 1.
    """
    wide = torch.promote_types(keys_BLA.dtype, torch.float32)
    return torch.exp(2 * keys_BLA.to(wide).clamp(-_LIMIT, _LIMIT))


class Kernels(NamedTuple):
    """The two loops over all pairs of a query and a key; training may compile them."""

    scores: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    """Map u [B, K, A], v [A] and E [B, L, A] to -2 sum_a v_a u_a / (u_a + E_a), [B, K, L]."""

    gradients: Callable[
        [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
        tuple[torch.Tensor, torch.Tensor],
    ]
    """Compute sums with r = u / (u + E) from u, E, the scores' gradient g [B, K, L], and a tensor
    [B, L, A]. Returns the sum of g r over all axes but A, [A], and of g r (1 - r) over locations,
    [B, K, A]; adds the sum of g r (1 - r) over queries to the given tensor."""


def additive_weights(
    query_BKA: torch.Tensor,
    powers_BLA: torch.Tensor,
    v_A: torch.Tensor,
    *,
    shared: SharedSum | None = None,
    kernels: Kernels | None = None,
) -> torch.Tensor:
    """Compute the weights alpha [B, K, L] from projected queries and the `powers` of keys.

    The computation is in at least float32, whatever the precision of the products, so that each map
    sums to one. The scores omit sum_a v_a, which cancels in the softmax.

    Args:
        query_BKA: q = W_h h.
        powers_BLA: E = e^(2k).
        v_A: v.
        shared: `share_powers` of all images' powers, if many steps share them and gradients are
            needed; ``powers_BLA`` is then the leading part of its value.
        kernels: The functions for the loops; None for the default ones.

    Returns:
        alpha [B, K, L].
    """
    if torch.compiler.is_compiling():  # compilers and exporters need the plain operations
        if shared is not None:
            powers_BLA = shared.handle[: len(powers_BLA)]
        u_BKA = _reciprocal_powers(query_BKA, powers_BLA.dtype)
        scores_BKL = plain_scores(u_BKA, v_A, powers_BLA)
    else:
        handle = None if shared is None else shared.handle
        scores_BKL = _Scores.apply(query_BKA, powers_BLA, v_A, handle, shared, kernels or _EAGER)
    return torch.softmax(scores_BKL, -1)


def share_powers(powers_BLA: torch.Tensor, v_A: torch.Tensor) -> SharedSum:
    """Share powers [B, L, A] among steps, which add up sum_k g r (1 - r) for their gradient."""
    return SharedSum(powers_BLA, factor=_of_powers(powers_BLA.detach(), v_A.detach()))


def _of_powers(powers_BLA: torch.Tensor, v_A: torch.Tensor) -> torch.Tensor:
    """Return the factor [B, L, A] from sum_k g r (1 - r) to the gradient of the powers."""
    return 2 * v_A.to(powers_BLA) / powers_BLA


def _reciprocal_powers(query_BKA: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Compute the powers u = e^(-2q), [B, K, A]."""
    return torch.exp(-2 * query_BKA.to(dtype).clamp(-_LIMIT, _LIMIT))


def plain_scores(u_BKA: torch.Tensor, v_A: torch.Tensor, powers_BLA: torch.Tensor) -> torch.Tensor:
    """Compute `Kernels.scores` in a form for a compiler."""
    scaled_BKA = -2 * v_A.to(u_BKA) * u_BKA
    return (scaled_BKA.unsqueeze(2) / (u_BKA.unsqueeze(2) + powers_BLA.unsqueeze(1))).sum(-1)


def plain_gradients(
    u_BKA: torch.Tensor,
    powers_BLA: torch.Tensor,
    gradient_BKL: torch.Tensor,
    over_k_BLA: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute `Kernels.gradients` in a form for a compiler."""
    u_BK1A = u_BKA.unsqueeze(2)
    r_BKLA = u_BK1A / (u_BK1A + powers_BLA.unsqueeze(1))
    gr_BKLA = gradient_BKL.unsqueeze(3) * r_BKLA
    w_BKLA = gr_BKLA - gr_BKLA * r_BKLA
    over_k_BLA.add_(w_BKLA.sum(1))
    return gr_BKLA.sum(2).sum((0, 1)), w_BKLA.sum(2)


def _scores(u_BKA: torch.Tensor, v_A: torch.Tensor, powers_BLA: torch.Tensor) -> torch.Tensor:
    """Compute `Kernels.scores` for a few images at a time, in blocks that stay in the cache."""
    scores_BKL = u_BKA.new_empty(*u_BKA.shape[:2], powers_BLA.shape[1])
    scaled_BKA, room = -2 * v_A.to(u_BKA) * u_BKA, None
    for u, E, scaled, scores in _blocks(u_BKA, powers_BLA, scaled_BKA, scores_BKL):
        if room is None:
            room = u.new_empty(*scores.shape, u.shape[2])
        r = room[: len(u)]
        torch.add(u.unsqueeze(2), E.unsqueeze(1), out=r)
        torch.div(scaled.unsqueeze(2), r, out=r)
        torch.sum(r, -1, out=scores)
    return scores_BKL


def _gradients(
    u_BKA: torch.Tensor,
    powers_BLA: torch.Tensor,
    gradient_BKL: torch.Tensor,
    over_k_BLA: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute `Kernels.gradients` in the same way.

    The quotients are recomputed: there are B·K·L·A of them in every time step, so that storing and
    reading them would take as long as computing them, and would fill the memory.
    """
    of_v, over_l_BKA = u_BKA.new_zeros(u_BKA.shape[2]), torch.empty_like(u_BKA)
    room = None
    for u, E, g, over_k, over_l in _blocks(u_BKA, powers_BLA, gradient_BKL, over_k_BLA, over_l_BKA):
        if room is None:
            room = u.new_empty(2, *g.shape, len(of_v))
        r, w = room[:, : len(u)]
        torch.add(u.unsqueeze(2), E.unsqueeze(1), out=r)
        torch.div(u.unsqueeze(2), r, out=r)
        of_v += (g.reshape(1, -1) @ r.flatten(0, 2)).squeeze(0)
        # r (1 - r) is the derivative of a sigmoid, which PyTorch multiplies in one pass.
        torch.ops.aten.sigmoid_backward(g.unsqueeze(3).expand_as(r), r, grad_input=w)
        torch.sum(w, 2, out=over_l)
        over_k += w.sum(1)
    return of_v, over_l_BKA


_EAGER = Kernels(_scores, _gradients)


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query_BKA: torch.Tensor,
        powers_BLA: torch.Tensor,
        v_A: torch.Tensor,
        handle: torch.Tensor | None,  # noqa: ARG004, an input only for autograd's graph
        shared: SharedSum | None,
        kernels: Kernels,
    ) -> torch.Tensor:
        u_BKA = _reciprocal_powers(query_BKA, powers_BLA.dtype)
        ctx.save_for_backward(u_BKA, powers_BLA, v_A)
        ctx.dtype, ctx.shared, ctx.kernels = query_BKA.dtype, shared, kernels
        return kernels.scores(u_BKA, v_A, powers_BLA)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient_BKL,) = gradients
        u_BKA, powers_BLA, v_A = ctx.saved_tensors
        v = v_A.to(u_BKA)
        alone = ctx.shared is None
        over_k_BLA = torch.zeros_like(powers_BLA) if alone else ctx.shared.leading(len(powers_BLA))
        of_v, over_l_BKA = ctx.kernels.gradients(u_BKA, powers_BLA, gradient_BKL, over_k_BLA)
        # d tanh / dq = d tanh / dk = 4 r (1 - r), and dE = 2 E dk.
        of_query = (over_l_BKA * (4 * v)).to(ctx.dtype)
        of_powers = over_k_BLA * _of_powers(powers_BLA, v) if alone else None
        return of_query, of_powers, of_v.mul(-2).to(v_A), None, None, None


def _blocks(
    u_BKA: torch.Tensor, powers_BLA: torch.Tensor, *others: torch.Tensor
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Split every tensor into blocks of a few images."""
    (_, K, A), L = u_BKA.shape, powers_BLA.shape[1]
    at_once = _AT_ONCE if u_BKA.device.type == "cpu" else _AT_ONCE << 6
    images = max(1, at_once // max(1, K * L * A))
    return zip(*(each.split(images) for each in (u_BKA, powers_BLA, *others)), strict=True)
