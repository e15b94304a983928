"""Closed curves around a map's attention, in pixels of the photo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from showattend.images.geometry import Geometry

OUTSIDE = 1e-3  # pixels beyond the photo's border, where every curve closes
SAMPLED = 320  # samples along each side of the grid: a map is smooth, curves lie between them
SMOOTHING = 0.35  # standard deviation in cells: cells leave no corners, a peak stays where it is


def contours(values: np.ndarray, levels: Sequence[float]) -> list[list[np.ndarray]]:
    """For each level, the closed curves around the pixels of larger values.

    Args:
        values: The values of the pixels [H, W]; value (i, j) is that of the point
            (j + 0.5, i + 0.5).
        levels: The levels, not below the smallest value.

    Returns:
        The curves of each level, each [points, 2] of x and y in pixels, with the first point
        repeated at the end. Curves around holes run in the opposite direction.
    """
    from contourpy import LineType, contour_generator

    height, width = values.shape
    x = np.concatenate([[-OUTSIDE, 0], np.arange(width) + 0.5, [width, width + OUTSIDE]])
    y = np.concatenate([[-OUTSIDE, 0], np.arange(height) + 0.5, [height, height + OUTSIDE]])
    below = float(values.min()) - 1
    bordered = np.pad(np.pad(values.astype(np.float64), 1, "edge"), 1, constant_values=below)
    generator = contour_generator(x, y, bordered, line_type=LineType.Separate)
    limit = [width, height]
    return [
        [np.clip(np.asarray(line), 0, limit) for line in generator.lines(level)] for level in levels
    ]


def half_outline(map_HW: np.ndarray, geometry: Geometry) -> list[np.ndarray]:
    """The curves around the smallest smooth area that holds half of a map's attention.

    The area is where the smoothed map is above a level; the level is chosen so that the cells' own
    attention within the area, as far as it is on the photo, is half of all.

    Args:
        map_HW: The map [H, W].
        geometry: The place of the grid on the photo; the curves are in its pixels.

    Returns:
        Closed curves as `contours`; none for a map without attention on the photo.
    """
    sampled = sample_size(geometry, SAMPLED)
    coarse = geometry.resized(sampled)
    smooth = coarse.upsample(map_HW, sigma=SMOOTHING / max(map_HW.shape))
    own = coarse.upsample(map_HW, "nearest").ravel().astype(np.float64)
    order = np.argsort(-smooth.ravel(), kind="stable")
    reached = np.cumsum(own[order])
    if not reached[-1] > 0:
        return []
    last = int(np.searchsorted(reached, reached[-1] / 2))
    level = float(smooth.ravel()[order[last]])
    factor = np.array(geometry.image_size) / sampled
    return [curve * factor for curve in contours(smooth, [level])[0]]


def sample_size(geometry: Geometry, samples: int) -> tuple[int, int]:
    """The (width, height) at which to sample a map, so that each side of the grid gets ``samples``.

    Its shape is not the photo's: on a long photo the cells are long too.
    """
    left, top, right, bottom = geometry.box
    width, height = geometry.image_size
    across, down = width / (right - left), height / (bottom - top)
    most = 4 * samples
    return min(max(round(samples * across), 8), most), min(max(round(samples * down), 8), most)
