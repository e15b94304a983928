"""Images given as NumPy arrays."""

from __future__ import annotations

import numpy as np
from PIL import Image

from showattend.exceptions import ImageError
from showattend.images.depth import full_scale

CHANNELS = (1, 3, 4)
"""Grey; red, green and blue; and their transparency."""


def from_array(array: np.ndarray) -> Image.Image:
    """Convert an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] to an image.

    Channels may also come first, [3, H, W], if they cannot be mistaken for pixels.

    Raises:
        ImageError: Its shape, type or values are not those of an image.
    """
    shape = f"array of shape {array.shape} and type {array.dtype}"
    if array.ndim == 3 and array.shape[2] not in CHANNELS and array.shape[0] in CHANNELS:
        array = np.moveaxis(array, 0, 2)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in CHANNELS):
        hint = "; give several images as a list" if array.ndim == 4 else ""
        raise ImageError(
            f"{shape}: an image must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4){hint}"
        )
    if array.size == 0:
        raise ImageError(f"{shape}: the image has no pixels")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        full = full_scale(int(array.max())) or 65535
        array = np.rint(array * (255 / np.float32(full))).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        # Tolerate rounding errors of a resize; report 0..255 or NaN.
        if not (array.min() >= -0.01 and array.max() <= 1.01):
            raise ImageError(f"{shape}: floating-point values must lie in [0, 1]; divide by 255?")
        array = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(f"{shape}: the type must be uint8, or float with values in [0, 1]")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(array))
