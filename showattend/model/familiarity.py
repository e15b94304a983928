"""How much a photograph is like those that a model was trained on.

The mean annotation of a photograph, scaled to length one, is laid on the directions in which the
training photographs' vary: their leading principal components, not centred. What these do not
explain is the residual, 1 - |P x / |x||^2; photographs of other things than the training ones show
have a larger one (the residual of Wang et al. 2022, "ViM: out-of-distribution with virtual-logit
matching"). A residual means something beside those of ordinary photographs: familiarity is the
share of the validation photographs whose residual is at least as large.

Shape suffixes: N photographs, D feature, C components, H and W the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COMPONENTS = 128
LEAST_PHOTOS = 4 * COMPONENTS
"""Of fewer training photographs, so many components mean nothing."""
STEPS = 200
"""The distribution of the residuals is kept as so many steps."""


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What is kept of the training photographs, and of the ordinary ones.

    Attributes:
        basis: The principal components as columns [D, C] float32.
        residuals: The validation photographs' residuals, from the smallest to the largest, at
            evenly spaced shares of them [STEPS + 1].
        size: Pixels a side of the network's input; at another size residuals are others.
    """

    basis: np.ndarray
    residuals: np.ndarray
    size: int

    def __post_init__(self) -> None:
        wrong = (
            self.basis.ndim != 2
            or self.residuals.ndim != 1
            or len(self.residuals) < 2
            or not np.isfinite(self.residuals).all()
            or (np.diff(self.residuals) < 0).any()
        )
        if wrong:
            raise ValueError("a basis has two axes, and residuals are in rising order")

    def __call__(self, means_ND: np.ndarray) -> np.ndarray:
        """The familiarity of photographs, 0 to 1: 0.5 is usual, near 0 strange.

        Args:
            means_ND: Their mean annotations.

        Returns:
            [N]: the share of the validation photographs that are as strange or stranger.
        """
        strange = residual(means_ND, self.basis)
        return np.interp(strange, self.residuals, np.linspace(1, 0, len(self.residuals)))


def fit(means_ND: np.ndarray, validation: Sequence[np.ndarray], size: int) -> Familiarity:
    """Learn what is familiar.

    Args:
        means_ND: Mean annotations of the training photographs, at least `LEAST_PHOTOS`.
        validation: Those of the validation photographs, for each data set; each set counts alike.
        size: Pixels a side of the network's input.

    Raises:
        ValueError: There are too few photographs.
    """
    if len(means_ND) < LEAST_PHOTOS or not any(map(len, validation)):
        raise ValueError(f"{LEAST_PHOTOS} training and some validation photographs are needed")
    units = _units(means_ND)
    moments_DD = units.T.astype(np.float64) @ units
    _, vectors = np.linalg.eigh(moments_DD)  # the largest eigenvalues come last
    basis = vectors[:, ::-1][:, :COMPONENTS]
    basis = basis.astype(np.float16).astype(np.float32)  # as it is stored
    sets = [residual(each, basis) for each in validation if len(each)]
    weights = np.concatenate([np.full(len(each), 1 / len(each)) for each in sets])
    values = np.concatenate(sets)
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    shares = (reached - weights[order] / 2) / reached[-1]
    residuals = np.interp(np.linspace(0, 1, STEPS + 1), shares, values[order])
    return Familiarity(basis, residuals.astype(np.float64), size)


def residual(means_ND: np.ndarray, basis_DC: np.ndarray) -> np.ndarray:
    """The share of each mean annotation that the components leave unexplained, [N], 0 to 1."""
    explained = np.square(_units(means_ND) @ basis_DC).sum(1)
    return np.clip(1 - np.nan_to_num(explained.astype(np.float64), posinf=0.0), 0, 1)


def _units(means_ND: np.ndarray) -> np.ndarray:
    """Scaled to length one; zero stays zero."""
    wide = np.asarray(means_ND, np.float32)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
