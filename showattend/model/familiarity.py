"""How similar a photograph is to those that a model was trained on.

The mean annotation vector x of a photograph, scaled to length one, is projected on the leading
principal components P of the training photographs (uncentred). The residual 1 - |P x / |x||^2 is
the part that they do not explain. It is larger for photographs of other things (Wang et al. 2022,
"ViM: out-of-distribution with virtual-logit matching"). Familiarity is the fraction of validation
photographs whose residual is at least as large.

Shape suffixes: N photographs, D feature, C components, H and W the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COMPONENTS = 128
LEAST_PHOTOS = 4 * COMPONENTS
"""With fewer training photographs, the components are not meaningful."""
STEPS = 200
"""Number of quantiles in which the distribution of the residuals is stored."""


@dataclass(frozen=True, eq=False)
class Familiarity:
    """The familiarity of photographs for a model.

    Attributes:
        basis: The principal components of the training photographs as columns, [D, C] float32.
        residuals: Evenly spaced quantiles of the validation photographs' residuals, ascending,
            [STEPS + 1].
        size: Side of the network's input in pixels; residuals at other sizes are not comparable.

    Raises:
        ValueError: The arrays have other shapes, or the residuals are not ascending.
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
        """Compute the familiarity of photographs, from 0 to 1; 0.5 is typical, near 0 is strange.

        Args:
            means_ND: Their mean annotation vectors.

        Returns:
            [N]: the fraction of validation photographs that are at least as strange.
        """
        strange = residual(means_ND, self.basis)
        return np.interp(strange, self.residuals, np.linspace(1, 0, len(self.residuals)))


def fit(means_ND: np.ndarray, validation: Sequence[np.ndarray], size: int) -> Familiarity:
    """Fit the components and the distribution of residuals.

    Args:
        means_ND: Mean annotation vectors of at least `LEAST_PHOTOS` training photographs.
        validation: The same [N, D] for validation photographs, by data set; all data sets have
            equal weight.
        size: Side of the network's input in pixels.

    Raises:
        ValueError: There are too few photographs.
    """
    if len(means_ND) < LEAST_PHOTOS or not any(map(len, validation)):
        raise ValueError(f"{LEAST_PHOTOS} training and some validation photographs are needed")
    units = _units(means_ND)
    moments_DD = units.T.astype(np.float64) @ units
    _, vectors = np.linalg.eigh(moments_DD)  # eigenvalues are in ascending order
    basis = vectors[:, ::-1][:, :COMPONENTS]
    basis = basis.astype(np.float16).astype(np.float32)  # the precision in which it is stored
    sets = [residual(each, basis) for each in validation if len(each)]
    weights = np.concatenate([np.full(len(each), 1 / len(each)) for each in sets])
    values = np.concatenate(sets)
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    shares = (reached - weights[order] / 2) / reached[-1]
    residuals = np.interp(np.linspace(0, 1, STEPS + 1), shares, values[order])
    return Familiarity(basis, residuals.astype(np.float64), size)


def residual(means_ND: np.ndarray, basis_DC: np.ndarray) -> np.ndarray:
    """The fraction of each mean annotation vector that is unexplained, [N], from 0 to 1."""
    with np.errstate(over="ignore", invalid="ignore"):  # of a network with damaged weights
        explained = np.square(_units(means_ND) @ basis_DC).sum(1)
    return np.clip(1 - np.nan_to_num(explained.astype(np.float64), posinf=0.0), 0, 1)


def _units(means_ND: np.ndarray) -> np.ndarray:
    """Scale vectors to length one; zero stays zero."""
    wide = np.asarray(means_ND, np.float32)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
