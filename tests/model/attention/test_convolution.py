"""The additive score with the last weights convolved, against loops."""

from __future__ import annotations

import math

import torch

from showattend.model.attention import build_attention


@torch.no_grad()
def test_it_is_chorowskis_formula() -> None:
    torch.manual_seed(0)
    H, W, C, k = 3, 4, 2, 3
    attention = build_attention(
        "convolution", feature_dim=5, query_dim=3, attention_dim=4, filters=C, kernel=k
    ).double()
    a = torch.randn(H * W, 5, dtype=torch.float64)
    h = torch.randn(3, dtype=torch.float64)
    last = torch.rand(H * W, dtype=torch.float64)
    found = attention(h[None, None], attention.keys(a[None], (H, W)), last[None, None])
    e = []
    for row in range(H):
        for column in range(W):
            f = [0.0] * C
            for c in range(C):
                for i in range(k):
                    for j in range(k):
                        y, x = row + i - k // 2, column + j - k // 2
                        if 0 <= y < H and 0 <= x < W:
                            f[c] += float(attention.F.weight[c, 0, i, j] * last[y * W + x])
            inside = (
                attention.W_a(a[row * W + column])
                + attention.W_h(h)
                + attention.U(torch.tensor(f, dtype=torch.float64))
            )
            e.append(
                sum(
                    float(v) * math.tanh(float(x)) for v, x in zip(attention.v, inside, strict=True)
                )
            )
    wanted = torch.tensor(e, dtype=torch.float64).softmax(0)
    torch.testing.assert_close(found.alpha[0, 0], wanted)


def test_before_the_first_step_it_looked_everywhere_alike() -> None:
    torch.manual_seed(0)
    attention = build_attention("convolution", feature_dim=5, query_dim=3, attention_dim=4)
    keys, h = attention.keys(torch.randn(2, 6, 5), (2, 3)), torch.randn(2, 1, 3)
    even = attention(h, keys, torch.full((2, 1, 6), 1 / 6)).alpha
    torch.testing.assert_close(attention(h, keys).alpha, even)
    other = attention(h, keys, torch.eye(6)[:2].unsqueeze(1)).alpha
    assert (other - even).abs().max() > 1e-3
