"""The common basis of all pictures of a caption: the photo, the words, the maps as heat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from showattend.caption import Caption
from showattend.exceptions import UserError
from showattend.images.geometry import Geometry
from showattend.images.image_files import Stored, load_image
from showattend.images.sources import ImageSource, plain
from showattend.images.turns import turn
from showattend.images.upright import open_image
from showattend.visualize.focus import full_share

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

    It is never fully in memory if its file can be read at a smaller size.

    Raises:
        UserError: See ``photo_of``.
        ImageError: See ``photo_of``.
    """
    stored = load_image(plain(_image_of(caption)), at_least=longest)
    _check_size(caption, stored.upright_size)
    return turn(_shrunk(stored, longest), stored.orientation)


def _shrunk(stored: Stored, longest: int) -> Image.Image:
    scale = longest / max(stored.size)
    if scale >= 1:
        return stored.rgb()
    width, height = (max(1, round(side * scale)) for side in stored.size)
    whole = (0, 0, *stored.covered)
    # A large gap would take much of a huge photo's memory.
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
    """The positions of the wanted words in the caption, in order; all of them for None.

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

    "word": the `full_share` of the word's own map; "common": the largest of all maps.

    Raises:
        UserError: There is no such scale.
    """
    if scale not in SCALES:
        raise UserError(f"no scale {scale!r}; choose from {', '.join(SCALES)}")
    if scale == "common":
        return float(caption.attention.max())
    return full_share(caption.attention[t])


@dataclass(frozen=True, eq=False)
class Heat:
    """A map for drawing.

    Attributes:
        map: The map on the grid.
        geometry: The place of the grid on the photo.
        full: The share of attention in one cell that is full heat.
    """

    map: np.ndarray
    geometry: Geometry
    full: float

    def at(self, size: tuple[int, int]) -> np.ndarray:
        """The heat on the photo at another (width, height): [height, width] in [0, 1]."""
        values = self.geometry.resized(size).upsample(self.map)
        return (values / max(self.full, np.finfo(np.float32).tiny)).clip(0, 1)


def heat_for(caption: Caption, t: int, scale: str = "word") -> Heat:
    """The heat of word ``t``.

    Raises:
        UserError: There is no such scale.
    """
    return Heat(caption.attention[t], caption.geometry, full_heat(caption, t, scale))


def heat_of(caption: Caption, t: int, size: tuple[int, int], scale: str = "word") -> np.ndarray:
    """The map of word ``t`` on the photo at another (width, height): [height, width] in [0, 1]."""
    return heat_for(caption, t, scale).at(size)


def entropy_of(map_HW: np.ndarray) -> float:
    """The entropy of a map in bits: 0 for one cell, log2(H·W) for an even map."""
    shares = np.asarray(map_HW, dtype=np.float64).ravel()
    shares = shares[shares > 0] / max(float(shares.sum()), 1e-30)
    # abs: a single cell gives minus zero.
    return abs(float(-(shares * np.log2(shares)).sum()))


def chance_of(caption: Caption, t: int) -> str:
    """The printed probability of word ``t``; empty if unknown."""
    value = caption.confidences[t]
    return "" if math.isnan(value) else f"{value:.0%}"


SENTINEL = (
    "Sentinel: the share of the word's attention that went to what the model knew without looking."
)
"""The meaning of the numbers by `sentinel_of`; a line in the notes of every figure with them."""


def sentinel_of(caption: Caption, t: int) -> str:
    """The printed share of word ``t`` for the sentinel; empty if the model has none."""
    return "" if caption.sentinel is None else f"sentinel {caption.sentinel[t]:.0%}"


def details_of(caption: Caption, t: int) -> str:
    """Return the gate of word ``t``, if there is one, and its map's entropy, for printing."""
    gate = "" if caption.betas is None else f"β {caption.betas[t]:.2f} · "
    return f"{gate}H {entropy_of(caption.attention[t]):.1f}"


def paint(
    image: np.ndarray,
    heat: np.ndarray,
    *,
    style: str = "heat",
    colormap: str = "inferno",
    alpha: float = 0.55,
) -> np.ndarray:
    """Draw heat over a photo in one of two styles.

    Args:
        image: The photo [H, W, 3] uint8.
        heat: The attention at each of its pixels [H, W], in [0, 1].
        style: "heat": a colour map over the photo (``overlay``); "light": only the photo's own
            light (``light_up``).
        colormap: See ``overlay``.
        alpha: See ``overlay``.

    Returns:
        The picture [H, W, 3] uint8.

    Raises:
        UserError: No such style, or as ``overlay``.
    """
    if style not in STYLES:
        raise UserError(f"no style {style!r}; choose from {', '.join(STYLES)}")
    if style == "light":
        return light_up(image, heat)
    return overlay(image, heat, colormap=colormap, alpha=alpha)


def light_up(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Light a photo: dusk where it is cold, full light where it is hot.

    Args:
        image: The photo [H, W, 3] uint8.
        heat: The attention at each of its pixels [H, W], in [0, 1].

    Returns:
        The picture [H, W, 3] uint8.
    """
    mixed = _lit(image, heat.astype(np.float32)[:, :, None], *TONES["light"])
    return np.rint(mixed * 255).clip(0, 255).astype(np.uint8)


def overlay(
    image: np.ndarray, heat: np.ndarray, *, colormap: str = "inferno", alpha: float = 0.55
) -> np.ndarray:
    """Draw heat over a photo: dim and grey where it is cold, bright and glowing where it is hot.

    Args:
        image: The photo [H, W, 3] uint8.
        heat: The attention at each of its pixels [H, W], in [0, 1].
        colormap: One of matplotlib's colour maps, preferably perceptually uniform.
        alpha: How much the glow covers the photo at full heat; 0 leaves only light.

    Returns:
        The picture [H, W, 3] uint8.

    Raises:
        UserError: There is no such colour map, or ``alpha`` is not in [0, 1].
    """
    heat = heat.astype(np.float32)
    lit = _lit(image, heat[:, :, None], *TONES["heat"])
    colours, covers = glow(heat, colormap, alpha)
    mixed = lit + (colours - lit) * covers[..., None]
    return np.rint(mixed * 255).clip(0, 255).astype(np.uint8)


def glow(heat: np.ndarray, colormap: str, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """The glow of the style "heat": its colours [..., 3] and how much they cover [...], in [0, 1].

    Raises:
        UserError: See ``overlay``.
    """
    import matplotlib

    if colormap not in matplotlib.colormaps:
        raise UserError(
            f"no colour map {colormap!r}; try inferno, magma, viridis, cividis, "
            "or another of matplotlib's"
        )
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha is {alpha}; it must lie between 0 and 1")
    # Neither the map's near-black end, which would leave a dirty rim, nor its near-white one.
    table = matplotlib.colormaps[colormap](np.linspace(0.3, 0.9, 256))[:, :3].astype(np.float32)
    return table[np.rint(heat * 255).astype(np.uint8)], alpha * heat**0.75


class Tone(NamedTuple):
    """A photo toned pixel by pixel: ``grey`` x its luma + ``own`` x itself + ``more``."""

    grey: float
    own: float
    more: float = 0.0


LUMA = (0.299, 0.587, 0.114)
TONES = {
    # Brighter than the photo where it is hot, so that the light shows in the photo's blacks.
    "light": (Tone(0.15, 0.21), Tone(0, 0.68, 0.32)),
    # Half of the photo's colour under the glow: all of it would turn a blue sky's glow to green.
    "heat": (Tone(0.408, 0.072), Tone(0.5, 0.5)),
}
"""How a photo looks where it is cold, and where it is hot, by style."""


def _lit(image: np.ndarray, warmth: np.ndarray, cold: Tone, hot: Tone) -> np.ndarray:
    """A photo [H, W, 3] between its cold and its hot tone, by warmth [H, W, 1]."""
    photo = image.astype(np.float32) / 255
    grey = (photo @ np.array(LUMA, dtype=np.float32))[:, :, None]
    dark, bright = (tone.grey * grey + tone.own * photo + tone.more for tone in (cold, hot))
    return dark + (bright - dark) * warmth
