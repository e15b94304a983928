"""Soft attention: one query, many locations, weights that sum to one (paper, section 4.2).

Shape suffixes: B images, K queries of one image (its captions in training, its beams in search),
L locations, D feature dimension, M hidden size, A attention size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

_LIMIT = 40.0  # e to the power of twice this is still a float32, and so is its reciprocal
_AT_ONCE = 1 << 21  # numbers [b, K, L, A] at a time: blocks that stay in cache and are reused


class AdditiveAttention(nn.Module):
    """Bahdanau's additive score, e_i = v . tanh(W_a a_i + W_h h) (paper, equation 4).

    The keys W_a a_i depend on the image only: `keys` is called once an image, and every caption,
    beam and time step shares them through the batch dimension; nothing is copied. There is no
    bias on v, which would cancel in the softmax, and one bias inside the tanh, in W_a.

    No tanh is computed in the time loop. Since tanh(q + k) = 1 - 2 u / (u + E) with u = e^(-2q)
    and E = e^(2k), the exponentials are taken where they are few, of keys (`powers`, once an image)
    and queries, and what is left for each pair of the two is an addition and a division.

    Args:
        feature_dim: D.
        query_dim: M.
        attention_dim: A.
    """

    def __init__(self, *, feature_dim: int, query_dim: int, attention_dim: int) -> None:
        super().__init__()
        self.W_a = nn.Linear(feature_dim, attention_dim)
        self.W_h = nn.Linear(query_dim, attention_dim, bias=False)
        self.v = nn.Parameter(torch.empty(attention_dim).uniform_(-0.1, 0.1))

    def keys(self, features_BLD: torch.Tensor) -> torch.Tensor:
        """Project the annotations, once an image: [B, L, D] to [B, L, A]."""
        return F.linear(
            features_BLD, self.W_a.weight.to(features_BLD), self.W_a.bias.to(features_BLD)
        )


def powers(keys_BLA: torch.Tensor) -> torch.Tensor:
    """E = e^(2k) in float32 (at least), as `additive_weights` takes keys.

    Of at most e^80: a tanh of 40 is 1 to far more digits than a float32 has.
    """
    wide = torch.promote_types(keys_BLA.dtype, torch.float32)
    return torch.exp(2 * keys_BLA.to(wide).clamp(-_LIMIT, _LIMIT))


def additive_weights(
    query_BKA: torch.Tensor, powers_BLA: torch.Tensor, v_A: torch.Tensor
) -> torch.Tensor:
    """The weights alpha [B, K, L] for projected queries and the `powers` of keys.

    Everything here is in float32 (at least) whatever the precision of the products, so that a
    map sums to one. The scores lack sum_a v_a, which cancels in the softmax.
    """
    if torch.compiler.is_compiling():  # or exporting: it shall see the plain operations
        u_BKA = _reciprocal_powers(query_BKA, powers_BLA.dtype)
        scores_BKL = _scores(u_BKA, v_A, powers_BLA)
    else:
        scores_BKL = _Scores.apply(query_BKA, powers_BLA, v_A)
    return torch.softmax(scores_BKL, -1)


def _reciprocal_powers(query_BKA: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The powers u = e^(-2q)."""
    return torch.exp(-2 * query_BKA.to(dtype).clamp(-_LIMIT, _LIMIT))


def _scores(u_BKA: torch.Tensor, v_A: torch.Tensor, powers_BLA: torch.Tensor) -> torch.Tensor:
    """-2 sum_a v_a u_a / (u_a + E_a), [B, K, L]."""
    sums_BKLA = u_BKA.unsqueeze(2) + powers_BLA.unsqueeze(1)
    scaled_BKA = -2 * v_A.to(u_BKA) * u_BKA
    if sums_BKLA.requires_grad:
        return (scaled_BKA.unsqueeze(2) / sums_BKLA).sum(-1)
    return torch.div(scaled_BKA.unsqueeze(2), sums_BKLA, out=sums_BKLA).sum(-1)


class _Scores(torch.autograd.Function):
    """The scores; backward computes the quotients anew instead of keeping them.

    They are as many as B·K·L·A numbers in every time step: to write and to read them again takes
    as long as to compute them, and they would fill the memory.
    """

    @staticmethod
    def forward(
        ctx: Any, query_BKA: torch.Tensor, powers_BLA: torch.Tensor, v_A: torch.Tensor
    ) -> torch.Tensor:
        u_BKA = _reciprocal_powers(query_BKA, powers_BLA.dtype)
        ctx.save_for_backward(u_BKA, powers_BLA, v_A)
        ctx.dtype = query_BKA.dtype
        blocks = list(_blocks(u_BKA, powers_BLA))
        if len(blocks) == 1:
            return _scores(u_BKA, v_A, powers_BLA)
        return torch.cat([_scores(u, v_A, E) for u, E in blocks])

    @staticmethod
    def backward(
        ctx: Any, *gradients: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        (gradient_BKL,) = gradients
        u_BKA, powers_BLA, v_A = ctx.saved_tensors
        v = v_A.to(u_BKA)
        of_query, of_powers = torch.empty_like(u_BKA), torch.empty_like(powers_BLA)
        of_v = torch.zeros_like(v)
        start = 0
        for u, E in _blocks(u_BKA, powers_BLA):
            here = slice(start, start := start + len(u))
            # With r = u / (u + E), d tanh / dq = d tanh / dk = 4 r (1 - r).
            r = u.unsqueeze(2) + E.unsqueeze(1)
            torch.div(u.unsqueeze(2), r, out=r)
            g = r * gradient_BKL[here].unsqueeze(3)
            of_v += g.sum(2).sum((0, 1))
            g -= r.mul_(g)
            torch.sum(g, 2, out=of_query[here])
            torch.sum(g, 1, out=of_powers[here])
        of_query *= 4 * v
        of_powers *= 2 * v / powers_BLA  # dE = 2 E dk
        return of_query.to(ctx.dtype), of_powers, of_v.mul_(-2).to(v_A)


def _blocks(
    u_BKA: torch.Tensor, powers_BLA: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """A few images at a time."""
    (_, K, A), L = u_BKA.shape, powers_BLA.shape[1]
    images = max(1, _AT_ONCE // (K * L * A))
    return zip(u_BKA.split(images), powers_BLA.split(images), strict=True)
