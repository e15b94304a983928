"""How well one map hits one object, and what chance would hit: numbers of a map and a mask.

Two measures: does the map's peak fall on the object (the pointing game, Zhang et al. 2016,
"Top-down neural attention by excitation backprop"), and how much of the map's mass does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from showattend.caption import Caption
from showattend.evaluation.grounding.nouns import Mention

MAPS = ("model", "uniform", "centre", "other_word")
"""The model's map of the word, and what it is held against: a map that is the same everywhere, one
that always looks at the middle, and the maps of the caption's other words."""
BASELINES = MAPS[1:]

PAPER_SIGMA = 20 / 224
"""Of the Gaussian that the paper's figures blur the upsampled maps with, "to emulate the large
receptive field" (section 5.4), as a share of the image's side: that of the authors' program,
https://github.com/kelvinxu/arctic-captions (alpha_visualization.ipynb), which upsamples 14 x 14
cells 16 times and blurs with 20 pixels."""
CENTRE_SIGMA = 0.25  # of the image's width and height: the usual centre bias of a photographer
RESAMPLES = 2000
SEED = 0


class Look:
    """A map at every pixel, ready for questions about many masks.

    Args:
        heat: The map [height, width].
        blurred: The map that the peak is looked for in; None is the same.

    Attributes:
        heat: The map [height · width].
        blurred: The map with the peak.
        peak: The places that share its maximum.
    """

    def __init__(self, heat: np.ndarray, blurred: np.ndarray | None = None) -> None:
        self.heat = heat.ravel()
        self.blurred = self.heat if blurred is None else blurred.ravel()
        # What rounding alone tells apart is one: a blur's products round more.
        tolerance = 1e-6 if blurred is None else 1e-5
        self.peak = np.flatnonzero(self.blurred >= self.blurred.max() * (1 - tolerance))
        self._total = self.heat.sum(dtype=np.float64)

    def pointing(self, mask: np.ndarray) -> float:
        """Whether the map's peak is inside a mask.

        Args:
            mask: The objects [height, width] bool.

        Returns:
            0 or 1; where several pixels share the peak, the part of them that is inside, which
            for a map that is the same everywhere is the part of the image that the mask covers.
        """
        return float(mask.ravel()[self.peak].mean())

    def mass(self, mask: np.ndarray) -> float:
        """The part of the map's mass inside a mask [height, width] bool."""
        return float(self.heat[mask.ravel()].sum(dtype=np.float64) / self._total)


def looks_of(caption: Caption, sigma: float = 0.0) -> list[Look]:
    """The map of each word of a caption, at every pixel of the photo.

    Args:
        caption: The caption.
        sigma: The peak is looked for in the map blurred with such a Gaussian.
    """
    steps = range(len(caption.words))
    if not sigma:
        return [Look(caption.heatmap(t)) for t in steps]
    return [Look(caption.heatmap(t), caption.heatmap(t, sigma)) for t in steps]


def look_of_words(looks: Sequence[Look], mention: Mention) -> Look:
    """The map of a name of several words: the mean of theirs."""
    of_name = looks[mention.start : mention.stop]
    return Look(
        np.mean([look.heat for look in of_name], axis=0),
        np.mean([look.blurred for look in of_name], axis=0),
    )


def centre_map(size: tuple[int, int]) -> np.ndarray:
    """The map of a model that always looks at the middle [height, width].

    A Gaussian whose standard deviation is a quarter of the image's width and height.

    Args:
        size: Width and height in pixels.
    """
    down, across = (
        np.exp(-0.5 * (((np.arange(n) + 0.5) / n - 0.5) / CENTRE_SIGMA) ** 2)
        for n in (size[1], size[0])
    )
    return np.outer(down, across)


def drawn_again(count: int) -> np.ndarray:
    """How often each of ``count`` images is drawn, in each of the bootstrap's resamples.

    The same draws every time: measurements of the same images are compared pair by pair.

    Returns:
        [RESAMPLES, count].
    """
    draw = np.random.default_rng(SEED)
    return np.stack(
        [np.bincount(draw.integers(count, size=count), minlength=count) for _ in range(RESAMPLES)]
    )


def bootstrap(images: Sequence[np.ndarray]) -> np.ndarray:
    """95 % intervals of means over words, by a bootstrap over images.

    Args:
        images: For each image the values of its words [words, K].

    Returns:
        [K, 2]: low and high of each value's mean.
    """
    sums = np.array([np.asarray(each, float).sum(0) for each in images])
    counts = np.array([len(each) for each in images], dtype=float)
    times = drawn_again(len(images))
    drawn = times @ counts
    means = (times @ sums)[drawn > 0] / drawn[drawn > 0, None]
    return np.percentile(means, [2.5, 97.5], axis=0).T


def as_pair(interval: Iterable[float]) -> list[float]:
    """An interval as plain numbers, for JSON."""
    low, high = interval
    return [float(low), float(high)]
