"""The contract, for every kind of attention there is, soft, hard and with a sentinel."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from showattend.config import AttentionConfig, to_dict
from showattend.exceptions import ConfigError
from showattend.model.attention import ATTENTIONS, Attended, Attention, build_attention
from showattend.model.kinds import all_options, options_of

D, M, A = 6, 4, 8
GRID = (4, 3)
L = 12

SECTIONS: list[dict[str, Any]] = [
    {"kind": kind} | extra
    for kind, cls in ATTENTIONS.items()
    for extra in ({}, {"mode": "hard"}, {"sentinel": True})
    if set(extra) <= set(options_of(cls))
]


def name_of(section: dict[str, Any]) -> str:
    return "-".join(str(value) for value in section.values())


def make(section: dict[str, Any]) -> Attention:
    torch.manual_seed(0)
    return build_attention(section, feature_dim=D, query_dim=M, attention_dim=A).eval()


@pytest.fixture(params=SECTIONS, ids=name_of)
def attention(request: pytest.FixtureRequest) -> Attention:
    return make(request.param)


def look(
    attention: Attention, query: torch.Tensor, features: torch.Tensor, grid: tuple[int, int] = GRID
) -> Attended:
    generator = torch.Generator().manual_seed(5)
    last = torch.rand(*query.shape[:2], features.shape[1], generator=generator).to(query)
    given = query.tanh() if attention.section.get("sentinel") else None
    return attention(query, attention.keys(features, grid), last / last.sum(2, keepdim=True), given)


def test_weights_are_a_distribution_over_locations(attention: Attention) -> None:
    features, query = torch.randn(2, L, D), torch.randn(2, 3, M)
    assert all(len(part) == 2 for part in attention.keys(features, GRID))
    for training in (False, True):
        attended = look(attention.train(training), query, features)
        assert attended.context.shape == (2, 3, D)
        names = attention.part_names
        for maps, shape in (
            (attended.alpha, (2, 3, L)),
            (attended.parts, (2, 3, len(names), L)),
        ):
            if maps is None:
                continue
            assert maps.shape == shape
            assert (maps >= 0).all()
            torch.testing.assert_close(maps.sum(-1), torch.ones(shape[:-1]))
        assert (attended.alpha is None) == (attention.section["kind"] == "none")
        hard = attention.section.get("mode") == "hard"  # its parts are sampled for display
        assert (attended.parts is None) == (hard or not names)
        if attention.section.get("sentinel"):
            assert attended.sentinel.shape == (2, 3)
            assert ((attended.sentinel > 0) & (attended.sentinel < 1)).all()
        else:
            assert attended.sentinel is None


def test_images_and_queries_do_not_mix(attention: Attention) -> None:
    features, query = torch.randn(2, L, D), torch.randn(2, 3, M)
    last = torch.rand(2, 3, L)
    given = query.tanh() if attention.section.get("sentinel") else None
    together = attention(query, attention.keys(features, GRID), last, given)
    for b in range(2):
        for k in range(3):
            one = (slice(b, b + 1), slice(k, k + 1))
            alone = attention(
                query[one],
                attention.keys(features[b : b + 1], GRID),
                last[one],
                None if given is None else given[one],
            )
            for mine, theirs in zip(alone, together, strict=True):
                if mine is not None:
                    torch.testing.assert_close(mine[0, 0], theirs[b, k])


def test_low_precision_gives_float32_weights(attention: Attention) -> None:
    features, query = torch.randn(1, 100, D).bfloat16(), torch.randn(1, 1, M).bfloat16()
    attended = look(attention, query, features, (10, 10))
    assert attended.context.dtype == torch.bfloat16
    for maps in (attended.alpha, attended.parts):
        if maps is not None:
            assert maps.dtype == torch.float32
            torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))


def test_gradients_reach_every_parameter(attention: Attention) -> None:
    features = torch.randn(2, L, D, requires_grad=True)
    attended = look(attention, torch.randn(2, 3, M), features)
    (attended.context**2).sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    assert features.grad.abs().max() > 0


def test_gradients_are_those_of_differences(attention: Attention) -> None:
    attention.double()
    features = torch.randn(1, L, D, dtype=torch.float64, requires_grad=True)
    query = torch.randn(1, 2, M, dtype=torch.float64, requires_grad=True)

    def outputs(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        attended = look(attention, *inputs)
        found = (attended.context, attended.alpha, attended.parts, attended.sentinel)
        return tuple(each for each in found if each is not None)

    assert torch.autograd.gradcheck(outputs, (query, features))


@pytest.mark.parametrize("grid", [(1, 1), (2, 7), (9, 5)])
def test_another_grid_than_before_will_do(attention: Attention, grid: tuple[int, int]) -> None:
    attention(torch.randn(1, 1, M), attention.keys(torch.randn(1, L, D), GRID), None, _zero(1, 1))
    count = grid[0] * grid[1]
    keys = attention.keys(torch.randn(2, count, D), grid)
    attended = attention(torch.randn(2, 3, M), keys, None, _zero(2, 3))
    if attended.alpha is not None:
        assert attended.alpha.shape == (2, 3, count)
        torch.testing.assert_close(attended.alpha.sum(-1), torch.ones(2, 3))


def _zero(B: int, K: int) -> torch.Tensor:
    return torch.zeros(B, K, M)


def test_its_section_builds_it_again(attention: Attention) -> None:
    again = make(attention.section)
    again.load_state_dict(attention.state_dict())
    query, features = torch.randn(2, 3, M), torch.randn(2, L, D)
    torch.testing.assert_close(
        look(again, query, features).context, look(attention, query, features).context
    )


def test_no_attention_is_the_mean() -> None:
    features = torch.randn(2, L, D)
    found = look(make({"kind": "none"}), torch.randn(2, 3, M), features).context
    for k in range(3):
        torch.testing.assert_close(found[:, k], features.mean(1))


def test_another_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"kind is 'psychic'; it must be one of additive"):
        make({"kind": "psychic"})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": "dot", "hops": 2}, r"hops is 2, which attention.kind dot does not take; leave"),
        (
            {"kind": "multi_head", "mode": "hard"},
            r"mode is 'hard'.*each head has its own.*additive",
        ),
        ({"kind": "location", "sentinel": True}, r"sentinel is True.*scores places"),
        ({"kind": "none", "mode": "hard"}, "no softmax to sample"),
        ({"kind": "additive", "mode": "hard", "sentinel": True}, "use one of the two"),
        ({"kind": "additive", "mode": "firm"}, "'firm'; it must be one of soft, hard"),
        ({"kind": "additive", "sampled": 0.4}, "attention.sampled.*attention.mode hard"),
        ({"kind": "additive", "mode": "hard", "sampled": 2}, "sampled is 2; it must be from 0 to"),
        ({"kind": "multi_head", "heads": 3}, "heads is 3; it must divide decoder.attention_dim"),
        ({"kind": "multi_hop", "hops": 0}, "hops is 0; it must be from 1"),
        ({"kind": "multi_hop", "hop_penalty": -1.0}, "hop_penalty is -1.0; it must be 0 or more"),
        ({"kind": "hierarchical", "regions": 0}, "regions is 0; it must be from 1"),
        ({"kind": "location", "grid": 0}, "grid is 0; it must be from 1"),
        ({"kind": "convolution", "kernel": 4}, "kernel is 4; it must be an odd number"),
        ({"kind": "convolution", "filters": 0}, "filters is 0; it must be from 1"),
        ({"kind": "dot", "colour": 2}, "attention.colour: no such option; known: mode, sentinel"),
    ],
)
def test_what_means_nothing_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(section)


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_a_config_has_the_options_of_its_kind(kind: str) -> None:
    options = options_of(ATTENTIONS[kind])
    defaults = {name: declared.default for name, declared in options.items()}
    assert to_dict(AttentionConfig(kind)) == {"kind": kind} | defaults
    assert make({"kind": kind} | defaults).section == {"kind": kind}


def test_the_defaults_of_other_kinds_are_no_hindrance() -> None:
    """Configs and models of before have the options of all kinds."""
    every = {name: declared.default for name, declared in all_options(ATTENTIONS).items()}
    assert len(every) == 12
    for kind in ATTENTIONS:
        assert make({"kind": kind} | every).section == {"kind": kind}
        assert AttentionConfig(kind, **every) == AttentionConfig(kind)
