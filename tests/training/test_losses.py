"""The training loss against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from showattend.model.decoders.protocol import Forced
from showattend.training.losses import captioning_loss

# Three tokens over four words; the probabilities are exact.
PROBABILITIES = [[0.5, 0.25, 0.125, 0.125], [0.25, 0.25, 0.25, 0.25], [0.1, 0.2, 0.3, 0.4]]
TARGETS = [0, 3, 2]
# The first image has captions of two targets and of one, the second image has none.
LENGTHS = torch.tensor([[2, 1], [0, 0]])
# What stands where no caption is must not count.
COVERAGE = torch.tensor([[[1.5, 0.5], [0.25, 0.75]], [[0.0, 0.0], [9.0, 9.0]]])
NLL = -(math.log(0.5) + math.log(0.25) + math.log(0.3))
# (1 - 1.5)^2 + (1 - 0.5)^2 = 0.5 and (1 - 0.25)^2 + (1 - 0.75)^2 = 0.625, over two captions.
PENALTY = (0.5 + 0.625) / 2


@pytest.fixture(params=["0", "1"], ids=["fast", "plain"], autouse=True)
def plain(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOWATTEND_PLAIN", request.param)


def forced(dtype: torch.dtype = torch.float64) -> Forced:
    # A constant added to the logits of a token changes nothing.
    logits = torch.tensor(PROBABILITIES, dtype=torch.float64).log() + torch.tensor(
        [[3.0], [0], [-7]]
    )
    return Forced(logits.to(dtype), torch.tensor(TARGETS), torch.tensor([0, 0, 1]), COVERAGE)


def test_the_parts_are_summed_over_a_caption_and_averaged_over_captions() -> None:
    loss = captioning_loss(forced(), LENGTHS, doubly_stochastic=0.0)
    assert loss.total.item() == pytest.approx(NLL / 2)
    assert loss.cross_entropy.item() == pytest.approx(NLL / 3)  # a token
    assert loss.penalty.item() == pytest.approx(PENALTY)  # reported even when it weighs nothing


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_the_doubly_stochastic_term_ignores_absent_captions(weight: float) -> None:
    loss = captioning_loss(forced(), LENGTHS, doubly_stochastic=weight)
    assert loss.total.item() == pytest.approx(NLL / 2 + weight * PENALTY)


def test_label_smoothing_spreads_probability_over_the_vocabulary() -> None:
    even = -sum(math.log(p) for row in PROBABILITIES for p in row) / 4
    loss = captioning_loss(forced(), LENGTHS, label_smoothing=0.1, doubly_stochastic=0.0)
    assert loss.total.item() == pytest.approx((0.9 * NLL + 0.1 * even) / 2)
    assert loss.cross_entropy.item() == pytest.approx(NLL / 3)  # what people read is not smoothed


def test_bf16_logits_are_normalised_in_float32() -> None:
    loss = captioning_loss(forced(torch.bfloat16), LENGTHS)
    assert loss.total.dtype == torch.float32
    assert loss.total.item() == pytest.approx(NLL / 2 + PENALTY, rel=2e-2)


def test_only_the_total_carries_a_gradient() -> None:
    given = forced()
    given.logits.requires_grad_(True)
    loss = captioning_loss(given, LENGTHS)
    assert loss.total.requires_grad
    assert not loss.cross_entropy.requires_grad
    assert not loss.penalty.requires_grad


def test_what_the_attention_adds_is_a_mean_of_the_captions_that_are_there() -> None:
    added = torch.tensor([[3.0, 5.0, 100.0]], dtype=torch.float64)  # the last is no caption
    lengths = torch.tensor([[2, 1, 0]])
    given = forced()._replace(coverage=None)
    before = captioning_loss(given, lengths)
    figures = {"hop_overlap": torch.tensor(2.0)}
    after = captioning_loss(given._replace(penalty=added, figures=figures), lengths)
    torch.testing.assert_close(after.total - before.total, torch.tensor(4.0).to(after.total))
    assert after.attention == figures
    assert before.attention == {}
