"""Every kind of attention, transcribed literally: one query, one location at a time.

Each function gets the decoder's weights by name, the annotations a [L, D] as rows of their grid,
the query h [M] and the weights of the word before [L]; it returns the weights [L], None where the
kind has none, and the context [D].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from .literal import softmax

Weights = dict[str, torch.Tensor]
Looked = tuple[torch.Tensor | None, torch.Tensor]
Look = Callable[[Weights, torch.Tensor, torch.Tensor], Looked]

REGIONS, HEADS, HOPS, SIDE = 2, 2, 3, 2
OPTIONS: dict[str, dict[str, int]] = {
    "hierarchical": {"regions": REGIONS},
    "multi_head": {"heads": HEADS},
    "multi_hop": {"hops": HOPS},
    "convolution": {"filters": 2, "kernel": 3},
    "location": {"grid": SIDE},
}
"""Options of the kinds, small ones."""


def w(p: Weights, name: str) -> torch.Tensor:
    return p[f"attention.{name}"]


def linear(p: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    y = w(p, f"{name}.weight") @ x
    return y + w(p, f"{name}.bias") if f"attention.{name}.bias" in p else y


def mixture(alpha: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    z = torch.zeros_like(a[0])
    for alpha_i, a_i in zip(alpha, a, strict=True):
        z = z + alpha_i * a_i
    return z


def by_scores(
    score: Callable[[Weights, torch.Tensor, torch.Tensor], torch.Tensor],
) -> Callable[..., Looked]:
    """A kind with one score for each location."""

    def look(p: Weights, a: torch.Tensor, h: torch.Tensor, *_: object) -> Looked:
        alpha = softmax(torch.stack([score(p, a_i, h) for a_i in a]))
        return alpha, mixture(alpha, a)

    return look


def additive(p: Weights, a_i: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    return w(p, "v") @ torch.tanh(linear(p, "W_a", a_i) + linear(p, "W_h", h))


def dot(p: Weights, a_i: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    return linear(p, "W_h", h) @ a_i


def general(p: Weights, a_i: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    return h @ linear(p, "W_a", a_i)


def scaled_dot(p: Weights, a_i: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    key = linear(p, "W_a", a_i)
    return linear(p, "W_h", h) @ key / math.sqrt(len(key))


def fixed(_: Weights, a: torch.Tensor, *__: object) -> Looked:
    return None, mixture(torch.full((len(a),), 1 / len(a), dtype=a.dtype), a)


def location(
    p: Weights, a: torch.Tensor, h: torch.Tensor, grid: tuple[int, int], *_: object
) -> Looked:
    """Rows of W at the cells' centres, by bilinear interpolation between those of its own grid."""
    (H, W), rows = grid, w(p, "W")  # [M, G, G]
    G = rows.shape[1]

    def between(index: int, count: int) -> tuple[int, int, float]:
        place = min(max((index + 0.5) * G / count - 0.5, 0.0), G - 1.0)
        low = int(place)
        return low, min(low + 1, G - 1), place - low

    e = []
    for i in range(H):
        for j in range(W):
            top, bottom, down = between(i, H)
            left, right, across = between(j, W)
            upper = (1 - across) * rows[:, top, left] + across * rows[:, top, right]
            lower = (1 - across) * rows[:, bottom, left] + across * rows[:, bottom, right]
            e.append(h @ ((1 - down) * upper + down * lower))
    alpha = softmax(torch.stack(e))
    return alpha, mixture(alpha, a)


def convolution(
    p: Weights, a: torch.Tensor, h: torch.Tensor, grid: tuple[int, int], last: torch.Tensor
) -> Looked:
    (H, W), kernels = grid, w(p, "F.weight")[:, 0]  # [C, k, k]
    reach = kernels.shape[1] // 2
    e = []
    for i in range(H):
        for j in range(W):
            f = torch.zeros(len(kernels), dtype=a.dtype)
            for y in range(-reach, reach + 1):
                for x in range(-reach, reach + 1):
                    if 0 <= i + y < H and 0 <= j + x < W:
                        f = f + kernels[:, y + reach, x + reach] * last[(i + y) * W + j + x]
            inner = linear(p, "W_a", a[i * W + j]) + linear(p, "W_h", h) + linear(p, "U", f)
            e.append(w(p, "v") @ torch.tanh(inner))
    alpha = softmax(torch.stack(e))
    return alpha, mixture(alpha, a)


def multi_head(p: Weights, a: torch.Tensor, h: torch.Tensor, *_: object) -> Looked:
    q = linear(p, "W_q", h).chunk(HEADS)
    k = [linear(p, "W_k", a_i).chunk(HEADS) for a_i in a]
    v = [linear(p, "W_v", a_i).chunk(HEADS) for a_i in a]
    maps, contexts = [], []
    for head in range(HEADS):
        scores = [q[head] @ each[head] / math.sqrt(len(q[head])) for each in k]
        maps.append(softmax(torch.stack(scores)))
        contexts.append(mixture(maps[-1], torch.stack([each[head] for each in v])))
    return sum(maps) / HEADS, linear(p, "W_o", torch.cat(contexts))


def multi_hop(p: Weights, a: torch.Tensor, h: torch.Tensor, *_: object) -> Looked:
    hidden = [torch.tanh(linear(p, "W_a", a_i) + linear(p, "W_h", h)) for a_i in a]
    maps = [softmax(torch.stack([row @ each for each in hidden])) for row in w(p, "V")]
    return sum(maps) / HOPS, linear(p, "W_o", torch.cat([mixture(each, a) for each in maps]))


def hierarchical(
    p: Weights, a: torch.Tensor, h: torch.Tensor, grid: tuple[int, int], *_: object
) -> Looked:
    H, W = grid
    cells: dict[tuple[int, int], list[int]] = {}
    for i in range(H):
        for j in range(W):
            region = (i * min(REGIONS, H) // H, j * min(REGIONS, W) // W)
            cells.setdefault(region, []).append(i * W + j)
    within, scores = [], []
    for inside in cells.values():
        e = [w(p, "v") @ torch.tanh(linear(p, "W_a", a[i]) + linear(p, "W_h", h)) for i in inside]
        within.append(softmax(torch.stack(e)))
        rho = mixture(within[-1], a[inside])
        scores.append(w(p, "u") @ torch.tanh(linear(p, "W_r", rho) + linear(p, "W_g", h)))
    alpha: list[torch.Tensor] = [torch.zeros((), dtype=a.dtype)] * len(a)
    for beta, share, inside in zip(
        softmax(torch.stack(scores)), within, cells.values(), strict=True
    ):
        for i, weight in zip(inside, share, strict=True):
            alpha[i] = beta * weight
    return torch.stack(alpha), mixture(torch.stack(alpha), a)


LOOKS: dict[str, Callable[..., Looked]] = {
    "additive": by_scores(additive),
    "dot": by_scores(dot),
    "general": by_scores(general),
    "scaled_dot": by_scores(scaled_dot),
    "location": location,
    "convolution": convolution,
    "multi_head": multi_head,
    "multi_hop": multi_hop,
    "hierarchical": hierarchical,
    "none": fixed,
}


def looking(kind: str, grid: tuple[int, int]) -> Look:
    """The kind's function for one caption, which remembers the weights of the word before."""
    last = [torch.full((grid[0] * grid[1],), 1 / (grid[0] * grid[1]), dtype=torch.float64)]

    def look(p: Weights, a: torch.Tensor, h: torch.Tensor) -> Looked:
        alpha, z = LOOKS[kind](p, a, h, grid, last[0])
        if alpha is not None:
            last[0] = alpha
        return alpha, z

    return look
