"""What a word loses as parts of the image are removed, most important first.

An explanation of a word is an order of the grid's cells. Two curves judge it (Petsiuk et al. 2018,
"RISE"; Samek et al. 2017): *deletion* replaces the cells in this order, beginning with the whole
image, and *insertion* puts them back in this order, beginning with nothing. Both record the drop
of the word's log-probability in nats, with the rest of the caption forced. An order that the word
depends on makes the drop large early in deletion, and small early in insertion.

On the feature grid, a cell's annotation is replaced by the mean or by another image's; the encoder
does not run again, so nothing else changes. On pixels, the cell's square of the input is blurred,
and the encoder runs again: a cell's annotation has seen more than its square.

Shape suffixes: N grids, T words, L locations, F fractions, D feature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from showattend.decoding.explaining import BATCH, log_probs_with, mean_grid, word_log_probs
from showattend.evaluation.grounding.pointing import PAPER_SIGMA
from showattend.images.sources import ImageSource
from showattend.model.encoder import encode
from showattend.system.device import exact_float32

if TYPE_CHECKING:
    from showattend.captioner import Captioner

FRACTIONS = (0.1, 0.2, 0.5, 0.8, 0.9)
"""The shares of cells, in addition to 0 and 1, at which curves on the feature grid are measured.
They are symmetric, so that a deletion curve read backwards is the insertion curve of the reverse.
"""
PIXEL_FRACTIONS = (0.2, 0.5, 0.8)
BLUR = PAPER_SIGMA
"""Sigma of the blur of pixels, as a fraction of the input's side."""

Probe = Callable[[np.ndarray, Sequence[int]], np.ndarray]
"""(present [N, L] bool, the T words) to log-probabilities [N, T] with only these cells present."""
Curve = dict[str, Any]
"""drops: at each point of the deletion curve, then of the insertion curve [2 F]; deletion,
insertion: the areas under the curves, which are mean drops; all in nats."""


def feature_probe(
    captioner: Captioner, features: torch.Tensor, replacement: torch.Tensor | None = None
) -> Probe:
    """Probe a caption on the feature grid.

    Args:
        captioner: The model.
        features: The photo's annotations [1, H, W, D].
        replacement: The annotations for removed cells [1, H, W, D]; None: the mean annotation.
    """
    other = mean_grid(features) if replacement is None else replacement

    def probe(present_NL: np.ndarray, words: Sequence[int]) -> np.ndarray:
        with torch.inference_mode(), exact_float32():
            present = torch.from_numpy(present_NL)
            found = log_probs_with(captioner.decoder, features, other, present, words)
        return found.float().cpu().numpy()

    return probe


def pixel_probe(captioner: Captioner, image: ImageSource) -> Probe:
    """Probe a caption on pixels: removed cells are blurred, and the encoder runs again.

    Raises:
        ImageError: The image cannot be opened.
    """
    sharp = captioner.preprocessing.load_pixels(image).pixels
    size = captioner.preprocessing.size
    soft = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(BLUR * size)))
    rows, columns = captioner.encoder.grid(size)
    row = (np.arange(size) * rows) // size
    column = (np.arange(size) * columns) // size
    batch = max(1, BATCH // 8)  # pixels are larger than annotations

    def probe(present_NL: np.ndarray, words: Sequence[int]) -> np.ndarray:
        found = []
        with torch.inference_mode(), exact_float32():
            for start in range(0, len(present_NL), batch):
                some = present_NL[start : start + batch].reshape(-1, rows, columns)
                shown = some[:, row][:, :, column, None]
                pixels = torch.from_numpy(np.where(shown, sharp, soft)).permute(0, 3, 1, 2)
                features = encode(
                    captioner.encoder, pixels.to(captioner.device), captioner.preprocessing,
                    captioner.dtype,
                )  # fmt: skip
                found.append(word_log_probs(captioner.decoder, features, words).float().cpu())
        return torch.cat(found).numpy()

    return probe


def order_of(scores_L: np.ndarray) -> np.ndarray:
    """The cells in the order of their scores [L], most important first; ties in grid order."""
    return np.argsort(-scores_L, kind="stable")


def centre_order(grid: tuple[int, int]) -> np.ndarray:
    """The cells of a grid (rows, columns) from the centre outwards, [L]."""
    rows, columns = grid
    down, across = ((np.arange(n) + 0.5) / n - 0.5 for n in grid)
    return order_of(-(down[:, None] ** 2 + across**2).reshape(rows * columns))


def presences(order_L: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """The cells present at each point of both curves.

    Args:
        order_L: The cells, most important first.
        fractions: The F shares of them that are first removed, then inserted.

    Returns:
        [2 F, L] bool: F grids of the deletion curve, F of the insertion curve.
    """
    rank = np.empty(len(order_L), int)
    rank[order_L] = np.arange(len(order_L))
    removed = np.array([rank < round(f * len(order_L)) for f in fractions])
    return np.concatenate([~removed, removed])


def curve_of(drops_2F: np.ndarray, total: float, fractions: Sequence[float]) -> Curve:
    """Both curves of an order.

    Args:
        drops_2F: The drops [2 F] at the F points of the deletion curve, then of the insertion
            curve, in nats.
        total: The drop with all cells removed.
        fractions: The F shares.
    """
    F, places = len(fractions), [0.0, *fractions, 1.0]
    return {
        "drops": [float(drop) for drop in drops_2F],
        "deletion": _area([0.0, *drops_2F[:F], total], places),
        "insertion": _area([total, *drops_2F[F:], 0.0], places),
    }


def reverse(drops_2F: np.ndarray) -> np.ndarray:
    """The drops [2 F] of the reverse order, if the fractions are symmetric."""
    deletion, insertion = np.split(drops_2F, 2)
    return np.concatenate([insertion[::-1], deletion[::-1]])


def removal_curves(
    probe: Probe,
    words: Sequence[int],
    scores: Mapping[str, Mapping[int, np.ndarray]],
    wanted: Sequence[int],
    grid: tuple[int, int],
    *,
    fractions: Sequence[float] = FRACTIONS,
    draws: int = 3,
    seed: int = 0,
) -> list[dict[str, object]]:
    """Measure all orders for some words of a caption.

    In addition to the given explanations, these are: "random" (the mean over some random orders),
    "centre" (from the centre outwards), and for attention "another word" (the mean over the maps
    of the caption's other words) and "least attended" (attention, reversed).

    Args:
        probe: Removes cells, on the grid or on pixels.
        words: The caption, T word numbers.
        scores: For each explanation, the scores [L] of words, by position. Those of "attention"
            are needed for all T words, the others for those of ``wanted`` that they explain.
        wanted: The words to measure.
        grid: Rows and columns.
        fractions: Points of the curves.
        draws: The number of random orders.
        seed: The same seed draws the same random orders.

    Returns:
        For each wanted word: total, the drop with all cells removed; and curves, a `Curve` by the
        name of the order.
    """
    L, per = grid[0] * grid[1], 2 * len(fractions)
    draw = np.random.default_rng(seed)
    shared = [draw.permutation(L) for _ in range(draws)] + [centre_order(grid)]
    looks = scores.get("attention", {})
    everywhere = [*shared, *(order_of(looks[u]) for u in sorted(looks))]
    ends = np.array([[True] * L, [False] * L])
    present = np.concatenate([ends, *(presences(order, fractions) for order in everywhere)])
    log_probs = probe(present, words)
    full, total = log_probs[0], log_probs[0] - log_probs[1]
    drops = (full - log_probs[2:]).reshape(len(everywhere), per, -1)
    by_look = {u: drops[len(shared) + n] for n, u in enumerate(sorted(looks))}
    found: list[dict[str, object]] = []
    for t in wanted:
        gone = float(total[t])
        paths = {"random": drops[:draws, :, t].mean(0), "centre": drops[draws, :, t]}
        if t in by_look:
            paths["attention"] = by_look[t][:, t]
            paths["least attended"] = reverse(by_look[t][:, t])
            others = [by_look[u][:, t] for u in by_look if u != t]
            if others:
                paths["another word"] = np.mean(others, 0)
        mine = {kind: each[t] for kind, each in scores.items() if kind != "attention" and t in each}
        if mine:
            grids = [presences(order_of(each), fractions) for each in mine.values()]
            lost = full[t] - probe(np.concatenate(grids), words[: t + 1])[:, t]
            for kind, each in zip(mine, lost.reshape(-1, per), strict=True):
                paths[kind] = each
        curves = {name: curve_of(path, gone, fractions) for name, path in paths.items()}
        found.append({"total": gone, "curves": curves})
    return found


def _area(values: Sequence[float], places: Sequence[float]) -> float:
    """The area under straight lines between points."""
    y, x = np.asarray(values, float), np.asarray(places, float)
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum())
