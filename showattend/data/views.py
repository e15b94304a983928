"""Views of a training image: mild crops and mirroring."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image


class View(NamedTuple):
    """One way to show an image."""

    crop: int = 0  # 0: the whole image; n: its nth random crop
    mirrored: bool = False


class Views:
    """A sequence of one view per record, stored in a few bytes each.

    Args:
        crops: The crop of each of the N records, [N].
        mirrored: Whether each is mirrored, [N].
    """

    def __init__(self, crops: np.ndarray, mirrored: np.ndarray) -> None:
        self._crops, self._mirrored = crops, mirrored

    @classmethod
    def plain(cls, count: int) -> Views:
        """Views of whole, unmirrored images, using no memory."""
        return cls(np.broadcast_to(np.uint8(0), count), np.broadcast_to(np.False_, count))

    def __len__(self) -> int:
        """The number of records."""
        return len(self._crops)

    def __getitem__(self, row: int) -> View:
        """The view of a record."""
        return View(int(self._crops[row]), bool(self._mirrored[row]))

    def __iter__(self) -> Iterator[View]:
        """Iterate over the views of all records."""
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Whether another sequence has the same views."""
        return isinstance(other, Views | Sequence) and list(self) == list(other)


def show(pixels: np.ndarray, view: View, *, name: str, area: float) -> np.ndarray:
    """Apply a view to the network's input.

    A crop changes the aspect ratio by at most a tenth and is resized to the full input. Crops are
    mild, so that what the captions mention stays visible.

    Args:
        pixels: The input, [size, size, 3] uint8.
        view: The view.
        name: The image's file name, which seeds its crops, so they are always the same.
        area: The minimum fraction of the image that a crop keeps.

    Returns:
        The view, [size, size, 3] uint8.
    """
    if view.crop:
        size = len(pixels)
        random = np.random.default_rng(
            (view.crop, zlib.crc32(name.encode("utf-8", "surrogatepass")))
        )
        share, stretch = random.uniform(area, 1.0), random.uniform(0.95, 1 / 0.95)
        width = min(size, size * np.sqrt(share) * stretch)
        height = min(size, size * np.sqrt(share) / stretch)
        x, y = random.uniform(0, size - width), random.uniform(0, size - height)
        image = Image.fromarray(np.ascontiguousarray(pixels))
        image = image.resize((size, size), Image.Resampling.BICUBIC, (x, y, x + width, y + height))
        pixels = np.asarray(image)
    return pixels[:, ::-1] if view.mirrored else pixels
