"""The ways in which a training image may be shown: cropped a little, mirrored."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image


class View(NamedTuple):
    """One way to show an image."""

    crop: int = 0  # 0: all of it; n: the nth of its random crops
    mirrored: bool = False


def show(pixels: np.ndarray, view: View, *, name: str, area: float) -> np.ndarray:
    """The network's input as this view shows it.

    A crop keeps the proportions within a tenth and is resized to the whole input again, so that
    what the captions speak of is still there.

    Args:
        pixels: [size, size, 3] uint8.
        view: How to show it.
        name: The image's file name: each has crops of its own, always the same ones.
        area: The least share of the image that a crop keeps.
    """
    if view.crop:
        size = len(pixels)
        random = np.random.default_rng((view.crop, zlib.crc32(name.encode())))
        share, stretch = random.uniform(area, 1.0), random.uniform(0.95, 1 / 0.95)
        width = min(size, size * np.sqrt(share) * stretch)
        height = min(size, size * np.sqrt(share) / stretch)
        x, y = random.uniform(0, size - width), random.uniform(0, size - height)
        image = Image.fromarray(np.ascontiguousarray(pixels))
        image = image.resize((size, size), Image.Resampling.BICUBIC, (x, y, x + width, y + height))
        pixels = np.asarray(image)
    return pixels[:, ::-1] if view.mirrored else pixels
