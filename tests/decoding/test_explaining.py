"""Explanations of words: their definitions, every decoder and attention, and sanity checks."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from showattend.captioner import Captioner
from showattend.config import AttentionConfig, DecoderConfig, EncoderConfig, from_dict
from showattend.decoding.explaining import (
    KINDS,
    NAMES,
    STEPS,
    explain,
    has_maps,
    log_probs_with,
    maps_of,
    mean_grid,
    word_log_probs,
)
from showattend.decoding.forced import force
from showattend.exceptions import UserError
from showattend.model.build import build_decoder
from showattend.model.decoders import DECODERS
from tests.decoding.small_decoders import UNK, lstm
from tests.test_family import BLOCKS, EVERY, is_quick, makes_sense, sections

WORDS = [4, UNK, 6, 5]
GRID = (3, 4)


def grid_of(seed: int = 0, dim: int = 5) -> torch.Tensor:
    return torch.randn(1, *GRID, dim, generator=torch.Generator().manual_seed(seed)).double()


def small(decoder: str, kind: str, mode: str, sentinel: bool, encoder: Any = None) -> Any:
    """A decoder of the registries with random weights, in float64."""
    torch.manual_seed(2)
    given = sections(decoder, kind, mode, sentinel)
    sizes = {"hidden_dim": 8, "embedding_dim": 8, "attention_dim": 8, "projection_dim": 0}
    if decoder in BLOCKS:
        sizes = {"hidden_dim": 8, "feedforward_dim": 8}
    made = build_decoder(
        from_dict(DecoderConfig, {**given["decoder"], **sizes}, "decoder"),
        from_dict(AttentionConfig, given["attention"], "attention"),
        encoder,
        vocabulary_size=9,
        feature_dim=5,
    )
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return made.double().eval()


@pytest.mark.parametrize(
    "combination",
    [
        pytest.param(each, id="-".join(map(str, each)), marks=() if quick else pytest.mark.slow)
        for each in EVERY
        if makes_sense(*each)
        for quick in (is_quick(*each),)
    ],
)
def test_every_decoder_and_attention_can_be_explained(
    combination: tuple[str, str, str, bool],
) -> None:
    decoder, features = small(*combination), grid_of()
    wanted = (0, 3)
    for kind in KINDS:
        if kind == "attention" and not has_maps(decoder, features):
            with pytest.raises(UserError, match="no attention maps"):
                explain(decoder, features, WORDS, kind)
            continue
        scores = explain(decoder, features, WORDS, kind, wanted)
        assert scores.shape == (2, GRID[0] * GRID[1])
        assert scores.isfinite().all()
        # A constant grid: there is nothing to take away, and all places are alike.
        flat = mean_grid(features)
        lost = explain(decoder, flat, WORDS, "occlusion")
        assert lost.abs().max() < 1e-9
        assert explain(decoder, flat, WORDS, "integrated").abs().max() < 1e-9
    assert has_maps(decoder, features) == (combination[1] != "none")


def test_a_decoder_over_a_refined_grid_can_be_explained() -> None:
    layers = {"self_attention": 1, "self_attention_dim": 8, "self_attention_heads": 2}
    encoder = from_dict(EncoderConfig, layers, "encoder")
    decoder, features = small("lstm", "additive", "soft", False, encoder), grid_of()
    scores = {kind: explain(decoder, features, WORDS, kind) for kind in KINDS}
    assert all(each.shape == (4, 12) and each.isfinite().all() for each in scores.values())


def test_attention_is_that_of_forcing() -> None:
    decoder, features = lstm().double(), grid_of()
    found = force(decoder, features, WORDS)
    assert found.alpha is not None
    torch.testing.assert_close(explain(decoder, features, WORDS, "attention"), found.alpha)
    log_probs = word_log_probs(decoder, features, WORDS)[0].tolist()
    assert log_probs == pytest.approx(found.log_probs[:-1], abs=1e-9)


def test_gradient_times_input_is_the_slope_as_a_cell_is_scaled() -> None:
    decoder, features = lstm().double(), grid_of()
    scores = explain(decoder, features, WORDS, "grad")
    step = 1e-5
    for place, (row, column) in enumerate(np.ndindex(*GRID)):
        more, less = features.clone(), features.clone()
        more[0, row, column] *= 1 + step
        less[0, row, column] *= 1 - step
        with torch.no_grad():
            up, down = (word_log_probs(decoder, each, WORDS)[0] for each in (more, less))
        torch.testing.assert_close(
            scores[:, place], ((up - down) / (2 * step)).float(), rtol=1e-4, atol=1e-5
        )


def test_grad_cam_weighs_each_channel_by_its_mean_gradient() -> None:
    decoder, features = lstm().double(), grid_of()
    step, weights = 1e-5, []
    for channel in range(5):
        shift = torch.zeros(5, dtype=torch.float64)
        shift[channel] = step
        with torch.no_grad():
            up, down = (word_log_probs(decoder, features + s, WORDS)[0] for s in (shift, -shift))
        weights.append((up - down) / (2 * step) / (GRID[0] * GRID[1]))
    wanted = torch.stack(weights, 1) @ features.flatten(1, 2)[0].T
    found = explain(decoder, features, WORDS, "gradcam")
    torch.testing.assert_close(found, wanted.float(), rtol=1e-4, atol=1e-5)


def test_occlusion_is_what_a_cell_is_missed_for() -> None:
    decoder, features = lstm().double(), grid_of()
    found = explain(decoder, features, WORDS, "occlusion")
    with torch.no_grad():
        before = word_log_probs(decoder, features, WORDS)[0]
        for place, (row, column) in enumerate(np.ndindex(*GRID)):
            without = features.clone()
            without[0, row, column] = features.mean((1, 2))[0]
            lost = before - word_log_probs(decoder, without, WORDS)[0]
            torch.testing.assert_close(found[:, place], lost.float(), rtol=0, atol=1e-6)


def test_integrated_gradients_add_up_to_the_difference() -> None:
    """The axiom of completeness (Sundararajan et al. 2017, proposition 1)."""
    decoder, features = lstm().double(), grid_of() / 2
    found = explain(decoder, features, WORDS, "integrated").sum(1)
    with torch.no_grad():
        full, none = (
            word_log_probs(decoder, each, WORDS)[0] for each in (features, mean_grid(features))
        )
    assert (full - none).abs().max() > 0.1
    torch.testing.assert_close(found, (full - none).float(), rtol=1e-3, atol=1e-4)


def test_integrated_gradients_are_those_of_captum() -> None:
    attr = pytest.importorskip("captum.attr", reason="captum is not installed")
    decoder, features = lstm().double(), grid_of() / 2
    found = explain(decoder, features, WORDS, "integrated")
    captum = attr.IntegratedGradients(lambda grids: word_log_probs(decoder, grids, WORDS))
    for t in range(len(WORDS)):
        theirs = captum.attribute(
            features, mean_grid(features), target=t, n_steps=STEPS, method="gausslegendre"
        )
        wanted = theirs.sum(-1).flatten().float()
        torch.testing.assert_close(found[t], wanted.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_is_explained_by_what_comes_before(kind: str) -> None:
    decoder, features = lstm(), grid_of().float()
    whole = explain(decoder, features, WORDS, kind, [1])
    other = explain(decoder, features, [*WORDS[:2], 3, 3, 3], kind, [1])
    torch.testing.assert_close(whole, other)
    every = explain(decoder, features, WORDS, kind)
    torch.testing.assert_close(every[1], whole[0])
    assert explain(decoder, features, [], kind).shape == (0, 12)
    with torch.inference_mode():  # as the captioner's features are
        torch.testing.assert_close(explain(decoder, features.clone(), WORDS, kind), every)


def test_explaining_leaves_the_weights_as_they_were() -> None:
    decoder, features = lstm(), grid_of().float()
    decoder.L_o.weight.requires_grad_(False)
    before = {name: each.requires_grad for name, each in decoder.named_parameters()}
    for kind in KINDS:
        explain(decoder, features, WORDS, kind)
    with pytest.raises(IndexError):
        explain(decoder, features, WORDS, "grad", [9])
    assert {name: each.requires_grad for name, each in decoder.named_parameters()} == before
    assert all(each.grad is None for each in decoder.parameters())


def test_cells_are_replaced_where_they_are_absent() -> None:
    decoder, features = lstm().double(), grid_of()
    other = grid_of(1)
    present = torch.zeros(3, 12, dtype=torch.bool)
    present[1], present[2, :4] = True, True  # none, all, the first row
    with torch.no_grad():
        found = log_probs_with(decoder, features, other, present, WORDS)
        row = torch.cat([features[:, :1], other[:, 1:]], 1)
        wanted = torch.cat([word_log_probs(decoder, x, WORDS) for x in (other, features, row)])
    torch.testing.assert_close(found, wanted)


def test_maps_keep_what_speaks_for_a_word() -> None:
    scores = torch.tensor([[1.0, -5.0, 3.0], [-1.0, -2.0, 0.0], [1e-30, 0.0, 0.0]])
    maps = maps_of(scores)
    torch.testing.assert_close(
        maps, torch.tensor([[0.25, 0.0, 0.75], [1 / 3] * 3, [1.0, 0.0, 0.0]])
    )


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(UserError, match="no explanation 'lime'; choose from attention, grad"):
        explain(lstm(), grid_of().float(), WORDS, "lime")
    assert NAMES.keys() == KINDS.keys()
    assert len({*DECODERS}) == 5, "a new kind of decoder is tested above by itself"


# Sanity checks ------------------------------------------------------------------------------------


def test_maps_change_when_the_weights_are_random(photos: list[Path]) -> None:
    """Adebayo et al. 2018, "Sanity checks for saliency maps": the model parameter test."""
    captioner = Captioner.from_pretrained("everyday", device="cpu")
    features = captioner.look(next(each for each in photos if each.stem == "chelsea")).features
    words, nouns = captioner.vocabulary.encode(["a", "cat", "on", "a", "book"]), [1, 4]

    def maps() -> dict[str, np.ndarray]:
        return {
            kind: maps_of(explain(captioner.decoder, features, words, kind, nouns)).numpy()
            for kind in KINDS
        }

    trained = maps()
    torch.manual_seed(0)
    for parameter in captioner.decoder.parameters():
        torch.nn.init.normal_(parameter, std=max(float(parameter.detach().std(correction=0)), 0.01))
    for kind, random in maps().items():
        apart = np.abs(trained[kind] - random).sum(1) / 2  # total variation: 1 is disjoint
        assert (apart > 0.3).all(), (kind, apart)
    for one, other in itertools.combinations(trained.values(), 2):  # and they are not the same
        assert not np.allclose(one, other, atol=0.01)
