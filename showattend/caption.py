"""The result: a caption, and where the model looked for each of its words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from showattend.caption_forms import CaptionForms, Gap, SelfAttention
from showattend.images.geometry import Geometry
from showattend.images.sources import ImageSource


class Photo(NamedTuple):
    """The data shared by all captions of an image.

    Attributes:
        image: The image that was captioned; None if it is not kept.
        geometry: Maps the grid back to its pixels.
        grid: The rows and columns of its maps.
        familiarity: See `Caption`.
    """

    image: ImageSource | None
    geometry: Geometry
    grid: tuple[int, ...]
    familiarity: float | None


@dataclass(frozen=True, eq=False)
class Caption(CaptionForms):
    """A caption of one image, with one attention map per word.

    Attributes:
        words: The T words as the model wrote them, without special tokens.
        log_probs: Each word's log-probability, then that of the end: T + 1 values, or T if the
            search was cut off at its maximum length. They are the model's own, over its whole
            vocabulary, banned words included. NaN if unknown.
        attention: One map per word over the feature grid [T, H, W] float32, each sums to one.
        betas: The gate of each word [T]: how much the image counted (paper, section 4.2.1). None
            for a model without a gate.
        geometry: Maps the grid back to the image's pixels.
        score: Ranks captions, whether searched, sampled or given: the log-probability divided by
            the length, the end counted, to the power of the search's length penalty.
        image: The image that was captioned, for overlays.
        alternatives: The runners-up, best first.
        unsure_below: A content word with a lower probability is `unsure`; the model's calibration
            sets this, and 0 marks none.
        familiarity: How similar the photo is to the training photographs: the share of the
            validation photographs that are as strange or stranger, 0 to 1. None if the model cannot
            tell (it was not calibrated, or runs at another size).
        parts: The maps of each head, hop or level of the attention [T, P, H, W], each sums to one;
            None if there is only ``attention``.
        part_names: Their names [P]: "head 1", "hop 2", "regions".
        sentinel: The share of its attention that the model kept for what it knew without looking
            [T], 0 to 1 (Lu et al. 2017); None for a model without a sentinel. ``attention`` still
            sums to one over the image.
        gaps: The gaps that `Captioner.fill` filled in.
        self_attention: The attention among its words, and among the cells of the grid; None unless
            `Captioner.with_self_attention` has added it.
        explanation: The kind of maps if `Captioner.explain` made them, such as "gradient × input";
            empty for the attention that came with the caption.
    """

    words: tuple[str, ...]
    log_probs: tuple[float, ...]
    attention: np.ndarray = field(repr=False)
    betas: np.ndarray | None = field(repr=False)
    geometry: Geometry = field(repr=False)
    score: float
    image: ImageSource | None = field(default=None, repr=False)
    alternatives: tuple[Caption, ...] = field(default=(), repr=False)
    unsure_below: float = field(default=0.0, repr=False)
    familiarity: float | None = field(default=None, repr=False)
    parts: np.ndarray | None = field(default=None, repr=False)
    part_names: tuple[str, ...] = field(default=(), repr=False)
    sentinel: np.ndarray | None = field(default=None, repr=False)
    gaps: tuple[Gap, ...] = field(default=(), repr=False)
    self_attention: SelfAttention | None = field(default=None, repr=False)
    explanation: str = field(default="", repr=False)

    @property
    def text(self) -> str:
        """The caption as a sentence: "A dog runs through the grass."."""
        from showattend.text.tokenizer import sentence

        return sentence(self.words)

    @property
    def raw(self) -> str:
        """The words separated by spaces, as the scorers expect them."""
        return " ".join(self.words)

    @property
    def log_prob(self) -> float:
        """The log-probability of the whole caption."""
        return float(sum(self.log_probs))

    def __str__(self) -> str:
        return self.text
