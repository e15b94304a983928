"""The result: a caption, and where the model looked for each of its words."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from showattend.exceptions import UserError
from showattend.images.geometry import Geometry
from showattend.images.image_files import ImageSource, open_image
from showattend.text.printable import is_word


class Photo(NamedTuple):
    """What all captions of an image share.

    Attributes:
        image: What was captioned.
        geometry: The way from the grid back to its pixels.
        grid: Rows and columns of its maps.
        familiarity: As of `Caption`.
    """

    image: ImageSource
    geometry: Geometry
    grid: tuple[int, ...]
    familiarity: float | None


class Gap(NamedTuple):
    """A word that was missing in a sentence (`Captioner.fill`).

    Attributes:
        place: Which word of the caption it is.
        candidates: Words that may stand there and their probabilities, 0 to 1, best first.
    """

    place: int
    candidates: tuple[tuple[str, float], ...]


NOTE = "unlike the photographs that the model was trained on; its captions may well be wrong"
NOTE_BELOW = 0.03
"""Of ordinary photographs so many get the note, measured on the validation ones."""


@dataclass(frozen=True, eq=False)
class Caption:
    """A caption of one image, with one attention map per word.

    Attributes:
        words: The T words as the model said them, without special tokens.
        log_probs: Each word's log-probability, then that of the end: T + 1 values, or T when
            the search was cut off at its maximum length. They are the model's own, over its whole
            vocabulary: words that were banned count as well. NaN where it is not known.
        attention: One map per word over the feature grid [T, H, W] float32, each sums to one.
        betas: The gate of each word [T]: how much the image counted (paper, section 4.2.1). None
            for a model without a gate.
        geometry: The way from the grid back to the image's pixels.
        score: What captions are ranked by, searched, sampled or given: their log-probability
            divided by the length, the end counted, to the power of the search's length penalty.
        image: What was captioned, for overlays.
        alternatives: The runners-up, best first.
        unsure_below: A word that says something about the photo is unsure from this probability
            down (`unsure`); the model's calibration chooses it, 0 marks none.
        familiarity: How like the training photographs the photo is: the share of the validation
            photographs that are as strange or stranger, 0 to 1. None where the model does not
            know (it was not calibrated, or looks at another size).
        parts: The maps of each head, hop or level of the attention [T, P, H, W], each sums to one;
            None where ``attention`` is all there is.
        part_names: What they are [P]: "head 1", "hop 2", "regions".
        sentinel: How much of its attention the model kept for what it knew without looking [T], 0
            to 1 (Lu et al. 2017); None for a model without a sentinel. ``attention`` sums to one
            over the image all the same.
        gaps: The words that were missing in a sentence that `Captioner.fill` filled in.
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

    def __post_init__(self) -> None:
        count = len(self.words)
        gates = count if self.betas is None else len(self.betas)
        if self.attention.ndim != 3 or not len(self.attention) == gates == count:
            raise ValueError(
                f"{count} words need as many maps and gates, not maps of shape "
                f"{self.attention.shape} and {gates} gates"
            )
        if self.sentinel is not None and len(self.sentinel) != count:
            raise ValueError(f"{count} words need as many sentinels, not {len(self.sentinel)}")
        T, H, W = self.attention.shape
        if self.parts is not None and self.parts.shape != (T, len(self.part_names), H, W):
            raise ValueError(
                f"parts have the shape {self.parts.shape}, not {(T, len(self.part_names), H, W)}"
            )

    @classmethod
    def from_maps(
        cls,
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
        """A caption from weights that any model made, to be drawn in every form.

        Args:
            photo: The image that the weights are of.
            words: The T words.
            attention: The weights: [T, H, W]; [T, L] with ``grid``; or [T, P, H, W] for P heads,
                hops or layers, which are kept as parts, and averaged for the caption's map. Each
                map sums to one. An array, nested lists, or a tensor on the processor.
            grid: H and W of [T, L] or [T, P, L] weights, row by row from the photo's upper left.
            part_names: What the P parts are; "head 1" and so on when left out.
            log_probs: Natural logarithms of the words' probabilities [T], or with that of the
                end [T + 1]; unknown when left out.
            betas: A gate for each word [T].
            sentinel: What each word kept for its sentinel [T].
            box: Left, top, right, bottom of what the model saw, in pixels of the upright photo;
                all of it when left out.

        Raises:
            UserError: Shapes do not fit together, or weights are negative, not finite, or do not
                sum to one.
            ImageError: The image cannot be opened.

        Example:
            >>> Caption.from_maps("photo.jpg", ["a", "dog"], weights).save_overlay("figure.png")
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
        covered = (0.0, 0.0, *map(float, size)) if box is None else tuple(map(float, box))
        if len(covered) != 4 or not (covered[0] < covered[2] and covered[1] < covered[3]):
            raise UserError(f"box is {covered}; it must be left, top, right, bottom")
        logs = _numbers("log_probs", log_probs, (len(said), len(said) + 1))
        gates = _numbers("betas", betas, (len(said),))
        kept = _numbers("sentinel", sentinel, (len(said),))
        known = np.full(len(said), np.nan) if logs is None else logs
        return cls(
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

    @property
    def text(self) -> str:
        """The caption as a sentence: "A dog runs through the grass."."""
        from showattend.text.tokenizer import sentence

        return sentence(self.words)

    @property
    def raw(self) -> str:
        """The words with blanks between them, as the scorers take them."""
        return " ".join(self.words)

    @property
    def log_prob(self) -> float:
        """The log-probability of the whole caption."""
        return float(sum(self.log_probs))

    @property
    def confidences(self) -> tuple[float, ...]:
        """The model's probability of each word [T], 0 to 1: exp of its `log_probs`.

        It is the softmax over the whole vocabulary, given the photo and the words before it, as
        the model is: training may have sharpened it (``self_critical.temperature``) or favoured
        rare words (``train.rare_words``), so that it is not the share of such words that are
        right. What the search forbids (special words, repeated n-grams, banned words) keeps its
        part of the softmax: a word said in place of a forbidden one has a low probability. So has
        a given word (a prefix, `Captioner.attend`) that the model would not have said; one that
        it does not know has the probability of ``<unk>``. A sampling temperature changes nothing.
        """
        return tuple(
            math.exp(min(0.0, value)) if value == value else math.nan
            for value in self.log_probs[: len(self.words)]
        )

    @property
    def confidence(self) -> float:
        """The geometric mean of the probabilities of all words and of the end, 0 to 1.

        The end counts where the search got there. One divided by this is the perplexity.
        """
        return math.exp(min(self.log_prob / max(len(self.log_probs), 1), 0.0))

    @property
    def unsure(self) -> tuple[bool, ...]:
        """Which words [T] are unsure: of lower probability than ``unsure_below``.

        English function words are not: another "in" or "is" would be said of the same photo.
        """
        from showattend.text.tokenizer import FUNCTION_WORDS

        return tuple(
            self.unsure_below > 0 and not value >= self.unsure_below and word not in FUNCTION_WORDS
            for word, value in zip(self.words, self.confidences, strict=True)
        )

    @property
    def note(self) -> str | None:
        """What to know about a strange photo before trusting the caption; None for most."""
        strange = self.familiarity is not None and self.familiarity < NOTE_BELOW
        return NOTE if strange else None

    def heatmap(self, t: int, sigma: float = 0.0) -> np.ndarray:
        """The attention of word ``t`` at every pixel of the upright image [height, width].

        Args:
            t: The word's place in the caption.
            sigma: Of a Gaussian to blur it with, as `Geometry.upsample` takes it.
        """
        return self.geometry.upsample(self.attention[t], sigma=sigma)

    def save_overlay(self, path: str | Path, **options: Any) -> None:
        """Draw the maps over the image, one panel per word, into a file.

        Args:
            path: The file; its suffix chooses the format.
            options: Those of ``showattend.visualize.save_figure``.

        Raises:
            UserError: No such format, an unknown word, a folder that cannot be written to, or
                a caption that does not know its image.
        """
        from showattend.visualize import save_figure

        save_figure(self, path, **options)

    def to_dict(self, attention: bool = False) -> dict[str, Any]:
        """Plain values, for JSON; with ``attention`` also the maps and their geometry."""
        values: dict[str, Any] = {
            "caption": self.text,
            "words": list(self.words),
            "log_probs": [float(value) for value in self.log_probs],
            "log_prob": self.log_prob,
            "confidences": list(self.confidences),
            "confidence": self.confidence,
            "unsure": list(self.unsure),
            "score": float(self.score),
            "betas": None if self.betas is None else [float(value) for value in self.betas],
            "familiarity": self.familiarity,
            "note": self.note,
        }
        if self.sentinel is not None:
            values["sentinel"] = [float(value) for value in self.sentinel]
        if isinstance(self.image, str | Path):
            values = {"image": str(self.image)} | values
        if self.gaps:
            values["gaps"] = [
                {"place": gap.place, "candidates": [list(each) for each in gap.candidates]}
                for gap in self.gaps
            ]
        if attention:
            values["attention"] = self.attention.tolist()
            values["geometry"] = self.geometry.to_dict()
            if self.parts is not None:
                values["parts"] = self.parts.tolist()
                values["part_names"] = list(self.part_names)
        if self.alternatives:
            values["alternatives"] = [other.to_dict(attention) for other in self.alternatives]
        return values

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        """The caption and its figure, self-contained, for a notebook."""
        text = html.escape(self.text)
        try:
            from showattend.visualize import figure_bytes

            data = base64.b64encode(figure_bytes(self, ".jpg")).decode()
        except UserError:  # no image, or it has gone since
            return f"<p>{text}</p>"
        return f'<img alt="{text}" style="max-width: 100%" src="data:image/jpeg;base64,{data}">'


SUM_TOLERANCE = 0.01
"""How far the weights of a map may be from one in sum: what half precision leaves."""


def _weights(attention: Any, count: int, grid: tuple[int, int] | None) -> np.ndarray:
    """Weights as [T, H, W] or [T, P, H, W] float32 that sum to one.

    Raises:
        UserError: They are not weights of so many words on a grid.
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
        raise UserError(f"{name}: there must be {lengths[0]} numbers, one a word, not {shape}")
    return numbers


def _array(name: str, values: Any) -> np.ndarray:
    """Numbers as float64; a tensor of PyTorch gives itself by its own ``__array__``."""
    try:
        if hasattr(values, "detach"):
            values = values.detach().float().cpu()
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: not an array of numbers ({error})") from error
