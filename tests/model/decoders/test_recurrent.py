"""Luong's decoder and the up-down decoder against literal transcriptions, with any attention."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from showattend.decoding.beam import search
from showattend.decoding.forced import force
from showattend.model.attention import ATTENTIONS
from showattend.model.decoders.luong import LuongDecoder
from showattend.model.decoders.recurrent import Recurrent
from showattend.model.decoders.updown import UpDownDecoder
from showattend.model.search_options import SearchOptions
from showattend.training.losses import captioning_loss
from tests.rounding import tolerance

from .literal import additive, sigmoid, softmax
from .test_transformer import CAPTIONS, END, GRID, START, D, V, batch

KINDS = {"luong": LuongDecoder, "updown": UpDownDecoder}
E, M = 4, 5


def make(kind: str, std: float | None = None, **settings: object) -> Recurrent:
    torch.manual_seed(3)
    decoder = KINDS[kind](
        vocabulary_size=V,
        feature_dim=D,
        **{"embedding_dim": E, "hidden_dim": M, "attention_dim": 7, "dropout": 0.0, **settings},
    ).double()
    if std is not None:
        for parameter in decoder.parameters():
            torch.nn.init.normal_(parameter, std=std)
    return decoder


def lstm(p: dict, name: str, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor):  # type: ignore[no-untyped-def,type-arg]
    gates = p[f"{name}.W_x.weight"] @ x + p[f"{name}.W_x.bias"] + p[f"{name}.W_h.weight"] @ h
    i, f, g, o = (gates[n * M : (n + 1) * M] for n in range(4))
    c = sigmoid(f) * c + sigmoid(i) * torch.tanh(g)
    return sigmoid(o) * torch.tanh(c), c


def literal(  # type: ignore[no-untyped-def]
    decoder: Recurrent, a: torch.Tensor, words: list[int], look: Any = additive
):
    """Every log-probability, and the maps [T, L], of words from <start> to <end>; a is [L, D]."""
    p = dict(decoder.named_parameters())
    if decoder.projection is not None:
        rows = [p["projection.weight"] @ a_i + p["projection.bias"] for a_i in a]
        a = torch.stack([row.clamp(min=0) for row in rows])
    mean = sum(a_i for a_i in a) / len(a)
    zero = torch.zeros(M, dtype=a.dtype)
    log_p, maps = [], []
    if isinstance(decoder, LuongDecoder):
        both = torch.tanh(p["initial.weight"] @ mean + p["initial.bias"])
        h, c, fed = both[:M], both[M:], zero
    else:
        h1, c1, h2, c2 = zero, zero, zero, zero
    for previous, word in pairwise(words):
        Ey = p["embedding.weight"][previous]
        if isinstance(decoder, LuongDecoder):
            h, c = lstm(p, "lstm", torch.cat([Ey, fed]), h, c)
            alpha, context = look(p, a, h)
            fed = torch.tanh(p["W_c.weight"] @ torch.cat([context, h]))
            hidden = fed
        else:
            h1, c1 = lstm(p, "lstm_1", torch.cat([h2, mean, Ey]), h1, c1)
            alpha, context = look(p, a, h1)
            h2, c2 = lstm(p, "lstm_2", torch.cat([context, h1]), h2, c2)
            hidden = h2
        scores = p["output.weight"] @ hidden + p["output.bias"]
        log_p.append(torch.log(softmax(scores)[word]))
        maps.append(alpha)
    return torch.stack(log_p), None if maps[0] is None else torch.stack(maps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("projection_dim", [0, 9])
def test_loss_and_gradients_agree_with_the_literal_transcription(
    kind: str, projection_dim: int
) -> None:
    decoder = make(kind, std=0.5, projection_dim=projection_dim).train()
    features, captions, lengths = batch()
    features.requires_grad_(True)
    losses = []
    for b, each in enumerate(CAPTIONS):
        for words in each:
            log_p, maps = literal(decoder, features[b].flatten(0, 1), [START, *words, END])
            losses.append(((1 - maps.sum(0)) ** 2).sum() - log_p.sum())
    expected = sum(losses) / len(losses)
    parameters = [*decoder.parameters(), features]
    wanted = torch.autograd.grad(expected, parameters)
    loss = captioning_loss(decoder(features, captions, lengths), lengths).total
    assert abs((loss - expected).item()) < 1e-9
    for mine, other in zip(torch.autograd.grad(loss, parameters), wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_agree_with_the_literal_transcription(kind: str) -> None:
    decoder = make(kind, std=0.5).eval()
    features, _, _ = batch()
    words = CAPTIONS[0][0]
    found = force(decoder, features[:1], words)
    log_p, maps = literal(decoder, features[0].flatten(0, 1), [START, *words, END])
    assert found.log_probs == pytest.approx(log_p.tolist(), abs=1e-9)
    torch.testing.assert_close(found.alpha.double(), maps[:-1], rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "attention",
    [
        *({"kind": kind} for kind in ATTENTIONS),
        {"kind": "additive", "sentinel": True},
        {"kind": "scaled_dot", "mode": "hard", "sampled": 1.0},
    ],
    ids=lambda section: " ".join(map(str, section.values())),
)
def test_every_attention_goes_with_it(kind: str, attention: dict[str, object]) -> None:
    decoder = make(kind, std=0.5, attention=attention, attention_dim=8).eval()
    features = torch.randn(3, *GRID, D, dtype=torch.float64, generator=torch.manual_seed(1))
    for row, found in enumerate(search(decoder, features, SearchOptions(beam_size=3, n_best=3))):
        for each in found:
            again = force(decoder, features[row : row + 1], each.words)
            length = len(each.log_probs)
            assert again.log_probs[:length] == pytest.approx(each.log_probs, abs=1e-5)
            if each.alpha is not None:
                torch.testing.assert_close(again.alpha, each.alpha, rtol=0, atol=1e-6)
            assert (each.sentinel is not None) == ("sentinel" in attention)
            if each.parts is not None:
                assert each.parts.shape[1] == len(decoder.part_names)
    _, captions, lengths = batch()
    loss = captioning_loss(decoder.train()(features[:2], captions, lengths), lengths).total
    loss.backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", ["dropout", "embedding_dropout", "feature_dropout"])
def test_dropout_acts_in_training_only(kind: str, option: str) -> None:
    decoder = make(kind, **{option: 0.5})
    features, captions, lengths = batch()
    plain = make(kind)(features, captions, lengths).logits
    torch.testing.assert_close(decoder.eval()(features, captions, lengths).logits, plain)
    assert not torch.allclose(decoder.train()(features, captions, lengths).logits, plain)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("projection_dim", [0, 9])
def test_weights_say_what_features_they_are_for(kind: str, projection_dim: int) -> None:
    decoder = make(kind, projection_dim=projection_dim)
    assert decoder.feature_dim_of(decoder.state_dict()) == D
    wider = decoder.with_more_features(decoder.state_dict(), 3)
    assert (wider is None) == (projection_dim == 0)
    if wider is not None:
        assert decoder.feature_dim_of(wider) == D + 3


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_is_close_to_the_reference(kind: str) -> None:
    decoder = make(kind, std=0.5).eval()
    features, _, _ = batch()
    words = CAPTIONS[0][0]

    def log_probs(model: torch.nn.Module) -> torch.Tensor:
        return torch.tensor(force(model, features[:1], words).log_probs)

    reference, bound = log_probs(decoder), tolerance(decoder, log_probs)
    assert bound < reference.std()  # else it would allow any
    rounded = force(decoder.float(), features[:1].bfloat16(), words)
    torch.testing.assert_close(torch.tensor(rounded.log_probs), reference, rtol=0, atol=bound)
