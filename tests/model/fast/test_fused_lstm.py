"""The fast decoder is its plain twin: values and gradients, in every form and precision."""

from __future__ import annotations

import itertools

import pytest
import torch

from showattend.config import AttentionConfig, DecoderConfig
from showattend.decoding.beam import search
from showattend.model.build import build_decoder
from showattend.model.decoders.decoder_options import ATTEND_WITH, GATES
from showattend.model.decoders.lstm import LSTMDecoder
from showattend.model.fast.fused_lstm import FusedLSTMDecoder
from showattend.model.search_options import SearchOptions
from showattend.training.losses import captioning_loss

SIZES = {
    "vocabulary_size": 13, "feature_dim": 6, "embedding_dim": 5, "hidden_dim": 8,
    "attention_dim": 7, "dropout": 0.0,
}  # fmt: skip


def twins(**changes: object) -> tuple[LSTMDecoder, FusedLSTMDecoder]:
    torch.manual_seed(0)
    plain = LSTMDecoder(**SIZES | changes)
    fast = FusedLSTMDecoder(**SIZES | changes)
    for parameter in plain.parameters():  # far from uniform, so that a wrong map shows
        torch.nn.init.normal_(parameter, std=0.5)
    fast.load_state_dict(plain.state_dict())
    return plain, fast


def batch(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(5, 9, 6, generator=generator).to(dtype)
    captions = torch.randint(4, 13, (5, 3, 9), generator=generator)
    lengths = torch.randint(0, 8, (5, 3), generator=generator)
    lengths[0, 0] = 8
    return features, captions, lengths


def loss_and_gradients(
    decoder: LSTMDecoder, dtype: torch.dtype
) -> tuple[float, list[torch.Tensor]]:
    features, captions, lengths = batch(dtype)
    features.requires_grad_(True)
    forced = decoder.train()(features, captions, lengths)
    loss = captioning_loss(forced, lengths, label_smoothing=0.1, doubly_stochastic=0.3).total
    wanted = [*decoder.parameters(), features]
    return float(loss.detach()), list(torch.autograd.grad(loss, wanted))


FORMS = list(itertools.product(GATES, ATTEND_WITH, [0, 10]))


@pytest.mark.parametrize(("gate", "attend_with", "projection_dim"), FORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_losses_and_gradients_are_the_same(
    gate: str, attend_with: str, projection_dim: int, dtype: torch.dtype
) -> None:
    plain, fast = twins(gate=gate, attend_with=attend_with, projection_dim=projection_dim)
    if dtype == torch.float64:
        plain, fast = plain.double(), fast.double()
    (one, wanted), (other, found) = (loss_and_gradients(each, dtype) for each in (plain, fast))
    # bf16 rounds each product to 8 bits, here some dozen one after another.
    rounding = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2**-8 * 12}[dtype]
    assert other == pytest.approx(one, rel=rounding)
    scale = max(float(each.abs().max()) for each in wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        assert float((mine - theirs).abs().max()) <= rounding * scale


@pytest.mark.parametrize(("gate", "attend_with", "projection_dim"), FORMS)
def test_search_finds_the_same_captions_and_maps(
    gate: str, attend_with: str, projection_dim: int
) -> None:
    plain, fast = twins(gate=gate, attend_with=attend_with, projection_dim=projection_dim)
    features, options = batch(torch.float32)[0], SearchOptions(beam_size=3, n_best=3, max_length=6)
    for one, other in zip(
        search(plain.eval(), features, options), search(fast.eval(), features, options), strict=True
    ):
        assert [each.words for each in one] == [each.words for each in other]
        for mine, theirs in zip(other, one, strict=True):
            assert mine.log_probs == pytest.approx(theirs.log_probs, abs=1e-4)
            torch.testing.assert_close(mine.alpha, theirs.alpha, atol=1e-5, rtol=0)
            assert (mine.beta is None) == (theirs.beta is None) == (gate == "none")


def test_one_switch_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    config, sizes = DecoderConfig(), {"vocabulary_size": 9, "feature_dim": 4}
    assert type(build_decoder(config, AttentionConfig(), **sizes)) is FusedLSTMDecoder
    monkeypatch.setenv("SHOWATTEND_PLAIN", "1")
    assert type(build_decoder(config, AttentionConfig(), **sizes)) is LSTMDecoder
    monkeypatch.setenv("SHOWATTEND_PLAIN", "0")
    assert type(build_decoder(config, AttentionConfig(), **sizes)) is FusedLSTMDecoder
