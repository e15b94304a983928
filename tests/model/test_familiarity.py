"""Familiarity: ordinary photographs are ordinary, strange ones are strange, and it is a share."""

from __future__ import annotations

import numpy as np
import pytest

from showattend.model import familiarity
from showattend.model.familiarity import LEAST_PHOTOS, STEPS, Familiarity, fit, residual

D, KNOWN = 200, 20


@pytest.fixture(scope="module")
def world() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def directions(world: np.random.Generator) -> np.ndarray:
    """What there is to see, [D, D]: the first `KNOWN` of these are in the training photographs."""
    return np.linalg.qr(world.standard_normal((D, D)))[0].astype(np.float32)


def photos(
    world: np.random.Generator, directions: np.ndarray, count: int, strange: float = 0.02
) -> np.ndarray:
    """Mean annotations with so much of what the training photographs do not show; of any length."""
    weights = world.standard_normal((count, D)).astype(np.float32)
    weights[:, KNOWN:] *= strange
    return weights @ directions.T * world.uniform(0.1, 10, (count, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def known(world: np.random.Generator, directions: np.ndarray) -> Familiarity:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(familiarity, "COMPONENTS", KNOWN)
        training = photos(world, directions, LEAST_PHOTOS)
        return fit(training, [photos(world, directions, 400)], size=64)


def test_it_is_the_share_of_ordinary_photos_that_are_as_strange(
    known: Familiarity, world: np.random.Generator, directions: np.ndarray
) -> None:
    ordinary = known(photos(world, directions, 4000))
    assert ordinary.min() >= 0
    assert ordinary.max() <= 1
    for share in (0.03, 0.1, 0.5, 0.9):
        assert (ordinary < share).mean() == pytest.approx(share, abs=0.04)


def test_strange_photos_have_none(
    known: Familiarity, world: np.random.Generator, directions: np.ndarray
) -> None:
    assert known(photos(world, directions, 50, strange=1.0)).max() == 0
    between = known(photos(world, directions, 500, strange=0.03))
    assert 0.001 < between.mean() < 0.3


def test_the_residual_is_what_the_components_do_not_explain(known: Familiarity) -> None:
    assert known.basis.shape == (D, KNOWN)
    np.testing.assert_allclose(known.basis.T @ known.basis, np.eye(KNOWN), atol=2e-3)
    inside, outside = known.basis[:, :1], np.ones((D, 1), np.float32)
    outside = outside - known.basis @ (known.basis.T @ outside)
    both = np.stack([inside[:, 0], outside[:, 0], inside[:, 0] + outside[:, 0] * 0])
    assert residual(both, known.basis) == pytest.approx([0, 1, 0], abs=2e-3)
    half = inside / np.linalg.norm(inside) + outside / np.linalg.norm(outside)
    assert residual(3 * half.T, known.basis) == pytest.approx([0.5], abs=2e-3)


def test_what_means_nothing_is_strange(known: Familiarity) -> None:
    with np.errstate(all="ignore"):
        broken = np.stack([np.zeros(D), np.full(D, np.nan), np.full(D, np.inf)])
        assert known(broken).tolist() == [0, 0, 0]


def test_it_is_stored_as_it_is(known: Familiarity) -> None:
    """In float16: what is measured is what will be used."""
    assert known.basis.astype(np.float16).astype(np.float32).tolist() == known.basis.tolist()
    assert len(known.residuals) == STEPS + 1
    assert (np.diff(known.residuals) >= 0).all()


def test_validation_sets_count_alike(
    world: np.random.Generator, directions: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(familiarity, "COMPONENTS", KNOWN)
    training = photos(world, directions, LEAST_PHOTOS)
    near, far = photos(world, directions, 1000), photos(world, directions, 50, strange=0.1)
    known = fit(training, [near, far, np.zeros((0, D))], size=64)
    assert np.mean(known(near)) == pytest.approx(0.75, abs=0.03)
    assert np.mean(known(far)) == pytest.approx(0.25, abs=0.03)


def test_too_few_photos_are_refused(world: np.random.Generator, directions: np.ndarray) -> None:
    enough, one = photos(world, directions, LEAST_PHOTOS), photos(world, directions, 1)
    for training, validation in ((enough[1:], [one]), (enough, []), (enough, [one[:0]])):
        with pytest.raises(ValueError, match="photographs are needed"):
            fit(training, validation, size=64)


@pytest.mark.parametrize(
    ("basis", "residuals"),
    [
        (np.eye(3)[0], [0, 1]),
        (np.eye(3), [0.0]),
        (np.eye(3), [1, 0]),
        (np.eye(3), [0, np.nan]),
        (np.eye(3), [[0, 1]]),
    ],
)
def test_damaged_parts_are_refused(basis: np.ndarray, residuals: list[float]) -> None:
    with pytest.raises(ValueError, match="rising order"):
        Familiarity(basis, np.array(residuals), 64)
