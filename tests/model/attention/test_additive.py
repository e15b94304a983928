"""The additive score against its formula."""

from __future__ import annotations

import math

import torch

from showattend.model.attention import AdditiveAttention


@torch.no_grad()
def test_it_is_the_papers_formula() -> None:
    torch.manual_seed(0)
    attention = AdditiveAttention(feature_dim=3, query_dim=2, attention_dim=4).double()
    a, h = torch.randn(5, 3, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
    attended = attention(h[None, None], attention.keys(a[None], (1, 5)))
    e = [
        sum(
            float(v) * math.tanh(float(q + k))
            for v, q, k in zip(
                attention.v, attention.W_h.weight @ h, attention.W_a(a_i), strict=True
            )
        )
        for a_i in a
    ]
    total = sum(map(math.exp, e))
    alpha = [math.exp(each) / total for each in e]
    torch.testing.assert_close(attended.alpha[0, 0], torch.tensor(alpha, dtype=torch.float64))
    wanted = sum(weight * a_i for weight, a_i in zip(alpha, a, strict=True))
    torch.testing.assert_close(attended.context[0, 0], wanted)


def test_the_query_does_not_cancel_in_the_softmax() -> None:
    torch.manual_seed(0)
    attention = AdditiveAttention(feature_dim=3, query_dim=2, attention_dim=4)
    alpha = attention(
        torch.randn(1, 2, 2) * 3, attention.keys(torch.randn(1, 5, 3) * 3, (1, 5))
    ).alpha
    assert (alpha[0, 0] - alpha[0, 1]).abs().max() > 1e-3
