"""From a photograph to the network's input, and from the feature grid back to the photograph.

Whatever happens on the way (EXIF turn, resize, crop, padding) is recorded in a ``Geometry``, so
that a cell of the feature grid leads back to pixels of the upright photograph.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from showattend.errors import ConfigError
from showattend.imagefiles import (
    IMAGE_SUFFIXES,
    ImageSource,
    find_images,
    load_image,
    open_image,
)
from showattend.pixels import Stored, turn

if TYPE_CHECKING:
    import torch

__all__ = [
    "IMAGE_SUFFIXES",
    "Geometry",
    "ImageSource",
    "Preprocessing",
    "find_images",
    "open_image",
]

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_FITS = ("squash", "crop", "pad")


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
        """The rectangle of one cell of a grid of (rows, columns): left, top, right, bottom.

        In pixels of the upright image; a cell that lies on padding exceeds the image.
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

    def locate(self, x: float, y: float, grid: tuple[int, int]) -> tuple[int, int] | None:
        """The cell (row, column) that sees the point (x, y) of the image, None if none does."""
        left, top, right, bottom = self.box
        width, height = self.image_size
        if not (max(left, 0) <= x < min(right, width) and max(top, 0) <= y < min(bottom, height)):
            return None
        rows, cols = grid
        row, col = int((y - top) / (bottom - top) * rows), int((x - left) / (right - left) * cols)
        return min(row, rows - 1), min(col, cols - 1)

    def upsample(self, map_HW: np.ndarray, mode: str = "smooth", sigma: float = 0.0) -> np.ndarray:
        """The map's value at every pixel of the upright image.

        A pixel takes the value at its centre; one larger than half a cell takes the average over
        its area. What the network did not see (outside a crop) is zero.

        Args:
            map_HW: The map on the feature grid [H, W].
            mode: "smooth": cubic interpolation through the cells' centres, kept between zero and
                the map's maximum; "nearest": constant within a cell.
            sigma: The standard deviation of a Gaussian to blur the result with, as a share of the
                image's width and height. The image is mirrored at its borders: a map that is the
                same everywhere stays so (but for what the network did not see).

        Returns:
            The values [image height, image width], float32.

        Raises:
            ValueError: The map is not two-dimensional, the mode is neither, or sigma is negative.
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
        """The same geometry on a copy of the image of another (width, height)."""
        x, y = size[0] / self.image_size[0], size[1] / self.image_size[1]
        left, top, right, bottom = self.box
        return Geometry(size, (left * x, top * y, right * x, bottom * y))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON."""
        return {"image_size": list(self.image_size), "box": list(self.box)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Geometry:
        """The inverse of ``to_dict``."""
        width, height = values["image_size"]
        left, top, right, bottom = values["box"]
        return cls((width, height), (left, top, right, bottom))


def _interpolation(pixels: int, low: float, high: float, cells: int, mode: str) -> np.ndarray:
    """Weights [pixels, cells] float32 of the cells between ``low`` and ``high`` on one axis."""
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
        # Catmull-Rom's kernel; beyond the border the outermost cell goes on.
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
    """A Gaussian along one axis as weights [pixels, pixels] float32, mirrored at both ends."""
    at = np.arange(pixels) + 0.5
    here, there = at[:, None], at[None, :]
    weights = np.zeros((pixels, pixels))
    for place in (there, -there, 2 * pixels - there):
        weights += np.exp(-0.5 * ((here - place) / (sigma * pixels)) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Preprocessing:
    """How a photograph becomes the network's input; it travels with the weights.

    Attributes:
        size: The input is ``size`` × ``size`` pixels.
        fit: "squash" resizes without keeping the aspect ratio (the whole photo is seen), "crop"
            takes the largest square in the middle, "pad" fits the whole photo and fills up with
            the mean colour.
        mean: The network's mean of red, green, blue, in [0, 1].
        std: Their standard deviation.
        interpolation: "bicubic" or "bilinear", antialiased.
    """

    size: int
    fit: str = "squash"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"preprocessing: size is {self.size}; it must be at least 1")
        if self.fit not in _FITS:
            raise ConfigError(f"preprocessing: fit is {self.fit!r}; choose of {', '.join(_FITS)}")
        if self.interpolation not in _FILTERS:
            raise ConfigError(
                f"preprocessing: interpolation is {self.interpolation!r}; "
                f"choose of {', '.join(_FILTERS)}"
            )

    def __call__(self, image: Image.Image) -> tuple[torch.Tensor, Geometry]:
        """The network's input [3, size, size] float32 of an upright RGB image."""
        import torch

        pixels, geometry = self.pixels(image)
        return self.normalize(torch.from_numpy(pixels).permute(2, 0, 1)), geometry

    def pixels(self, image: Image.Image) -> tuple[np.ndarray, Geometry]:
        """Fit an upright RGB image: [size, size, 3] uint8, not yet normalised."""
        return self._fit(Stored(image, image.size, image.size))

    def load_pixels(self, source: ImageSource) -> tuple[np.ndarray, Geometry]:
        """``pixels`` of an image source, faster than opening it first.

        A JPEG is decoded at the smallest of 1/2, 1/4, 1/8 of its size that leaves twice the
        pixels needed, and only the small result is turned upright.

        Raises:
            ImageError: As ``open_image``.
        """
        return self._fit(load_image(source, at_least=2 * self.size))

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn uint8 pixels [..., 3, H, W] into the float32 that the network takes."""
        import torch

        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=pixels.device).view(3, 1, 1) * 255
            for values in (self.mean, self.std)
        )
        return pixels.to(torch.float32).sub_(mean).div_(std)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = asdict(self)
        return values | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """The inverse of ``to_dict``."""
        return replace(cls(**values), mean=tuple(values["mean"]), std=tuple(values["std"]))

    def _fit(self, stored: Stored) -> tuple[np.ndarray, Geometry]:
        size, (width, height) = self.size, stored.size
        if stored.orientation >= 5:
            width, height = height, width
        # All in upright pixels: the part of the photo that is used, what it is resized to, and
        # where that lies in the input.
        used_w, used_h, new_w, new_h = width, height, size, size
        if self.fit == "crop":
            used_w = used_h = min(width, height)
        elif self.fit == "pad":
            new_w = max(1, round(size * width / max(width, height)))
            new_h = max(1, round(size * height / max(width, height)))
        left, top = (width - used_w) / 2, (height - used_h) / 2
        pad_x, pad_y = (size - new_w) // 2, (size - new_h) // 2
        scale_x, scale_y = used_w / new_w, used_h / new_h
        x, y = left - pad_x * scale_x, top - pad_y * scale_y
        geometry = Geometry((width, height), (x, y, x + size * scale_x, y + size * scale_y))

        image = self._resize(stored, used_w / width, used_h / height, (new_w, new_h))
        if (new_w, new_h) != (size, size):
            red, green, blue = (round(255 * value) for value in self.mean)
            canvas = Image.new("RGB", (size, size), (red, green, blue))
            canvas.paste(image, (pad_x, pad_y))
            image = canvas
        return np.array(image), geometry

    def _resize(
        self, stored: Stored, share_x: float, share_y: float, size: tuple[int, int]
    ) -> Image.Image:
        """Resize the middle ``share`` of the image and turn it upright (the turn is of little)."""
        if stored.orientation >= 5:
            share_x, share_y, size = share_y, share_x, (size[1], size[0])
        width, height = stored.covered
        x, y = width * (1 - share_x) / 2, height * (1 - share_y) / 2
        box = (x, y, width - x, height - y)
        image = stored.resized(size, _FILTERS[self.interpolation], box)
        return turn(image, stored.orientation)
