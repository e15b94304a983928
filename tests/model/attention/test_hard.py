"""Sampled locations: the estimator against the enumerated gradient, and the ways to less variance.

The decoder is the LSTM, so that this is the gradient of what is trained.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from showattend.model.attention.contract import build_attention
from showattend.model.attention.hard import HardChoice, spread_of
from showattend.model.decoders import LSTMDecoder
from showattend.model.decoders.protocol import Forced
from showattend.training.losses import captioning_loss

L, STEPS = 3, 2
WORDS = [4, 5, 2]


def decoder(**options: Any) -> LSTMDecoder:
    torch.manual_seed(0)
    model = LSTMDecoder(
        vocabulary_size=6,
        feature_dim=4,
        embedding_dim=3,
        hidden_dim=3,
        attention_dim=3,
        dropout=0.0,
        attention={"kind": "additive", "mode": "hard", "entropy": 0.0, **options},
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
        for part in (model.L_z, model.lstm_context, model.attention.W_a, model.attention.W_h):
            part.weight.mul_(3)
        model.attention.v.mul_(5)
    return model.train()


def image() -> torch.Tensor:
    return torch.randn(1, 1, L, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def steps_of(model: LSTMDecoder, places: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log p(y_t | s, a) [T] and alpha [T, L] of one choice of locations, by the equations."""
    memory = model.eval().memory(image())
    state = model.start(memory)
    said, alphas = [], []
    word = 1
    for place, target in zip(places, WORDS, strict=True):
        alpha = model.attention(state.h, memory.keys).alpha
        alphas.append(alpha[0, 0])
        beta = torch.sigmoid(model.f_beta(state.h))
        z = beta * memory.features[:, place : place + 1]
        Ey = model.embedding(torch.tensor([[word]]))
        h, c = model._lstm(Ey, state.h, state.c, z)
        state = type(state)(h, c, z)
        logits = model.L_o(Ey + model.L_h(h) + model.L_z(z))
        said.append(logits.log_softmax(-1)[0, 0, target])
        word = target
    return torch.stack(said), torch.stack(alphas)


def log_p_of(model: LSTMDecoder, places: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log p(y | s, a) and log p(s | a) of one choice of locations."""
    said, alphas = steps_of(model, places)
    return said.sum(), alphas[torch.arange(len(places)), list(places)].log().sum()


def gradient(model: LSTMDecoder, loss: torch.Tensor) -> torch.Tensor:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for p, g in zip(model.parameters(), found, strict=True)
        ]
    )


def attentions(model: LSTMDecoder) -> torch.Tensor:
    """Which numbers of a gradient are the attention's: those that only REINFORCE reaches."""
    return torch.cat(
        [
            torch.full((p.numel(),), name.startswith("attention."))
            for name, p in model.named_parameters()
        ]
    )


def enumerated(model: LSTMDecoder) -> torch.Tensor:
    """The gradient of sum_s p(s | a) log p(y | s, a)."""
    total = torch.zeros((), dtype=torch.float64)
    for places in itertools.product(range(L), repeat=len(WORDS)):
        said, chosen = log_p_of(model, places)
        total = total + chosen.exp() * said
    return gradient(model, total)


def sample(model: LSTMDecoder, count: int, baseline: float) -> tuple[Forced, torch.Tensor]:
    """So many samples: the same caption of the same image, with its lengths."""
    model.train()
    model.attention.hard.baseline.fill_(baseline)
    captions = torch.tensor([1, *WORDS]).expand(1, count, -1)
    lengths = torch.full((1, count), len(WORDS))
    return model(image(), captions, lengths), lengths


def estimate(model: LSTMDecoder, count: int, baseline: float) -> torch.Tensor:
    """The mean of the estimator over so many samples."""
    forced, lengths = sample(model, count, baseline)
    return gradient(model, -captioning_loss(forced, lengths, doubly_stochastic=0.0).total)


@pytest.mark.parametrize("baseline", [0.0, -1.5])
def test_the_estimators_mean_is_the_enumerated_gradient(baseline: float) -> None:
    model = decoder(sampled=1.0)
    exact, mine = enumerated(model), attentions(model)
    torch.manual_seed(1)
    found = torch.stack([estimate(model, 20_000, baseline) for _ in range(8)])
    mean, error = found.mean(0), found.std(0) / math.sqrt(len(found))
    for part in (mine, ~mine):
        # Of many numbers some lie a few standard errors off; all together must not.
        apart = (mean - exact)[part].norm()
        assert apart < 3 * error[part].norm()
        assert apart < 0.1 * exact[part].norm()


def test_without_reinforce_the_estimator_is_wrong() -> None:
    """The test above would see a term that is missing."""
    model = decoder(sampled=1.0, reward=0.0)
    exact, mine = enumerated(model), attentions(model)
    torch.manual_seed(1)
    apart = (estimate(model, 20_000, 0.0) - exact)[mine]
    assert apart.norm() > 0.5 * exact[mine].norm()


def test_a_baseline_lowers_the_variance() -> None:
    model = decoder(sampled=1.0)
    torch.manual_seed(1)
    a_word = float(log_p_of(model, (0, 1, 2))[0].detach()) / len(WORDS)
    spread = {
        b: torch.stack([estimate(model, 10, b) for _ in range(60)]).var(0).sum()
        for b in (5.0, a_word)
    }
    assert spread[a_word] < 0.5 * spread[5.0]


@torch.no_grad()
def enumerated_spread(model: LSTMDecoder, baseline: float) -> tuple[float, float]:
    """The variance of the gradient with respect to a step's scores, and its second moment."""
    mean, square = torch.zeros(len(WORDS), L).double(), torch.zeros(len(WORDS)).double()
    left = torch.arange(len(WORDS), 0, -1)
    for places in itertools.product(range(L), repeat=len(WORDS)):
        said, alphas = steps_of(model, places)
        onehot = torch.eye(L).double()[list(places)]
        p = alphas[onehot.bool()].prod()
        advantage = said.flip(0).cumsum(0).flip(0) - baseline * left
        g = advantage.unsqueeze(1) * (onehot - alphas)
        mean, square = mean + p * g, square + p * g.square().sum(1)
    return float((square - mean.square().sum(1)).mean()), float(square.mean())


@pytest.mark.parametrize(("captions", "batches"), [(40_000, 1), (20, 300)])
def test_the_logged_variance_is_the_enumerated_one(captions: int, batches: int) -> None:
    """In small batches too, on average: it has no bias."""
    model, baseline = decoder(sampled=1.0), -2.1
    variance, second_moment = enumerated_spread(model, baseline)
    assert variance < 0.96 * second_moment  # so that this test can tell them apart
    torch.manual_seed(1)
    logged = []
    with torch.no_grad():
        for _ in range(batches):
            figures = sample(model, captions, baseline)[0].figures
            assert figures is not None
            logged.append(figures)
    for name, wanted in (
        ("estimator_variance", variance),
        ("estimator_second_moment", second_moment),
    ):
        found = sum(float(each[name]) for each in logged) / batches
        assert found == pytest.approx(wanted, rel=0.025), name


def test_steps_whose_softmax_saturates_count() -> None:
    choice = HardChoice(sampled=1.0).double().train()
    alpha = torch.tensor([[[1.0, 0.0], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]]).double()
    torch.manual_seed(0)
    _, aside = choice(alpha, torch.ones(1, 1, 1, dtype=torch.bool))
    choice.baseline.fill_(0.0)
    said, real = torch.full((1, 4, 1), -2.0).double(), torch.ones(1, 4, 1, dtype=torch.bool)
    _, figures = choice.loss([aside], said, real)
    # ||g||^2 is 0 once and (-2)^2 (0.5^2 + 0.5^2) three times.
    assert float(figures["estimator_second_moment"]) == pytest.approx(3 * 2 / 4)
    gradients = -2 * aside[2][0]
    assert float(figures["estimator_variance"]) == pytest.approx(float(gradients.var(0).sum()))


def test_what_was_not_sampled_or_is_padding_has_no_part_in_the_variance() -> None:
    torch.manual_seed(0)
    gradients = torch.randn(4, 3, 5, 6)
    counts = torch.rand(4, 3, 5) < 0.6
    variance, second_moment = spread_of(torch.where(counts.unsqueeze(3), gradients, 1e6), counts)
    found = [gradients[:, :, t][counts[:, :, t]] for t in range(5)]
    apart = sum(float(each.var(0).sum()) * (len(each) - 1) for each in found)
    assert float(variance) == pytest.approx(apart / sum(len(each) - 1 for each in found))
    assert float(second_moment) == pytest.approx(float(gradients[counts].square().sum(1).mean()))
    nothing = spread_of(gradients, torch.zeros(4, 3, 5, dtype=torch.bool))
    assert [float(each) for each in nothing] == [0, 0]


def test_some_images_are_sampled_and_the_others_are_soft() -> None:
    torch.manual_seed(0)
    choice = HardChoice(sampled=0.5).train()
    is_sampled = choice.draw_images(torch.zeros(1000, 1, 1))
    assert 400 < int(is_sampled.sum()) < 600
    alpha = torch.rand(1000, 2, 5).softmax(-1)
    weights, (log_prob, entropy, slope, was_sampled) = choice(alpha, is_sampled)
    sampled = is_sampled.view(-1)
    assert (weights[sampled].max(-1).values == 1).all()
    assert (weights[sampled].sum(-1) == 1).all()
    torch.testing.assert_close(weights[~sampled], alpha[~sampled])
    place = weights.argmax(-1, keepdim=True)
    torch.testing.assert_close(log_prob[sampled], alpha.log().gather(2, place).squeeze(2)[sampled])
    assert (log_prob[~sampled] == 0).all()
    assert torch.equal(was_sampled, is_sampled.view(-1, 1).expand(-1, 2))
    torch.testing.assert_close(entropy, -(alpha * alpha.log()).sum(-1))
    torch.testing.assert_close(slope[sampled], (weights - alpha)[sampled])


def test_locations_are_drawn_by_their_weights() -> None:
    torch.manual_seed(0)
    alpha = torch.tensor([0.7, 0.2, 0.1]).expand(1, 20_000, 3)
    weights, _ = HardChoice()(alpha, torch.ones(1, 1, 1, dtype=torch.bool))
    torch.testing.assert_close(weights.mean((0, 1)), alpha[0, 0], atol=0.02, rtol=0)


def test_captions_are_made_with_the_expectation() -> None:
    hard = build_attention(
        "additive", feature_dim=3, query_dim=2, attention_dim=4, mode="hard"
    ).eval()
    soft = build_attention("additive", feature_dim=3, query_dim=2, attention_dim=4)
    soft.load_state_dict(hard.state_dict())  # the baseline is no hindrance, either way
    hard.load_state_dict(soft.state_dict())
    a, h = torch.randn(2, 6, 3), torch.randn(2, 3, 2)
    found, wanted = hard(h, hard.keys(a, (2, 3))), soft(h, soft.keys(a, (2, 3)))
    torch.testing.assert_close(found.context, wanted.context)
    torch.testing.assert_close(found.alpha, wanted.alpha)
    assert found.aside is None


def test_the_terms_are_of_real_steps_and_the_baseline_follows() -> None:
    choice = HardChoice(reward=2.0, entropy=0.5).double().train()
    log_prob = torch.tensor([[[-1.0, -2.0], [-3.0, 0.0]]]).double()
    entropy = torch.tensor([[[0.1, 0.2], [0.3, 9.0]]]).double()
    slope = torch.rand(1, 2, 2, 4).double()
    sampled = torch.ones(1, 2, dtype=torch.bool)
    said = torch.tensor([[[-1.0, -3.0], [-2.0, -7.0]]]).double()
    real = torch.tensor([[[True, True], [True, False]]])
    asides = [(log_prob[..., t], entropy[..., t], slope[:, :, t], sampled) for t in range(2)]
    penalty, figures = choice.loss(asides, said, real)
    b = (-1 - 3 - 2) / 3  # the first batch's own
    first = -2 * ((-4 - 2 * b) * -1.0 + (-3 - b) * -2.0) - 0.5 * 0.3
    second = -2 * (-2 - b) * -3.0 - 0.5 * 0.3
    torch.testing.assert_close(penalty, torch.tensor([[first, second]]).double())
    squared = slope.square().sum(3)[0]
    squares = [(-4 - 2 * b) ** 2 * squared[0, 0], (-3 - b) ** 2 * squared[0, 1]]
    squares.append((-2 - b) ** 2 * squared[1, 0])
    wanted = 4 * float(sum(squares)) / 3
    assert float(figures["estimator_second_moment"]) == pytest.approx(wanted)
    assert float(choice.baseline) == pytest.approx(b)
    choice.loss(asides, said - 1, real)
    assert float(choice.baseline) == pytest.approx(0.9 * b + 0.1 * (b - 1))
    choice.eval().loss(asides, said, real)
    assert float(choice.baseline) == pytest.approx(0.9 * b + 0.1 * (b - 1))
