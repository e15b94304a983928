"""The Transformer, transcribed literally: one caption, one word and one head at a time, loops.

Slow on purpose. It reads the weights by name, shares nothing, and computes every word of the
caption again for every word that follows.
"""

from __future__ import annotations

import math

import torch

from .literal import softmax

Weights = dict[str, torch.Tensor]


def linear(p: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    return p[f"{name}.weight"] @ x + p[f"{name}.bias"]


def norm(p: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean()
    scaled = centred / torch.sqrt((centred**2).mean() + 1e-5)
    return p[f"{name}.weight"] * scaled + p[f"{name}.bias"]


def position(p: float, width: int) -> torch.Tensor:
    """Section 3.5."""
    angles = [p / 10000 ** (2 * i / width) for i in range(width // 2)]
    return torch.tensor([f(a) for a in angles for f in (math.sin, math.cos)], dtype=torch.float64)


def multi_head(
    p: Weights, name: str, heads: int, x: torch.Tensor, others: list[torch.Tensor]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Sections 3.2.1 and 3.2.2 for one query: the output, and the weights of each head."""
    q = linear(p, f"{name}.W_Q", x)
    k = [p[f"{name}.W_K.weight"] @ y for y in others]
    v = [linear(p, f"{name}.W_V", y) for y in others]
    d = len(q) // heads
    outputs, weights = [], []
    for j in range(heads):
        part = slice(j * d, (j + 1) * d)
        alpha = softmax(torch.stack([q[part] @ each[part] / math.sqrt(d) for each in k]))
        outputs.append(sum(a * each[part] for a, each in zip(alpha, v, strict=True)))
        weights.append(alpha)
    return linear(p, f"{name}.W_O", torch.cat(outputs)), weights


def annotations(p: Weights, f: torch.Tensor) -> list[torch.Tensor]:
    """a_i of features [H, W, D]: projected, normalised, with the place in the image."""
    M, (H, W) = len(p["W_a.bias"]), f.shape[:2]
    return [
        norm(p, "norm_a", linear(p, "W_a", f[row, column]))
        + torch.cat(
            [position(14 * (row + 0.5) / H, M // 2), position(14 * (column + 0.5) / W, M // 2)]
        )
        for row in range(H)
        for column in range(W)
    ]


def read(
    p: Weights, heads: int, f: torch.Tensor, words: list[int], causal: bool
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Of each word: the log-probabilities at its place, and the maps [layers * heads, L]."""
    a, M = annotations(p, f), len(p["W_a.bias"])
    x = [
        p["embedding.weight"][word] * math.sqrt(M) + position(t, M) for t, word in enumerate(words)
    ]
    maps: list[list[torch.Tensor]] = [[] for _ in words]
    layers = 1 + max(int(name.split(".")[1]) for name in p if name.startswith("layers."))
    for n in range(layers):
        at = f"layers.{n}"
        normed = [norm(p, f"{at}.norm_1", each) for each in x]
        new = []
        for t, each in enumerate(x):
            seen = normed[: t + 1] if causal else normed
            said, _ = multi_head(p, f"{at}.attention", heads, normed[t], seen)
            each = each + said
            looked, weights = multi_head(
                p, f"{at}.cross_attention", heads, norm(p, f"{at}.norm_2", each), a
            )
            each = each + looked
            inner = linear(p, f"{at}.feedforward.W_1", norm(p, f"{at}.norm_3", each))
            new.append(each + linear(p, f"{at}.feedforward.W_2", inner.clamp(min=0)))
            maps[t] += weights
        x = new
    scores = [linear(p, "L_o", norm(p, "norm", each)) for each in x]
    return [torch.log(softmax(each)) for each in scores], [torch.stack(each) for each in maps]
