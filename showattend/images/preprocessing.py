"""From a photograph to the network's input.

A ``Geometry`` records the EXIF rotation, resizing, cropping and padding.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from showattend.exceptions import ConfigError, shown
from showattend.images.geometry import Geometry
from showattend.images.image_files import Stored, load_image
from showattend.images.sources import ImageSource, plain
from showattend.images.turns import turn

if TYPE_CHECKING:
    import torch


_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_FITS = ("squash", "crop", "pad")


class Fitted(NamedTuple):
    """A photograph at the network's size.

    Attributes:
        pixels: [size, size, 3] uint8, upright, not yet normalised.
        geometry: Their place on the photograph.
    """

    pixels: np.ndarray
    geometry: Geometry


@dataclass(frozen=True)
class Preprocessing:
    """How a photograph becomes the network's input; it travels with the weights.

    Attributes:
        size: The input is ``size`` × ``size`` pixels.
        fit: "squash" resizes the whole photo without keeping the aspect ratio, "crop" takes the
            largest central square, "pad" keeps the aspect ratio and fills the rest with the mean
            colour.
        mean: Mean of red, green and blue for normalisation, in [0, 1].
        std: Standard deviation of red, green and blue for normalisation.
        interpolation: "bicubic" or "bilinear", antialiased.

    Raises:
        ConfigError: A value is invalid.
    """

    size: int
    fit: str = "squash"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ConfigError(f"preprocessing: size is {self.size}; it must be at least 1")
        for name, known in (("fit", _FITS), ("interpolation", _FILTERS)):
            if (value := getattr(self, name)) not in known:
                known_names = ", ".join(known)
                raise ConfigError(
                    f"preprocessing: {name} is {shown(value)}; use one of {known_names}"
                )

    def load_pixels(self, source: ImageSource) -> Fitted:
        """Open a photograph at the network's size.

        A JPEG is decoded at the smallest of 1/2, 1/4, 1/8 of its size that leaves twice the
        pixels needed, and only the small result is turned upright.

        Returns:
            The pixels [size, size, 3] uint8, and their geometry.

        Raises:
            ImageError: See `showattend.images.upright.open_image`.
        """
        return self._fit(load_image(plain(source), at_least=2 * self.size))

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalise uint8 pixels [..., 3, H, W] to the network's float32 input."""
        import torch

        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=pixels.device).view(3, 1, 1) * 255
            for values in (self.mean, self.std)
        )
        return pixels.to(torch.float32).sub_(mean).div_(std)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        values = asdict(self)
        return values | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """The inverse of ``to_dict``."""
        return replace(cls(**values), mean=tuple(values["mean"]), std=tuple(values["std"]))

    def _fit(self, stored: Stored) -> Fitted:
        size, (width, height) = self.size, stored.upright_size
        # In upright pixels: the part of the photo that is used, its size after resizing, and its
        # position in the input.
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
        return Fitted(np.array(image), geometry)

    def _resize(
        self, stored: Stored, share_x: float, share_y: float, size: tuple[int, int]
    ) -> Image.Image:
        """Resize the central ``share`` of the image, then turn the small result upright."""
        if stored.orientation >= 5:
            share_x, share_y, size = share_y, share_x, (size[1], size[0])
        width, height = stored.covered
        x, y = width * (1 - share_x) / 2, height * (1 - share_y) / 2
        box = (x, y, width - x, height - y)
        image = stored.resized(size, _FILTERS[self.interpolation], box)
        return turn(image, stored.orientation)
