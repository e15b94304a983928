"""The ways in which a training image may be shown: cropped a little, mirrored."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image


class View(NamedTuple):
    """One way to show an image."""

    crop: int = 0  # 0: all of it; n: the nth of its random crops
    mirrored: bool = False


class Views:
    """One view for each record, in a few bytes a record; each is made when it is asked for.

    Args:
        crops: Which crop, [N].
        mirrored: Whether it is mirrored, [N].
    """

    def __init__(self, crops: np.ndarray, mirrored: np.ndarray) -> None:
        self._crops, self._mirrored = crops, mirrored

    @classmethod
    def plain(cls, count: int) -> Views:
        """All images as they are, in no memory at all."""
        return cls(np.broadcast_to(np.uint8(0), count), np.broadcast_to(np.False_, count))

    def __len__(self) -> int:
        """How many records."""
        return len(self._crops)

    def __getitem__(self, row: int) -> View:
        """How this record is shown."""
        return View(int(self._crops[row]), bool(self._mirrored[row]))

    def __iter__(self) -> Iterator[View]:
        """Record by record."""
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Whether the other views, or a list of them, show every record alike."""
        return isinstance(other, Views | Sequence) and list(self) == list(other)


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
