"""Several hops, and the penalty on those that look alike."""

from __future__ import annotations

import math

import pytest
import torch

from showattend.model.attention import build_attention
from showattend.model.attention.multi_hop import overlap


@torch.no_grad()
def test_it_is_lins_formula() -> None:
    torch.manual_seed(0)
    P, L, D = 3, 5, 4
    attention = build_attention(
        "multi_hop", feature_dim=D, query_dim=2, attention_dim=6, hops=P
    ).double()
    a, h = torch.randn(L, D).double(), torch.randn(2).double()
    found = attention(h[None, None], attention.keys(a[None], (1, L)))
    contexts = []
    for p in range(P):
        e = []
        for a_i in a:
            inside = attention.W_a(a_i) + attention.W_h(h)
            terms = zip(attention.V[p], inside, strict=True)
            e.append(sum(float(v) * math.tanh(float(x)) for v, x in terms))
        alpha = torch.tensor(e, dtype=torch.float64).softmax(0)
        torch.testing.assert_close(found.parts[0, 0, p], alpha)
        contexts.append(sum(weight * a_i for weight, a_i in zip(alpha, a, strict=True)))
    torch.testing.assert_close(found.context[0, 0], attention.W_o(torch.cat(contexts)))
    torch.testing.assert_close(found.alpha, found.parts.mean(2))


def test_the_penalty_is_the_squared_frobenius_norm() -> None:
    torch.manual_seed(0)
    A = torch.rand(2, 3, 4, 7).softmax(-1)
    found = overlap(A)
    for b in range(2):
        for k in range(3):
            product = A[b, k] @ A[b, k].T
            wanted = 0.0
            for i in range(4):
                for j in range(4):
                    wanted += (float(product[i, j]) - float(i == j)) ** 2
            assert float(found[b, k]) == pytest.approx(wanted, rel=1e-5)
    assert float(overlap(torch.eye(7)[None, None, :4])) == 0  # four hops, each at its own place


def test_the_loss_is_of_real_steps_and_weighted() -> None:
    torch.manual_seed(0)
    attention = build_attention(
        "multi_hop", feature_dim=4, query_dim=2, attention_dim=6, hop_penalty=0.3
    ).train()
    keys = attention.keys(torch.randn(1, 5, 4), (1, 5))
    steps = [attention(torch.randn(1, 2, 2), keys) for _ in range(3)]
    real = torch.tensor([[[True, True, True], [True, False, False]]])
    penalty, figures = attention.loss([s.aside for s in steps], torch.zeros(1, 2, 3), real)
    each = torch.stack([overlap(s.parts) for s in steps], 2)[0]
    torch.testing.assert_close(penalty[0, 0], 0.3 * each[0].sum())
    torch.testing.assert_close(penalty[0, 1], 0.3 * each[1, 0])
    torch.testing.assert_close(figures["hop_overlap"], (each[0].sum() + each[1, 0]) / 4)
    assert penalty.requires_grad
    assert not figures["hop_overlap"].requires_grad
    assert attention.eval()(torch.randn(1, 2, 2), keys).aside is None
