"""The contract, for every kind of attention there is."""

from __future__ import annotations

import pytest
import torch

from showattend.exceptions import ConfigError
from showattend.model.attention import ATTENTIONS, Attention, build_attention

D, M, A = 6, 4, 5


@pytest.fixture(params=ATTENTIONS)
def attention(request: pytest.FixtureRequest) -> Attention:
    torch.manual_seed(0)
    return build_attention(request.param, feature_dim=D, query_dim=M, attention_dim=A)


def test_weights_are_a_distribution_over_locations(attention: Attention) -> None:
    keys = attention.keys(torch.randn(2, 9, D), (3, 3))
    assert all(len(part) == 2 for part in keys)
    attended = attention(torch.randn(2, 3, M), keys)
    assert attended.context.shape == (2, 3, D)
    assert attended.alpha.shape == (2, 3, 9)
    assert (attended.alpha >= 0).all()
    torch.testing.assert_close(attended.alpha.sum(-1), torch.ones(2, 3))


def test_images_and_queries_do_not_mix(attention: Attention) -> None:
    features, query = torch.randn(2, 9, D), torch.randn(2, 3, M)
    together = attention(query, attention.keys(features, (3, 3)))
    for b in range(2):
        for k in range(3):
            alone = attention(
                query[b : b + 1, k : k + 1], attention.keys(features[b : b + 1], (3, 3))
            )
            torch.testing.assert_close(alone.context[0, 0], together.context[b, k])


def test_low_precision_gives_float32_weights(attention: Attention) -> None:
    keys = attention.keys(torch.randn(1, 100, D).bfloat16(), (10, 10))
    attended = attention(torch.randn(1, 1, M).bfloat16(), keys)
    assert attended.context.dtype == torch.bfloat16
    assert attended.alpha.dtype == torch.float32
    torch.testing.assert_close(attended.alpha.sum(-1), torch.ones(1, 1))


def test_gradients_reach_every_parameter(attention: Attention) -> None:
    features = torch.randn(2, 9, D, requires_grad=True)
    attended = attention(torch.randn(2, 3, M), attention.keys(features, (3, 3)))
    (attended.context**2).sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    assert features.grad.abs().max() > 0


def test_another_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"kind is 'psychic'; it must be one of additive"):
        build_attention("psychic", feature_dim=D, query_dim=M, attention_dim=A)
