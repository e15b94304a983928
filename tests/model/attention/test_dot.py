"""The products' scores against their formulas: dot, scaled_dot, general."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from showattend.model.attention import build_attention

L = 5


def inputs(D: int, M: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(L, D, dtype=torch.float64), torch.randn(M, dtype=torch.float64)


@torch.no_grad()
def check(kind: str, D: int, M: int, score: Any) -> None:
    torch.manual_seed(0)
    attention = build_attention(kind, feature_dim=D, query_dim=M, attention_dim=4).double()
    a, h = inputs(D, M)
    attended = attention(h[None, None], attention.keys(a[None], (1, L)))
    e = [float(score(attention, h, a_i)) for a_i in a]
    total = sum(map(math.exp, e))
    alpha = torch.tensor([math.exp(each) / total for each in e], dtype=torch.float64)
    torch.testing.assert_close(attended.alpha[0, 0], alpha)
    wanted = sum(weight * a_i for weight, a_i in zip(alpha, a, strict=True))
    torch.testing.assert_close(attended.context[0, 0], wanted)


def test_dot_has_no_weights_where_sizes_agree() -> None:
    check("dot", 3, 3, lambda _, h, a: sum(x * y for x, y in zip(h, a, strict=True)))
    attention = build_attention("dot", feature_dim=3, query_dim=3, attention_dim=4)
    assert not list(attention.parameters())


def test_dot_makes_the_query_as_long_as_an_annotation() -> None:
    check("dot", 5, 3, lambda attention, h, a: (attention.W_h.weight @ h) @ a)


def test_scaled_dot() -> None:
    def score(attention: Any, h: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return (attention.W_h(h) @ attention.W_a(a)) / math.sqrt(4)

    check("scaled_dot", 5, 3, score)


def test_general() -> None:
    check("general", 5, 3, lambda attention, h, a: h @ attention.W_a.weight @ a)


@pytest.mark.parametrize("K", [1, 3])
def test_scaled_dot_is_torchs(K: int) -> None:
    torch.manual_seed(0)
    attention = build_attention("scaled_dot", feature_dim=5, query_dim=3, attention_dim=4)
    a, h = torch.randn(2, L, 5), torch.randn(2, K, 3)
    found = attention(h, attention.keys(a, (1, L))).context
    wanted = F.scaled_dot_product_attention(attention.W_h(h), attention.W_a(a), a)
    torch.testing.assert_close(found, wanted)
