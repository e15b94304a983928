"""How well a map hits an object, with baselines and bootstrap intervals.

There are two measures: whether the map's peak falls on the object (the pointing game, Zhang et al.
2016, "Top-down neural attention by excitation backprop"), and how much of the map's mass does
(attention correctness, Liu et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from showattend.caption import Caption
from showattend.evaluation.grounding.nouns import Mention
from showattend.evaluation.scores.statistics import resamples

MAPS = ("model", "uniform", "centre", "other_word")
"""The model's map of the word, and the baselines: a uniform map, a map at the centre, and the maps
of the caption's other words."""
BASELINES = MAPS[1:]

PAPER_SIGMA = 20 / 224
"""The blur of the paper's figures, "to emulate the large receptive field" (section 5.4): sigma as a
fraction of the image's side. The authors' program, https://github.com/kelvinxu/arctic-captions
(alpha_visualization.ipynb), upsamples 14 x 14 cells 16 times and blurs with 20 pixels."""
CENTRE_SIGMA = 0.25  # fraction of the image's width and height


class Look:
    """A map on pixels, prepared for comparison with many masks.

    Args:
        heat: The map [height, width].
        blurred: The map whose peak counts, [height, width]; None uses ``heat``.

    Attributes:
        heat: The flattened map [height · width].
        blurred: The flattened map whose peak counts [height · width].
        peak: The pixels that share its maximum [height · width] bool.
    """

    def __init__(self, heat: np.ndarray, blurred: np.ndarray | None = None) -> None:
        self.heat = heat.ravel()
        self.blurred = self.heat if blurred is None else blurred.ravel()
        # Treat values that differ only by rounding as equal; a blur has larger rounding errors.
        tolerance = 1e-6 if blurred is None else 1e-5
        self.peak = np.flatnonzero(self.blurred >= self.blurred.max() * (1 - tolerance))
        self._total = self.heat.sum(dtype=np.float64)

    def pointing(self, mask: np.ndarray) -> float:
        """Whether the map's peak is inside a mask.

        Args:
            mask: The objects [height, width] bool.

        Returns:
            0 or 1; if several pixels share the peak, the fraction of them that is inside. For a
            uniform map that is the fraction of the image that the mask covers.
        """
        return float(mask.ravel()[self.peak].mean())

    def mass(self, mask: np.ndarray) -> float:
        """The fraction of the map's mass inside a mask [height, width] bool."""
        return float(self.heat[mask.ravel()].sum(dtype=np.float64) / self._total)


def looks_of(caption: Caption, sigma: float = 0.0) -> list[Look]:
    """Prepare the map of each word of a caption on the pixels of the photo.

    Args:
        caption: The caption.
        sigma: Blur before peaks are located, as a fraction of the photo's sides; 0 for none.

    Returns:
        T maps.
    """
    steps = range(len(caption.words))
    if not sigma:
        return [Look(caption.heatmap(t)) for t in steps]
    return [Look(caption.heatmap(t), caption.heatmap(t, sigma)) for t in steps]


def look_of_words(looks: Sequence[Look], mention: Mention) -> Look:
    """The mean map of the words of a mention."""
    of_name = looks[mention.start : mention.stop]
    return Look(
        np.mean([look.heat for look in of_name], axis=0),
        np.mean([look.blurred for look in of_name], axis=0),
    )


def centre_map(size: tuple[int, int]) -> np.ndarray:
    """The centre baseline: a Gaussian with sigma a quarter of the image's width and height.

    Args:
        size: Width and height in pixels.

    Returns:
        The map [height, width].
    """
    down, across = (
        np.exp(-0.5 * (((np.arange(n) + 0.5) / n - 0.5) / CENTRE_SIGMA) ** 2)
        for n in (size[1], size[0])
    )
    return np.outer(down, across)


def bootstrap(images: Sequence[np.ndarray]) -> np.ndarray:
    """Compute 95 % intervals of means over words with a bootstrap over images.

    Args:
        images: The values of each image's words, [words, K].

    Returns:
        [K, 2]: the lower and upper end for the mean of each of the K values.
    """
    sums = np.array([np.asarray(each, float).sum(0) for each in images])
    counts = np.array([len(each) for each in images], dtype=float)
    times = resamples(len(images))
    drawn = times @ counts
    means = (times @ sums)[drawn > 0] / drawn[drawn > 0, None]
    return np.percentile(means, [2.5, 97.5], axis=0).T


def as_pair(interval: Iterable[float]) -> list[float]:
    """Convert an interval to plain numbers for JSON."""
    low, high = interval
    return [float(low), float(high)]
