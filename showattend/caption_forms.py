"""What a caption says about itself, and its forms: heat, figure, JSON, notebook."""

from __future__ import annotations

import html
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from showattend.exceptions import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from showattend.images.geometry import Geometry
    from showattend.images.sources import ImageSource

NOTE = "unlike the photographs that the model was trained on; its captions may well be wrong"
NOTE_BELOW = 0.03
"""The share of ordinary photographs that get the note, measured on the validation ones."""


class Gap(NamedTuple):
    """A gap that was filled in a sentence (`Captioner.fill`).

    Attributes:
        place: The position of its word in the caption.
        candidates: Possible words and their probabilities, 0 to 1, best first.
    """

    place: int
    candidates: tuple[tuple[str, float], ...]


class SelfAttention(NamedTuple):
    """The attention among the words of a sentence, and among the cells of the grid.

    Attributes:
        tokens: ``<start>`` and the T words.
        words: For each layer and head, from each token (rows) to each (columns), [layers, heads, T
            + 1, T + 1]; rows sum to one. None if the decoder has no self-attention.
        grid: For each layer and head, from each cell to each, [layers, heads, L, L]. None if the
            encoder has none.
    """

    tokens: tuple[str, ...]
    words: np.ndarray | None
    grid: np.ndarray | None


def sampled_maps(maps_THW: np.ndarray, samples: int, seed: int = 0) -> np.ndarray:
    """Sample locations as hard attention does in training: s_t ~ Categorical(alpha_t).

    Args:
        maps_THW: The weights alpha of each word, which sum to one.
        samples: S, the number of locations for each word.
        seed: The random seed; the same seed and maps give the same locations.

    Returns:
        The locations as one-hot maps [T, S, H, W] float32 (Show, Attend and Tell, section 4.1).
    """
    T, H, W = maps_THW.shape
    below_TL = maps_THW.reshape(T, H * W).astype(np.float64).cumsum(1)
    drawn_TS = np.random.default_rng(seed).random((T, samples)) * below_TL[:, -1:]
    chosen_TS = (below_TL[:, None] <= drawn_TS[:, :, None]).sum(2)
    return np.eye(H * W, dtype=np.float32)[chosen_TS].reshape(T, samples, H, W)


class CaptionForms:
    """The base of `showattend.caption.Caption`, which has the fields."""

    if TYPE_CHECKING:
        words: tuple[str, ...]
        log_probs: tuple[float, ...]
        attention: np.ndarray
        betas: np.ndarray | None
        geometry: Geometry
        score: float
        image: ImageSource | None
        alternatives: Sequence[CaptionForms]
        unsure_below: float
        familiarity: float | None
        parts: np.ndarray | None
        part_names: tuple[str, ...]
        sentinel: np.ndarray | None
        gaps: Sequence[Gap]
        self_attention: SelfAttention | None

        @property
        def text(self) -> str: ...
        @property
        def log_prob(self) -> float: ...

    def __post_init__(self) -> None:
        """Refuse maps that do not match the words, one map per word."""
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
    ) -> Self:
        """Make a caption from the weights of any model, to be drawn in any form.

        Args:
            photo: The image that the weights belong to.
            words: The T words.
            attention: The weights: [T, H, W]; [T, L] with ``grid``; or [T, P, H, W] for P heads,
                hops or layers, which are kept as parts, and averaged for the caption's map. Each
                map sums to one. An array, nested lists, or a CPU tensor.
            grid: H and W of [T, L] or [T, P, L] weights, row by row from the photo's upper left.
            part_names: The names of the P parts; "head 1" and so on by default.
            log_probs: Natural logarithms of the words' probabilities [T], or with that of the end
                [T + 1]; unknown if omitted.
            betas: The gate of each word [T].
            sentinel: Each word's share for the sentinel [T].
            box: Left, top, right, bottom of what the model saw, in pixels of the upright photo; all
                of it by default.

        Raises:
            UserError: The shapes do not match, or weights are negative, not finite, or do not sum
                to one.
            ImageError: The image cannot be opened.

        Example:
            >>> Caption.from_maps("photo.jpg", ["a", "dog"], weights).save_overlay("figure.png")
        """
        from showattend.visualize.given_maps import caption_from_maps

        made: Any = caption_from_maps(
            photo,
            words,
            attention,
            grid=grid,
            part_names=part_names,
            log_probs=log_probs,
            betas=betas,
            sentinel=sentinel,
            box=box,
        )
        return made

    @property
    def confidences(self) -> tuple[float, ...]:
        """The model's probability of each word [T], 0 to 1: exp of its `log_probs`.

        It is the model's own softmax over the whole vocabulary, given the photo and the words
        before: training may have sharpened it (``self_critical.temperature``) or favoured rare
        words (``train.rare_words``), so it is not the share of such words that are right. Whatever
        the search forbids (special words, repeated n-grams, banned words) keeps its share of the
        softmax, so a word used in place of a forbidden one has a low probability. So has a given
        word (a prefix, `Captioner.attend`) that the model would not have chosen; an unknown one has
        the probability of ``<unk>``. A sampling temperature changes nothing.
        """
        return tuple(
            math.exp(min(0.0, value)) if value == value else math.nan
            for value in self.log_probs[: len(self.words)]
        )

    @property
    def confidence(self) -> float:
        """The geometric mean of the probabilities of all words and of the end, 0 to 1.

        The end counts if the search reached it. One divided by this is the perplexity.
        """
        return math.exp(min(self.log_prob / max(len(self.log_probs), 1), 0.0))

    @property
    def unsure(self) -> tuple[bool, ...]:
        """Which words [T] are unsure: their probability is below ``unsure_below``.

        English function words never are: they say little about the photo.
        """
        from showattend.text.tokenizer import FUNCTION_WORDS

        return tuple(
            self.unsure_below > 0 and not value >= self.unsure_below and word not in FUNCTION_WORDS
            for word, value in zip(self.words, self.confidences, strict=True)
        )

    @property
    def looked_somewhere(self) -> tuple[bool, ...]:
        """Which words [T] looked somewhere: half of their map lies on a fifth of the grid."""
        from showattend.visualize.focus import looked

        caption: Any = self
        return looked(caption)

    @property
    def note(self) -> str | None:
        """What to know about a strange photo before trusting the caption; None for most."""
        strange = self.familiarity is not None and self.familiarity < NOTE_BELOW
        return NOTE if strange else None

    def heatmap(self, t: int, sigma: float = 0.0) -> np.ndarray:
        """The attention of word ``t`` at every pixel of the upright image [height, width].

        Args:
            t: The word's position in the caption.
            sigma: Standard deviation of a Gaussian blur; see `Geometry.upsample`.
        """
        return self.geometry.upsample(self.attention[t], sigma=sigma)

    def save_overlay(self, path: str | Path, **options: Any) -> None:
        """Draw the maps over the image, one panel per word, into a file.

        Args:
            path: The file; its suffix selects the format.
            options: Those of ``showattend.visualize.save_figure``.

        Raises:
            UserError: There is no such format or word, the folder cannot be written to, or the
                caption does not know its image.
        """
        from showattend.visualize import save_figure

        caption: Any = self
        save_figure(caption, path, **options)

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

    def _repr_html_(self) -> str:
        """The interactive viewer for a notebook, or a figure if scripts are off."""
        from showattend.visualize.notebook_forms import caption_form

        caption: Any = self
        try:
            return caption_form(caption)
        except UserError:  # no image, or it has gone since
            return f"<p>{html.escape(self.text)}</p>"


class Captions(list[Any]):
    """The captions of several photographs: a list, which a notebook shows as a gallery."""

    def _repr_html_(self) -> str | None:
        from showattend.visualize.notebook_forms import gallery_form

        try:
            return gallery_form(self)
        except UserError:  # there are none, or an image is not known: the list as text
            return None
