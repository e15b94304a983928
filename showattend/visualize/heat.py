"""What every form of showing a caption starts from: the photo, the words, the maps as heat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.images.image_files import ImageSource, Stored, load_image
from showattend.images.turns import turn
from showattend.images.upright import open_image

SCALES = ("word", "common")
STYLES = ("heat", "light")


def photo_of(caption: Caption) -> Image.Image:
    """The photo that was captioned, upright.

    Raises:
        UserError: The caption does not know its image, or the image has another size by now.
        ImageError: The image cannot be opened (any more).
    """
    photo = open_image(_image_of(caption))
    _check_size(caption, photo.size)
    return photo


def thumbnail_of(caption: Caption, longest: int) -> Image.Image:
    """The photo that was captioned, upright, its longer side ``longest`` pixels at most.

    It is never whole in memory where its file can be read smaller.

    Raises:
        UserError: As ``photo_of``.
        ImageError: As ``photo_of``.
    """
    stored = load_image(_image_of(caption), at_least=longest)
    _check_size(caption, stored.upright_size)
    return turn(_shrunk(stored, longest), stored.orientation)


def _shrunk(stored: Stored, longest: int) -> Image.Image:
    scale = longest / max(stored.size)
    if scale >= 1:
        return stored.rgb()
    width, height = (max(1, round(side * scale)) for side in stored.size)
    whole = (0, 0, *stored.covered)
    # A large gap would be a large part of what a huge photo takes in memory.
    return stored.resized((width, height), Image.Resampling.BICUBIC, whole, gap=1.5)


def _image_of(caption: Caption) -> ImageSource:
    if caption.image is None:
        raise UserError("the caption does not know its image: caption a file, or set its image")
    return caption.image


def _check_size(caption: Caption, size: tuple[int, int]) -> None:
    if size != caption.geometry.image_size:
        width, height = caption.geometry.image_size
        name = str(caption.image) if isinstance(caption.image, str | Path) else "the image"
        raise UserError(
            f"{name}: it has {size[0]}×{size[1]} pixels now, the captioned one had {width}×{height}"
        )


def fitted(photo: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """The photo at another (width, height) [height, width, 3]; tiny ones keep their pixels."""
    if size[0] >= 4 * photo.width and size[1] >= 4 * photo.height:
        return np.asarray(photo.resize(size, Image.Resampling.NEAREST))
    return np.asarray(photo.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))


def positions_of(caption: Caption, words: Sequence[str] | None) -> list[int]:
    """Where the wanted words stand in the caption, in its order; all of them for None.

    Raises:
        UserError: A word is not in the caption.
    """
    if words is None:
        return list(range(len(caption.words)))
    wanted = {word.strip().lower() for word in words}
    missing = sorted(wanted - {word.lower() for word in caption.words})
    if missing:
        there = ", ".join(dict.fromkeys(caption.words)) or "none"
        raise UserError(f"not in the caption: {', '.join(missing)}; its words are: {there}")
    return [t for t, word in enumerate(caption.words) if word.lower() in wanted]


def full_heat(caption: Caption, t: int, scale: str) -> float:
    """The share of attention in one cell that counts as full heat for word ``t``.

    "word": the largest of the word's own map; "common": the largest of all maps.

    Raises:
        UserError: There is no such scale.
    """
    if scale not in SCALES:
        raise UserError(f"no scale {scale!r}; choose of {', '.join(SCALES)}")
    maps = caption.attention[t] if scale == "word" else caption.attention
    return float(maps.max())


def heat_of(caption: Caption, t: int, size: tuple[int, int], scale: str = "word") -> np.ndarray:
    """The map of word ``t`` on the photo at another (width, height): [height, width] in [0, 1]."""
    values = caption.geometry.resized(size).upsample(caption.attention[t])
    return values / max(full_heat(caption, t, scale), np.finfo(np.float32).tiny)


def entropy_of(map_HW: np.ndarray) -> float:
    """How spread out a map is, in bits: 0 for one cell, log2(H·W) for all cells alike."""
    shares = np.asarray(map_HW, dtype=np.float64).ravel()
    shares = shares[shares > 0] / max(float(shares.sum()), 1e-30)
    # abs: a single cell gives minus zero.
    return abs(float(-(shares * np.log2(shares)).sum()))


def paint(
    image: np.ndarray,
    heat: np.ndarray,
    *,
    style: str = "heat",
    colormap: str = "inferno",
    alpha: float = 0.55,
) -> np.ndarray:
    """Lay heat over a photo in one of two styles.

    Args:
        image: The photo [H, W, 3] uint8.
        heat: The attention at each of its pixels [H, W], in [0, 1].
        style: "heat": a colour map over the photo (``overlay``); "light": nothing but the
            photo's own light (``light_up``).
        colormap: As for ``overlay``.
        alpha: As for ``overlay``.

    Returns:
        The picture [H, W, 3] uint8.

    Raises:
        UserError: No such style, or as ``overlay``.
    """
    if style not in STYLES:
        raise UserError(f"no style {style!r}; choose of {', '.join(STYLES)}")
    if style == "light":
        return light_up(image, heat)
    return overlay(image, heat, colormap=colormap, alpha=alpha)


def light_up(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Let light fall on a photo: as at dusk where it is cold, in full light where it is hot.

    Args:
        image: The photo [H, W, 3] uint8.
        heat: The attention at each of its pixels [H, W], in [0, 1].

    Returns:
        The picture [H, W, 3] uint8.
    """
    photo = image.astype(np.float32) / 255
    grey = (photo @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[:, :, None]
    cold = 0.3 * (0.4 * grey + 0.6 * photo)
    hot = 1 - (1 - photo) * 0.68  # brighter than the photo, so that the light shows in its blacks
    mixed = cold + (hot - cold) * heat.astype(np.float32)[:, :, None]
    return np.rint(mixed * 255).clip(0, 255).astype(np.uint8)


def overlay(
    image: np.ndarray, heat: np.ndarray, *, colormap: str = "inferno", alpha: float = 0.55
) -> np.ndarray:
    """Lay heat over a photo: dim and grey where it is cold, in full light and glowing where hot.

    Args:
        image: The photo [H, W, 3] uint8.
        heat: The attention at each of its pixels [H, W], in [0, 1].
        colormap: One of matplotlib's colour maps, perceptually uniform for preference.
        alpha: How much of the glow covers the photo where the heat is full; 0 leaves light alone.

    Returns:
        The picture [H, W, 3] uint8.

    Raises:
        UserError: There is no such colour map, or ``alpha`` is not in [0, 1].
    """
    import matplotlib

    if colormap not in matplotlib.colormaps:
        raise UserError(
            f"no colour map {colormap!r}; try inferno, magma, viridis, cividis, "
            "or another of matplotlib's"
        )
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha is {alpha}; it must lie between 0 and 1")
    photo = image.astype(np.float32) / 255
    heat = heat.astype(np.float32)
    warmth = heat[:, :, None]
    grey = (photo @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[:, :, None]
    cold = 0.48 * (0.85 * grey + 0.15 * photo)
    # Half of the photo's colour under the glow: all of it would turn a blue sky's glow to green.
    lit = cold + (0.5 * grey + 0.5 * photo - cold) * warmth
    # Neither the map's near-black end, which would leave a dirty rim, nor its near-white one.
    table = matplotlib.colormaps[colormap](np.linspace(0.3, 0.9, 256))[:, :3].astype(np.float32)
    glow = table[np.rint(heat * 255).astype(np.uint8)]
    mixed = lit + (glow - lit) * (alpha * warmth**0.75)
    return np.rint(mixed * 255).clip(0, 255).astype(np.uint8)
