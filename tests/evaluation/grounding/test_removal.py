"""Removing cells in the order of an explanation, on the feature grid and on pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from showattend.captioner import Captioner
from showattend.decoding.explaining import KINDS, explain, mean_grid
from showattend.evaluation.grounding.removal import (
    FRACTIONS,
    PIXEL_FRACTIONS,
    centre_order,
    curve_of,
    feature_probe,
    order_of,
    pixel_probe,
    presences,
    removal_curves,
    reverse,
)

WORDS = ["a", "dog", "runs"]
GRID = (2, 5)
L = 10


def one_cell(cell: int) -> Any:
    """A model whose every word loses 2 nats without one cell, and nothing otherwise."""

    def probe(present_NL: np.ndarray, words: Any) -> np.ndarray:
        return np.where(present_NL[:, [cell]], -1.0, -3.0).repeat(len(words), 1)

    return probe


def pointing_at(cell: int) -> np.ndarray:
    scores = np.linspace(0.01, 0.1, L)[::-1].copy()
    scores[cell] = 1
    return scores


def test_the_right_order_takes_all_with_the_first_cell() -> None:
    scores = {
        "attention": {0: pointing_at(7), 1: pointing_at(2)},
        "grad": {0: pointing_at(7)},
    }
    right, wrong = removal_curves(one_cell(7), [4, 5], scores, [0, 1], GRID)
    curves: Any = right["curves"]
    assert right["total"] == wrong["total"] == 2
    n = len(FRACTIONS)
    for name in ("attention", "grad"):
        assert curves[name]["drops"] == [2.0] * n + [0.0] * n
        # Straight lines from nothing removed to the first tenth.
        assert curves[name]["deletion"] == pytest.approx(2 * (1 - 0.1 / 2))
        assert curves[name]["insertion"] == pytest.approx(2 * 0.1 / 2)
    least = curves["least attended"]
    assert least["deletion"] == pytest.approx(curves["attention"]["insertion"])
    assert least["insertion"] == pytest.approx(curves["attention"]["deletion"])
    # The map of the other word has cell 7 as its eighth: gone with the first eight tenths.
    other = curves["another word"]["drops"]
    assert other == [0, 0, 0, 2, 2, 2, 2, 2, 0, 0]
    assert "grad" not in wrong["curves"]


def test_random_orders_neither_help_nor_hurt() -> None:
    drawn = [
        removal_curves(one_cell(3), [4], {}, [0], GRID, draws=40, seed=seed)[0]["curves"]["random"]  # type: ignore[index]
        for seed in range(10)
    ]
    lead = [each["deletion"] - each["insertion"] for each in drawn]
    assert abs(np.mean(lead)) < 4 * np.std(lead) / np.sqrt(len(lead))
    assert drawn[0] != drawn[1]
    again = removal_curves(one_cell(3), [4], {}, [0], GRID, draws=40, seed=0)
    assert again[0]["curves"]["random"] == drawn[0]  # type: ignore[index]


def test_orders_and_grids() -> None:
    assert order_of(np.array([0.1, 0.7, 0.1, 0.9])).tolist() == [3, 1, 0, 2]
    nearest = centre_order((3, 3)).tolist()
    assert nearest[0] == 4
    assert set(nearest[-4:]) == {0, 2, 6, 8}
    grids = presences(np.array([2, 0, 1, 3]), (0.25, 0.5))
    assert grids.tolist() == [
        [True, True, False, True],
        [False, True, False, True],
        [False, False, True, False],
        [True, False, True, False],
    ]
    assert curve_of(np.array([1.0, 1.0]), 1.0, (0.5,)) == {
        "drops": [1.0, 1.0], "deletion": 0.75, "insertion": 0.75,
    }  # fmt: skip


@pytest.mark.parametrize("fractions", [FRACTIONS, PIXEL_FRACTIONS])
def test_a_curve_read_from_its_end_is_that_of_the_reverse_order(
    fractions: tuple[float, ...], untrained: Captioner
) -> None:
    torch.manual_seed(1)
    probe = feature_probe(untrained, torch.randn(1, *GRID, 1280))
    order = np.random.default_rng(0).permutation(L)
    words = untrained.vocabulary.encode(WORDS)
    full = probe(np.ones((1, L), bool), words)[0, -1]
    one, other = (
        full - probe(presences(each, fractions), words)[:, -1] for each in (order, order[::-1])
    )
    np.testing.assert_allclose(reverse(one), other, atol=1e-5)


def test_a_constant_grid_has_nothing_to_lose(untrained: Captioner) -> None:
    """Whatever is removed in whatever order, every drop is zero to rounding."""
    torch.manual_seed(1)
    features = mean_grid(torch.randn(1, *GRID, 1280)).contiguous()
    words = untrained.vocabulary.encode(WORDS)
    scores = {
        kind: dict(enumerate(explain(untrained.decoder, features, words, kind).numpy()))
        for kind in KINDS
    }
    for replacement in (None, features.clone()):
        probe = feature_probe(untrained, features, replacement)
        for each in removal_curves(probe, words, scores, range(3), GRID):
            curves: Any = each["curves"]
            assert set(curves) == {
                *KINDS, "random", "centre", "another word", "least attended"
            }  # fmt: skip
            drops = [drop for curve in curves.values() for drop in curve["drops"]]
            assert np.abs([each["total"], *drops]).max() < 1e-5  # type: ignore[list-item]


def test_another_images_annotations_take_the_place_of_removed_ones(untrained: Captioner) -> None:
    torch.manual_seed(1)
    mine, other = torch.randn(2, 1, *GRID, 1280).unbind(0)
    words = untrained.vocabulary.encode(WORDS)
    none = feature_probe(untrained, mine, other)(np.zeros((1, L), bool), words)
    all_of_it = feature_probe(untrained, other)(np.ones((1, L), bool), words)
    np.testing.assert_allclose(none, all_of_it, atol=1e-6)


def test_pixels_are_blurred_where_a_cell_is_removed(untrained: Captioner, photo: Path) -> None:
    caption = untrained.attend(photo, WORDS)
    words = untrained.vocabulary.encode(WORDS)
    rows, columns = untrained.encoder.grid(64)
    probe = pixel_probe(untrained, photo)
    present = np.ones((3, rows * columns), bool)
    present[1, 0] = present[2] = False
    found = probe(present, words)
    np.testing.assert_allclose(found[0], caption.log_probs[:3], atol=1e-5)
    assert (np.abs(found[1:] - found[0]).max(1) > 1e-6).all()
    assert not np.allclose(found[1], found[2])


def test_a_photo_of_one_colour_has_nothing_to_blur(untrained: Captioner, tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.new("RGB", (80, 60), (90, 120, 60)).save(path)
    words = untrained.vocabulary.encode(WORDS)
    rows, columns = untrained.encoder.grid(64)
    present = np.random.default_rng(0).random((4, rows * columns)) < 0.5
    found = pixel_probe(untrained, path)(present, words)
    full = pixel_probe(untrained, path)(np.ones_like(present), words)
    np.testing.assert_allclose(found, full, atol=1e-5)
