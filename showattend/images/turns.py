"""The rotation that EXIF asks for."""

from __future__ import annotations

from PIL import Image

# fmt: off
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}
# fmt: on


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation still to be applied, 1 to 8; a broken EXIF block counts as none."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:
        return 1
    return value if value in _TURNS else 1


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Apply the EXIF orientation."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
