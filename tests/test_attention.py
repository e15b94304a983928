"""The additive score."""

from __future__ import annotations

import torch

from showattend.attention import AdditiveAttention, additive_weights


def test_weights_are_a_distribution_over_locations() -> None:
    torch.manual_seed(0)
    weights = additive_weights(torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.randn(4))
    assert weights.shape == (2, 3, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3))


def test_softmax_is_float32_whatever_the_products() -> None:
    low = additive_weights(
        torch.randn(1, 1, 4).bfloat16(),
        torch.randn(1, 100, 4).bfloat16(),
        torch.randn(4).bfloat16(),
    )
    assert low.dtype == torch.float32
    torch.testing.assert_close(low.sum(-1), torch.ones(1, 1))


def test_attends_where_a_key_answers_the_query() -> None:
    """With v = 1 and strong keys, the location whose key is largest wins."""
    keys = torch.full((1, 3, 4), -2.0)
    keys[0, 1] = 2.0
    weights = additive_weights(torch.zeros(1, 1, 4), keys, torch.full((4,), 5.0))
    assert weights.argmax(-1).item() == 1
    assert weights.max() > 0.99


def test_keys_have_the_precision_of_the_features() -> None:
    attention = AdditiveAttention(feature_dim=6, query_dim=3, attention_dim=4)
    features = torch.randn(2, 5, 6)
    assert attention.keys(features.bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(attention.keys(features), attention.W_a(features))
