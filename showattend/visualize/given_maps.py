"""A caption from another model's attention weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from showattend.caption import Caption
from showattend.exceptions import UserError, shown
from showattend.images.geometry import Geometry
from showattend.images.sources import ImageSource
from showattend.images.upright import open_image
from showattend.text.printable import is_word

SUM_TOLERANCE = 0.01
"""The most by which a map's sum may differ from one: the error of half precision."""


def caption_from_maps(
    photo: ImageSource,
    words: Sequence[str],
    attention: Any,
    *,
    grid: tuple[int, int] | None = None,
    part_names: Sequence[str] | None = None,
    log_probs: Sequence[float] | None = None,
    betas: Any = None,
    sentinel: Any = None,
    box: Sequence[float] | None = None,
) -> Caption:
    """Make a caption from the weights of any model; see `Caption.from_maps`.

    Raises:
        UserError: The shapes do not match, or weights are negative, not finite, or do not sum to
            one.
        ImageError: The image cannot be opened.
    """
    said = words.split() if isinstance(words, str) else [str(word) for word in words]
    if not said or not all(is_word(word) for word in said):
        raise UserError("words: give one or more, each without blanks or control characters")
    maps = _weights(attention, len(said), grid)
    parts = None if maps.ndim == 3 else maps
    names: tuple[str, ...] = ()
    if parts is not None:
        names = tuple(part_names or (f"head {p + 1}" for p in range(parts.shape[1])))
        if len(names) != parts.shape[1]:
            raise UserError(f"part_names: {len(names)} names for {parts.shape[1]} parts")
        maps = parts.mean(1)
    size = open_image(photo).size
    covered: tuple[float, ...] = (0.0, 0.0, *map(float, size))
    if box is not None:
        covered = tuple(_array("box", box).ravel().tolist())
    bounded = all(abs(each) < 1e9 for each in covered)  # so that cells have a size
    if (
        not bounded
        or len(covered) != 4
        or not (covered[0] < covered[2] and covered[1] < covered[3])
    ):
        raise UserError(f"box is {shown(covered)}; it must be left, top, right, bottom")
    logs = _numbers("log_probs", log_probs, (len(said), len(said) + 1))
    gates = _numbers("betas", betas, (len(said),))
    kept = _numbers("sentinel", sentinel, (len(said),))
    known = np.full(len(said), np.nan) if logs is None else logs
    return Caption(
        words=tuple(said),
        log_probs=tuple(known.tolist()),
        attention=maps,
        betas=gates,
        geometry=Geometry(size, covered),
        score=float(known.mean()),
        image=photo,
        parts=parts,
        part_names=names,
        sentinel=kept,
    )


def _weights(attention: Any, count: int, grid: tuple[int, int] | None) -> np.ndarray:
    """Weights as [T, H, W] or [T, P, H, W] float32 that sum to one.

    Raises:
        UserError: They are not weights of this many words on a grid.
    """
    maps = _array("attention", attention)
    shape = " x ".join(map(str, maps.shape))
    if grid is not None:
        H, W = grid
        if maps.ndim not in (2, 3) or maps.shape[-1] != H * W:
            cls_token = maps.ndim in (2, 3) and maps.shape[-1] == H * W + 1
            hint = "; leave out the class token, [..., 1:], and divide by the sum" * cls_token
            raise UserError(
                f"attention has the shape {shape}; with a grid of {H} x {W} it must be "
                f"[T, {H * W}] or [T, P, {H * W}]{hint}"
            )
        maps = maps.reshape(*maps.shape[:-1], H, W)
    elif maps.ndim == 2:
        side = math.isqrt(maps.shape[1])
        example = f"grid=({side}, {side})" if side * side == maps.shape[1] else "grid=(H, W)"
        raise UserError(f"attention has the shape {shape}: say on which grid, such as {example}")
    if maps.ndim not in (3, 4) or 0 in maps.shape:
        raise UserError(
            f"attention has the shape {shape}; it must be [T, H, W], [T, P, H, W] for P heads, or "
            "[T, L] with a grid"
        )
    if len(maps) != count:
        raise UserError(f"attention has maps for {len(maps)} words, and there are {count} words")
    if not np.isfinite(maps).all() or maps.min() < 0:
        raise UserError(
            "attention holds numbers that are negative or not finite: give weights "
            "after the softmax"
        )
    sums = maps.sum((-2, -1))
    off = np.abs(sums - 1)
    if off.max() > SUM_TOLERANCE:
        t = int(np.unravel_index(off.argmax(), off.shape)[0])
        raise UserError(
            f"attention: the map of word {t + 1} sums to {sums.ravel()[off.argmax()]:.4g}, not to "
            "one; divide each map by its sum if it is meant so"
        )
    return (maps / sums[..., None, None]).astype(np.float32)


def _numbers(name: str, values: Any, lengths: tuple[int, ...]) -> np.ndarray | None:
    if values is None:
        return None
    numbers = _array(name, values)
    if numbers.ndim != 1 or len(numbers) not in lengths:
        shape = " x ".join(map(str, numbers.shape))
        raise UserError(f"{name}: there must be {lengths[0]} numbers, one per word, not {shape}")
    return numbers


def _array(name: str, values: Any) -> np.ndarray:
    """Numbers as float64; a PyTorch tensor converts itself by its ``__array__``."""
    try:
        if hasattr(values, "detach"):
            values = values.detach().float().cpu()
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{name}: not an array of numbers ({error})") from error
