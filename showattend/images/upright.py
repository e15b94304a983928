"""Open an image whole: all of its pixels, upright and in sRGB, for drawing."""

from __future__ import annotations

from PIL import Image

from showattend.images.image_files import load_image
from showattend.images.sources import ImageSource, plain
from showattend.images.turns import turn


def open_image(source: ImageSource) -> Image.Image:
    """Open an image, upright, in sRGB and fully loaded.

    Its ICC profile is applied, greyscale of more than 8 bits is scaled to 8, transparency is
    composited over white, and an animation gives its first frame.

    Args:
        source: A file's path, its content as bytes, a file opened in binary mode, a PIL image, or
            pixels: an array or tensor of shape (H, W), (H, W, 1), (H, W, 3), (H, W, 4), or with the
            channels first if that is unambiguous, of type uint8, uint16 (scaled like a 16-bit
            file), bool, or float in [0, 1].

    Raises:
        ImageError: The file is missing, a folder, empty, not an image, damaged, has more than
            `image_files.MAX_PIXELS` pixels, or takes more than `memory_needed.MAX_BYTES` to
            decode; or the array is none of the above.
    """
    source = plain(source)
    stored = load_image(source)
    image = stored.rgb()
    if isinstance(source, Image.Image) and image.im is source.im:
        image = image.copy()
    return turn(image, stored.orientation)
