"""Every recurrent decoder with every attention, against literal transcriptions of both."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from showattend.model.attention import ATTENTIONS
from showattend.model.decoders import DECODERS
from showattend.model.decoders.lstm import LSTMDecoder
from showattend.training.losses import captioning_loss

from .literal import caption_loss
from .literal_attention import LOOKS, OPTIONS, looking
from .test_recurrent import literal
from .test_transformer import CAPTIONS, END, GRID, START, D, V, batch

# The kind, and the test that holds it to a transcription.
HELD = {
    "lstm": "here", "luong": "here", "updown": "here",
    "transformer": "test_transformer.py", "masked": "test_masked.py",
}  # fmt: skip
RECURRENT = [kind for kind, where in HELD.items() if where == "here"]


def test_every_decoder_and_every_attention_has_a_transcription() -> None:
    assert HELD.keys() == {kind for kind in DECODERS if not kind.startswith("my_")}
    assert LOOKS.keys() == {kind for kind in ATTENTIONS if not kind.startswith("my_")}


def make(decoder: str, attention: str) -> Any:
    torch.manual_seed(7)
    found = DECODERS[decoder](
        vocabulary_size=V, feature_dim=D, embedding_dim=4, hidden_dim=5, attention_dim=8,
        dropout=0.0, embedding_dropout=0.0, feature_dropout=0.0,
        attention={"kind": attention, **OPTIONS.get(attention, {}),
                   **({"hop_penalty": 0.0} if attention == "multi_hop" else {})},
    ).double().train()  # fmt: skip
    for parameter in found.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return found


@pytest.mark.parametrize("decoder", RECURRENT)
@pytest.mark.parametrize("attention", LOOKS)
def test_loss_and_gradients_agree(decoder: str, attention: str) -> None:
    model = make(decoder, attention)
    features, captions, lengths = batch()
    features.requires_grad_(True)
    losses = []
    for b, each in enumerate(CAPTIONS):
        for words in each:
            a, said = features[b].flatten(0, 1), [START, *words, END]
            look = looking(attention, GRID)
            if isinstance(model, LSTMDecoder):
                loss, _, maps = caption_loss(model, a, said, look)
            else:
                log_p, maps = literal(model, a, said, look)
                loss = -log_p.sum()
            if maps is not None:  # kinds without weights have no penalty
                loss = loss + ((1 - maps.sum(0)) ** 2).sum()
            losses.append(loss)
    expected = sum(losses) / len(losses)
    loss = captioning_loss(model(features, captions, lengths), lengths).total
    assert abs((loss - expected).item()) < 1e-9
    parameters = [*model.parameters(), features]
    wanted = torch.autograd.grad(expected, parameters, allow_unused=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    for mine, other in zip(found, wanted, strict=True):
        if other is None:
            assert mine is None or not mine.any()
        else:
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-9)
