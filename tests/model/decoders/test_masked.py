"""The masked decoder against the literal transcription, and what a training step hides."""

from __future__ import annotations

import pytest
import torch

from showattend.decoding.beam import search
from showattend.decoding.forced import force
from showattend.model.decoders import masked
from showattend.model.decoders.masked import AHEAD, MASK, Draw, MaskedDecoder, draw
from showattend.model.decoders.protocol import teacher_forcing
from showattend.model.search_options import SearchOptions
from showattend.text.vocabulary import Vocabulary
from showattend.training.losses import captioning_loss

from .literal_transformer import read
from .test_transformer import CAPTIONS, END, HEADS, LAYERS, START, D, V, batch


def make(std: float = 0.4, seed: int = 3) -> MaskedDecoder:
    torch.manual_seed(seed)
    decoder = MaskedDecoder(
        vocabulary_size=V, feature_dim=D, hidden_dim=8, layers=LAYERS, heads=HEADS,
        feedforward_dim=10, dropout=0.0, sublayer_dropout=0.0,
    ).double()  # fmt: skip
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return decoder


def test_the_mask_is_no_word() -> None:
    assert MASK == Vocabulary.PAD


def test_loss_and_gradients_agree_with_the_literal_transcription(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = make().train()
    features, captions, lengths = batch()
    features.requires_grad_(True)
    parameters = [*decoder.parameters(), features]
    # Of three captions: two gaps; an opening of one word; an opening of four.
    hidden = {(0, 0): [2, 4], (0, 1): [2, 3, 4, 5], (1, 0): [5, 6, 7, 8]}
    places = 8 + AHEAD - 1
    words = torch.zeros(2, 2, places, dtype=torch.long)
    words[:, :, :8] = captions
    there, asked = (torch.zeros(2, 2, places, dtype=torch.bool) for _ in range(2))
    p, losses = dict(decoder.named_parameters()), []
    for (b, k), gone in hidden.items():
        whole = [START, *CAPTIONS[b][k], END]
        opening = gone[-1] > len(whole) - 2
        row = whole[: gone[0]] + [MASK] * AHEAD if opening else list(whole)
        for t in gone:
            row[t] = MASK
        there[b, k, : len(row)] = True
        words[b, k, gone] = MASK
        asked[b, k, [t for t in gone if t < len(whole)]] = True
        log_p, maps = read(p, HEADS, features[b], row, causal=False)
        said = sum(log_p[t][whole[t]] for t in gone if t < len(whole))
        of_words = range(1, min(len(row), len(whole)))
        coverage = sum(maps[t][-HEADS:].mean(0) for t in of_words)
        losses.append(((1 - coverage) ** 2).sum() - said)
    there[:, :, 0] = True
    monkeypatch.setattr(masked, "draw", lambda *_: Draw(words, there, asked))
    expected = sum(losses) / len(losses)
    wanted = torch.autograd.grad(expected, parameters)
    loss = captioning_loss(decoder(features, captions, lengths), lengths).total
    assert abs((loss - expected).item()) < 1e-9
    for mine, other in zip(torch.autograd.grad(loss, parameters), wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-9)


def test_steps_and_filling_agree_with_the_literal_transcription() -> None:
    decoder = make().eval()
    features, _, _ = batch()
    p = {name: each.detach() for name, each in decoder.named_parameters()}
    words = CAPTIONS[0][0]
    found = force(decoder, features[:1], words)
    assert found.parts is not None
    for t, word in enumerate([*words, END]):
        row = [START, *words[:t], *[MASK] * AHEAD]
        log_p, maps = read(p, HEADS, features[0], row, causal=False)
        assert found.log_probs[t] == pytest.approx(log_p[t + 1][word].item(), abs=1e-9)
        if t < len(words):
            torch.testing.assert_close(found.parts[t].double(), maps[t + 1], rtol=0, atol=1e-7)
    row = [START, 4, MASK, 6, MASK, END]
    log_p, maps = read(p, HEADS, features[0], row, causal=False)
    with torch.no_grad():
        filled = decoder.fill(torch.tensor([[row]]), decoder.memory(features[:1]))
    torch.testing.assert_close(filled.log_probs[0, 0], torch.stack(log_p), rtol=0, atol=1e-9)
    torch.testing.assert_close(filled.parts[0, 0], torch.stack(maps), rtol=0, atol=1e-9)


def test_words_on_both_sides_count() -> None:
    decoder = make().eval()
    features, _, _ = batch()
    with torch.no_grad():
        memory = decoder.memory(features[:1])
        rows = [[START, 4, MASK, 6, END], [START, 4, MASK, 7, END], [START, 5, MASK, 6, END]]
        filled = decoder.fill(torch.tensor([rows]), memory).log_probs[0, :, 2]
    assert not torch.allclose(filled[0], filled[1])
    assert not torch.allclose(filled[0], filled[2])


def test_in_eval_mode_it_scores_captions_as_search_does() -> None:
    decoder = make().eval()
    features, captions, lengths = batch()
    forced = decoder(features, captions, lengths)
    assert len(forced.targets) == lengths.sum()
    wanted = teacher_forcing(decoder, features, captions, lengths)
    torch.testing.assert_close(forced.logits, wanted.logits)
    for row, found in enumerate(search(decoder, features, SearchOptions(beam_size=3))):
        again = force(decoder, features[row : row + 1], found[0].words)
        known = len(found[0].log_probs)
        assert again.log_probs[:known] == pytest.approx(found[0].log_probs, abs=1e-5)


def test_what_is_drawn() -> None:
    torch.manual_seed(0)
    C, B = 6, 4000
    captions = torch.zeros(B, 1, C + 4, dtype=torch.long)
    captions[:, 0, : C + 2] = torch.tensor([START, *range(4, 4 + C), END])
    drawn = draw(captions, torch.full((B, 1), C + 1))
    words, there, asked = (each[:, 0] for each in drawn)
    place = torch.arange(words.shape[1])
    whole = torch.nn.functional.pad(captions[:, 0], (0, AHEAD - 1))
    hidden = (words != whole) | ((place > C + 1) & there)
    opening = ~there[:, C + 1] | (words[:, C + 1] == MASK)
    assert 0.45 < opening.float().mean() < 0.55
    assert (words[:, 0] == START).all()
    assert there[:, 0].all()
    # Gaps: the end is there and given, one word at least is hidden, and their share is uniform.
    gaps = ~opening
    assert (words[gaps][:, C + 1] == END).all()
    assert not there[gaps][:, C + 2 :].any()
    count = hidden[gaps].sum(1)
    assert count.min() == 1
    for n in range(2, C + 1):
        assert (count == n).float().mean() == pytest.approx(1 / (C + 1), abs=0.03)
    assert (asked == hidden)[gaps].all()
    # Openings: known words, then masks, then nothing; the number known is uniform.
    known = hidden[opening].float().argmax(1) - 1
    for n in range(C + 1):
        assert (known == n).float().mean() == pytest.approx(1 / (C + 1), abs=0.03)
    after = place - known.unsqueeze(1)
    assert (hidden[opening] == ((after > 0) & (after <= AHEAD))).all()
    assert (there[opening] == (after <= AHEAD)).all()
    assert (asked[opening] == hidden[opening] & (place <= C + 1)).all()


def test_captions_that_are_not_there_are_asked_nothing() -> None:
    decoder = make().train()
    features, captions, lengths = batch()
    torch.manual_seed(0)
    for _ in range(5):
        forced = decoder(features, captions, lengths)
        assert set(forced.captions.tolist()) == {0, 1, 2}
        assert (forced.targets != MASK).all()
        assert not forced.logits.isnan().any()
        assert (forced.coverage[1, 1] == 0).all()
