"""From the feature grid back to the photograph.

A ``Geometry`` records where the network's input lies on the upright photograph, so that grid cells
can be mapped back to pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """Where the network's square input lies on the upright photograph.

    Attributes:
        image_size: Width and height of the upright image, in pixels.
        box: Left, top, right, bottom of the rectangle that the input covers, in pixels of the
            upright image. Smaller than the image after a crop, larger after padding.
    """

    image_size: tuple[int, int]
    box: tuple[float, float, float, float]

    def cell_box(
        self, row: int, col: int, grid: tuple[int, int]
    ) -> tuple[float, float, float, float]:
        """Compute the rectangle of one cell of a grid of (rows, columns): left, top, right, bottom.

        The unit is pixels of the upright image. A cell on padding extends beyond the image.
        """
        rows, cols = grid
        left, top, right, bottom = self.box
        width, height = (right - left) / cols, (bottom - top) / rows
        return (
            left + col * width,
            top + row * height,
            left + (col + 1) * width,
            top + (row + 1) * height,
        )

    def upsample(self, map_HW: np.ndarray, mode: str = "smooth", sigma: float = 0.0) -> np.ndarray:
        """Resample a map to the pixels of the upright image.

        A pixel takes the value at its centre, or the average over its area if it is larger than
        half a cell. What the network did not see (outside a crop) is zero.

        Args:
            map_HW: The map on the feature grid [H, W].
            mode: "smooth" for cubic interpolation through the cell centres, clipped between zero
                and the map's maximum; "nearest" for constant cells.
            sigma: Standard deviation of a Gaussian blur of the result, as a fraction of the image's
                width and height. The image is mirrored at its borders, so a uniform map stays
                uniform (except for what the network did not see).

        Returns:
            The values [image height, image width], float32.

        Raises:
            ValueError: The map is not two-dimensional, the mode is unknown, or sigma is negative.
        """
        if map_HW.ndim != 2 or mode not in ("smooth", "nearest") or not sigma >= 0:
            raise ValueError(
                f"cannot upsample a map of shape {map_HW.shape} in mode {mode!r}, sigma {sigma}"
            )
        rows, cols = map_HW.shape
        left, top, right, bottom = self.box
        width, height = self.image_size
        down = _interpolation(height, top, bottom, rows, mode)
        across = _interpolation(width, left, right, cols, mode)
        values = down @ map_HW.astype(np.float32) @ across.T
        np.clip(values, 0, map_HW.max(), out=values)
        if sigma:
            values = _blur(height, sigma) @ values @ _blur(width, sigma).T
        return values

    def resized(self, size: tuple[int, int]) -> Geometry:
        """The same geometry on a copy of the image resized to (width, height)."""
        x, y = size[0] / self.image_size[0], size[1] / self.image_size[1]
        left, top, right, bottom = self.box
        return Geometry(size, (left * x, top * y, right * x, bottom * y))

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain lists for JSON."""
        return {"image_size": list(self.image_size), "box": list(self.box)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Geometry:
        """The inverse of ``to_dict``."""
        width, height = values["image_size"]
        left, top, right, bottom = values["box"]
        return cls((width, height), (left, top, right, bottom))


def _interpolation(pixels: int, low: float, high: float, cells: int, mode: str) -> np.ndarray:
    """Interpolation weights [pixels, cells] float32 on one axis; cells span ``low`` to ``high``."""
    cells_per_pixel = cells / (high - low)
    samples = 1 if cells_per_pixel <= 0.5 else int(np.ceil(8 * cells_per_pixel))
    position = ((np.arange(pixels * samples) + 0.5) / samples - low) * cells_per_pixel
    seen = (position >= 0) & (position < cells)
    weights = np.zeros((pixels * samples, cells))
    sample = np.arange(len(position))
    nearest = np.floor(position).astype(int).clip(0, cells - 1)
    if mode == "nearest":
        weights[sample, nearest] = 1
    else:
        # Catmull-Rom kernel; beyond the border the outermost cell is repeated.
        first = np.floor(position - 0.5).astype(int)
        for offset in (-1, 0, 1, 2):
            cell = first + offset
            t = np.abs(position - 0.5 - cell)
            near = (1.5 * t - 2.5) * t * t + 1
            far = ((-0.5 * t + 2.5) * t - 4) * t + 2
            weights[sample, cell.clip(0, cells - 1)] += np.where(t < 1, near, far)
    weights *= seen[:, None]
    return weights.reshape(pixels, samples, cells).mean(axis=1).astype(np.float32)


@lru_cache(maxsize=4)
def _blur(pixels: int, sigma: float) -> np.ndarray:
    """Weights [pixels, pixels] float32 of a Gaussian blur on one axis, mirrored at both ends."""
    at = np.arange(pixels) + 0.5
    here, there = at[:, None], at[None, :]
    weights = np.zeros((pixels, pixels))
    for place in (there, -there, 2 * pixels - there):
        weights += np.exp(-0.5 * ((here - place) / (sigma * pixels)) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
