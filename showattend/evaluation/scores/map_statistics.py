"""What a model's attention maps are like as a whole, and what is likely wrong when all are alike.

None of this says whether the maps are right: that is `showattend.evaluation.grounding.ground`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch

UNIFORM = 0.98
"""Entropy, as a share of the largest possible, from which maps count as uniform."""

ALIKE = 0.02
"""Distance between the words of a caption up to which their maps count as the same."""


def describe_maps(captions: Iterable[torch.Tensor]) -> dict[str, float]:
    """Three figures, each the mean over captions.

    Args:
        captions: For each caption the maps of its words, [T, L] (or [T, H, W]), each summing to 1.

    Returns:
        "entropy": of a word's map, -sum_i alpha_i log alpha_i, as a share of log L: 1 where it
            looks everywhere alike, 0 where it looks at one location.
        "change": between the maps of two words of a caption, 1/2 sum_i |alpha_si - alpha_ti|
            (total variation), the mean of all pairs: 0 where they are the same, 1 where no
            location is shared.
        "coverage": sum_i min(1, sum_t alpha_ti), as a share of min(T, L), the most that T words
            can cover: 1 where nothing is looked at twice (the paper's doubly stochastic term asks
            for sum_t alpha_ti = 1).
        A figure is left out where no caption says anything about it: there are no maps, they
        have but one location, or (change) no caption has two words.
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
    """One line that names the likely cause, where the maps are all uniform or all alike.

    Args:
        figures: What `describe_maps` says.
    """
    entropy, change = figures.get("entropy"), figures.get("change")
    if entropy is not None and entropy >= UNIFORM:
        return (
            f"the attention maps are all but uniform (entropy {entropy:.3f} of the most possible): "
            "the model sees the mean of the picture; likely it has trained too little, its "
            "features are the same everywhere (encoder.name, encoder.pretrained), or "
            "train.doubly_stochastic is too large"
        )
    if change is not None and change <= ALIKE:
        return (
            f"the attention maps of a caption's words are all alike (they differ by {change:.3f} "
            "of 1): the state that asks does not reach the scores; likely the rate train.lr was so "
            "large that their tanh is saturated, or the model writes without its state "
            "(decoder.hidden_dim too small)"
        )
    return None
