"""Self-attention over the grid: against its literal transcription, and in front of any decoder."""

from __future__ import annotations

import copy

import pytest
import torch

from showattend.decoding.beam import search
from showattend.decoding.forced import force
from showattend.exceptions import ConfigError
from showattend.model.decoders.lstm import LSTMDecoder
from showattend.model.decoders.protocol import favour_rare_words, sharpen
from showattend.model.decoders.refined import GridSelfAttention, RefinedDecoder, innermost
from showattend.model.fast.fused_lstm import FusedLSTMDecoder
from showattend.model.search_options import SearchOptions
from showattend.training.losses import captioning_loss

from .literal_transformer import annotations, linear, multi_head, norm
from .test_transformer import GRID, D, V, batch

WIDTH, HEADS, LAYERS = 8, 2, 2


def over_grid(std: float | None = 0.4, dropout: float = 0.0) -> GridSelfAttention:
    torch.manual_seed(4)
    refine = GridSelfAttention(
        feature_dim=D, layers=LAYERS, width=WIDTH, heads=HEADS, dropout=dropout
    ).double()
    if std is not None:
        for parameter in refine.parameters():
            torch.nn.init.normal_(parameter, std=std)
    return refine


def make(cls: type[LSTMDecoder] = FusedLSTMDecoder) -> RefinedDecoder:
    torch.manual_seed(5)
    decoder = cls(
        vocabulary_size=V, feature_dim=WIDTH, embedding_dim=4, hidden_dim=3, attention_dim=7,
        dropout=0.0,
    ).double()  # fmt: skip
    return RefinedDecoder(over_grid(), decoder)


def test_the_layers_agree_with_the_literal_transcription() -> None:
    refine = over_grid()
    features, _, _ = batch()
    found, maps = refine.look(features)
    p = dict(refine.named_parameters())
    for b in range(len(features)):
        x = annotations(p, features[b])
        for n in range(LAYERS):
            at = f"layers.{n}"
            normed = [norm(p, f"{at}.norm_1", each) for each in x]
            new = []
            for i, each in enumerate(x):
                seen, weights = multi_head(p, f"{at}.attention", HEADS, normed[i], normed)
                each = each + seen
                inner = linear(p, f"{at}.feedforward.W_1", norm(p, f"{at}.norm_2", each))
                new.append(each + linear(p, f"{at}.feedforward.W_2", inner.clamp(min=0)))
                for j, weight in enumerate(weights):
                    wanted = maps[b, n * HEADS + j, i]
                    torch.testing.assert_close(wanted, weight, rtol=0, atol=1e-9)
            x = new
        wanted = torch.stack([norm(p, "norm", each) for each in x])
        torch.testing.assert_close(found[b].flatten(0, 1), wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("cls", [LSTMDecoder, FusedLSTMDecoder])
def test_it_is_the_decoder_on_refined_annotations(cls: type[LSTMDecoder]) -> None:
    decoder = make(cls).train()
    features, captions, lengths = batch()
    refined = decoder.refine(features)
    assert refined.shape == (2, *GRID, WIDTH)
    loss = captioning_loss(decoder(features, captions, lengths), lengths).total
    wanted = captioning_loss(decoder.decoder(refined, captions, lengths), lengths).total
    torch.testing.assert_close(loss, wanted, rtol=0, atol=1e-12)
    loss.backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-12, name
    decoder.eval()
    for row, found in enumerate(search(decoder, features, SearchOptions(beam_size=3))):
        wanted = search(decoder.decoder, refined[row : row + 1], SearchOptions(beam_size=3))[0]
        assert found[0].words == wanted[0].words
        forced = force(decoder, features[row : row + 1], found[0].words)
        known = len(found[0].log_probs)
        assert forced.log_probs[:known] == pytest.approx(found[0].log_probs, abs=1e-5)


def test_what_acts_on_a_decoder_acts_on_the_one_within() -> None:
    decoder = make()
    before = decoder.output.weight.clone()
    sharpen(decoder, 2.0)
    favour_rare_words(decoder, torch.arange(V), 0.5)
    torch.testing.assert_close(decoder.decoder.L_o.weight, before / 2)
    assert innermost(decoder) is decoder.decoder
    assert innermost(decoder.decoder) is decoder.decoder
    assert decoder.embedding is decoder.decoder.embedding
    twin = copy.deepcopy(decoder)
    assert twin.output.weight is not decoder.output.weight
    assert not hasattr(decoder, "fill")
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = decoder.nothing_like_it


def test_dropout_acts_in_training_only() -> None:
    features, _, _ = batch()
    refine = over_grid(dropout=0.5)
    wanted = over_grid()(features)
    torch.testing.assert_close(refine.eval()(features), wanted)
    assert not torch.allclose(refine.train()(features), wanted)


def test_weights_say_what_features_they_are_for() -> None:
    decoder = make()
    weights = decoder.state_dict()
    assert decoder.feature_dim == decoder.feature_dim_of(weights) == D
    wider = decoder.with_more_features(weights, 3)
    assert wider is not None
    assert decoder.feature_dim_of(wider) == D + 3
    assert decoder.sizes["encoder.self_attention"] == LAYERS
    assert "encoder.self_attention_dropout" not in decoder.sizes


def test_a_width_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"encoder\.self_attention_dim is 10"):
        GridSelfAttention(feature_dim=D, layers=1, width=10, heads=2, dropout=0.0)
