"""Summary statistics of a model's attention maps, with a diagnosis if they are all alike.

These do not measure whether the maps are right; `showattend.evaluation.grounding.ground` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch

UNIFORM = 0.98
"""Maps count as uniform at or above this entropy (a fraction of the maximum)."""

ALIKE = 0.02
"""The maps of a caption's words count as the same up to this distance."""


def describe_maps(captions: Iterable[torch.Tensor]) -> dict[str, float]:
    """Compute three statistics, each averaged over captions.

    Args:
        captions: The maps of each caption's words, [T, L] or [T, H, W], each summing to 1.

    Returns:
        "entropy": -sum_i alpha_i log alpha_i of a word's map as a fraction of log L: 1 for a
            uniform map, 0 for a single location.
        "change": the total variation 1/2 sum_i |alpha_si - alpha_ti| between the maps of two words
            of a caption, averaged over all pairs: 0 if they are equal, 1 if they do not overlap.
        "coverage": sum_i min(1, sum_t alpha_ti) as a fraction of min(T, L), the maximum for T
            words: 1 if no location is attended to twice. (The paper's doubly stochastic penalty,
            equation 14, encourages sum_t alpha_ti = 1.)
        A statistic is omitted if it is undefined for all captions: there are no maps, the maps have
        a single location, or (change) no caption has two words.
    """
    found: dict[str, list[float]] = {"entropy": [], "change": [], "coverage": []}
    for maps in captions:
        alpha = maps.flatten(1).double()
        words, locations = alpha.shape
        if not words or locations < 2:
            continue
        entropy = -torch.special.xlogy(alpha, alpha).sum(1).mean()
        found["entropy"].append(float(entropy) / math.log(locations))
        seen = alpha.sum(0).clamp(max=1).sum()
        found["coverage"].append(float(seen) / min(words, locations))
        if words > 1:
            apart = torch.cdist(alpha, alpha, p=1).sum() / 2 / (words * (words - 1))
            found["change"].append(float(apart))
    return {key: sum(values) / len(values) for key, values in found.items() if values}


def complain_of_maps(figures: Mapping[str, float]) -> str | None:
    """Name the likely cause in one line if the maps are all uniform or all alike, else None.

    Args:
        figures: The result of `describe_maps`.
    """
    entropy, change = figures.get("entropy"), figures.get("change")
    if entropy is not None and entropy >= UNIFORM:
        return (
            f"the attention maps are almost uniform (entropy {entropy:.3f} of the maximum), so the "
            "model sees only the mean of the image; it may need more training, its features may "
            "be the same everywhere (encoder.name, encoder.pretrained), or "
            "train.doubly_stochastic may be too large"
        )
    if change is not None and change <= ALIKE:
        return (
            f"the attention maps of a caption's words are all alike (they differ by {change:.3f} "
            "of 1): the decoder's state does not affect the scores; train.lr may have been so "
            "large that their tanh is saturated, or decoder.hidden_dim may be too small"
        )
    return None
