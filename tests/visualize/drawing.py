"""What the tests of pictures share: captions that look at one cell a word, and pixels read back."""

from __future__ import annotations

import numpy as np

from showattend.caption import Caption
from showattend.images.geometry import Geometry
from showattend.images.preprocessing import Preprocessing
from showattend.images.sources import ImageSource
from showattend.visualize.heat import paint

GRID = (7, 7)
SIZES = [(320, 200), (200, 320), (900, 100), (100, 900), (224, 224), (640, 427)]
CELLS = [(3, 3), (1, 5), (5, 2), (0, 6), (6, 0)]


def caption_of(
    image: ImageSource, cells: list[tuple[int, int]], fit: str = "squash", words: str | None = None
) -> Caption:
    """A caption whose words look at one cell each."""
    attention = np.zeros((len(cells), *GRID), np.float32)
    for t, cell in enumerate(cells):
        attention[t][cell] = 1
    spoken = words.split() if words is not None else [f"word{t}" for t in range(len(cells))]
    _, geometry = Preprocessing(56, fit).load_pixels(image)
    return Caption(
        words=tuple(spoken),
        log_probs=(-1.0,) * (len(cells) + 1),
        attention=attention,
        betas=np.full(len(cells), 0.5, np.float32),
        geometry=geometry,
        score=-1.0,
        image=image,
    )


def plain(width: int, height: int) -> np.ndarray:
    """A photo of one grey."""
    return np.full((height, width, 3), 128, np.uint8)


def shaded(width: int, height: int) -> np.ndarray:
    """A photo of many colours that change slowly."""
    y, x = np.mgrid[:height, :width]
    return np.stack(
        [90 + 60 * x / width, 90 + 60 * y / height, 120 + 30 * (x + y) / (width + height)], 2
    ).astype(np.uint8)


def brightness(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(float) @ [0.299, 0.587, 0.114]


def landing(
    photo: np.ndarray,
    panel: np.ndarray,
    cell: tuple[int, int],
    *,
    style: str = "light",
    fit: str = "squash",
    aspect: float | None = None,
) -> tuple[float, float]:
    """How far a panel's heat lies from its cell, in pixels (x, y): the best match of some shifts.

    What is expected is worked out here, from what the fit and the interpolation mean, and painted
    over the photo; ``aspect`` is the file's, where the panel's is rounded.
    """
    height, width = photo.shape[:2]
    ratio = aspect or width / height
    covered = {  # of width and height, in shares
        "squash": (1.0, 1.0),
        "crop": (min(1.0, 1 / ratio), min(1.0, ratio)),
        "pad": (max(1.0, 1 / ratio), max(1.0, ratio)),
    }[fit]
    shifts = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)

    def difference(x: float, y: float) -> float:
        across = _expected(width, covered[0], cell[1], GRID[1], x)
        down = _expected(height, covered[1], cell[0], GRID[0], y)
        heat = np.clip(down[:, None] * across, 0, 1).astype(np.float32)
        return float(((paint(photo, heat, style=style).astype(float) - panel) ** 2).mean())

    x = min(shifts, key=lambda shift: difference(shift, 0))
    return float(x), float(min(shifts, key=lambda shift: difference(x, shift)))


def _expected(pixels: int, share: float, cell: int, cells: int, shift: float) -> np.ndarray:
    """A one-hot map along one axis: Catmull-Rom's kernel, the outermost cells going on."""
    position = (np.arange(pixels) + 0.5 - shift) / pixels  # in shares of the photo
    position = (position - (1 - share) / 2) / share * cells  # in cells
    beyond = {0: range(-3, 1), cells - 1: range(cells - 1, cells + 3)}
    values = np.zeros(pixels)
    for each in beyond.get(cell, [cell]):
        t = np.abs(position - 0.5 - each)
        near = 1.5 * t**3 - 2.5 * t**2 + 1
        far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
        values += np.where(t < 1, near, np.where(t < 2, far, 0))
    return values * ((position >= 0) & (position < cells))


def share_enclosed(curves: list[np.ndarray], map_HW: np.ndarray, geometry: Geometry) -> float:
    """The share of a map's attention on the photo that closed curves hold, holes left out.

    Measured on points, each with the attention of the cell that it lies in.
    """
    from matplotlib.path import Path

    points = 240
    steps = (np.arange(points) + 0.5) / points
    places = np.stack(np.meshgrid(*(side * steps for side in geometry.image_size)), 2)
    crossings = np.zeros((points, points), int)
    for curve in curves:
        inside = Path(curve, closed=True).contains_points(places.reshape(-1, 2))
        crossings += inside.reshape(points, points)
    left, top, right, bottom = geometry.box
    rows, cols = map_HW.shape
    across = np.floor((places[0, :, 0] - left) / (right - left) * cols).astype(int)
    down = np.floor((places[:, 0, 1] - top) / (bottom - top) * rows).astype(int)
    own = map_HW[down.clip(0, rows - 1)][:, across.clip(0, cols - 1)].astype(float)
    own *= ((down >= 0) & (down < rows))[:, None] & (across >= 0) & (across < cols)
    return float((own * (crossings % 2)).sum() / own.sum())
