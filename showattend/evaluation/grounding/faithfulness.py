"""Is a word's map what the word depends on? Attention and other explanations, by removal.

For the words of captions, cells are removed in the order of each explanation (`removal`), and the
orders are compared by the areas under their curves: *faithfulness* is the mean drop of the word's
log-probability while cells go, most important first, minus the mean drop while they come back in
the same order. It is zero for a random order on average, and negative for one that is misleading.
The same explanations are measured by pointing and mass (`pointing`). `faithful_summary` has the
intervals.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from showattend.caption import Caption
from showattend.decoding.explaining import KINDS, explain, has_maps, maps_of
from showattend.evaluation.grounding.faithful_summary import summarise
from showattend.evaluation.grounding.instances import Instances
from showattend.evaluation.grounding.kept_rows import KeptRows
from showattend.evaluation.grounding.nouns import NounTable
from showattend.evaluation.grounding.pointing import Look
from showattend.evaluation.grounding.removal import (
    BLUR,
    FRACTIONS,
    PIXEL_FRACTIONS,
    feature_probe,
    pixel_probe,
    removal_curves,
)
from showattend.evaluation.mistakes.lexicon import lexicons
from showattend.exceptions import ConfigError, DataError
from showattend.images.photo_file import PhotoFile
from showattend.system.checks import whole_number
from showattend.system.device import exact_float32
from showattend.system.provenance import file_digest
from showattend.text.tokenizer import FUNCTION_WORDS

if TYPE_CHECKING:
    from showattend.captioner import Captioner

REPLACEMENTS = ("mean", "other")
_LEXICONS = {"object": "noun", "colour": "colour", "activity": "verb"}


class Removal(NamedTuple):
    """The options of `Faithfulness`.

    Attributes:
        replace: The replacement of removed cells on the feature grid: "mean", the image's mean
            annotation; "other", the annotation at the same place of the next image.
        pixels: The number of images to measure on pixels too, evenly spaced.
        kinds: The explanations, of `explaining.KINDS`.
        kept: The file for each image's measurements; None saves nothing.
        resume: Continue an interrupted run from there.
    """

    replace: str = "mean"
    pixels: int = 0
    kinds: Sequence[str] = tuple(KINDS)
    kept: Path | None = None
    resume: bool = False


class _Photo(NamedTuple):
    image_id: int | str
    image: PhotoFile
    caption: Caption
    features: torch.Tensor  # [1, H, W, D]


class Faithfulness:
    """Measures how faithful attention and other explanations are to a model's words.

    Args:
        captioner: The model.
        annotations: The file of objects, in COCO's instances format.
        instances: Its content.
        image_ids: The images that will be added.
        asked: The options.
        sigma: Blur before peaks are located; see `ground.ground`.

    Raises:
        ConfigError: An option is invalid.
        UserError: See `KeptRows`.
    """

    def __init__(
        self,
        captioner: Captioner,
        annotations: Path,
        instances: Instances,
        image_ids: Sequence[int | str],
        asked: Removal,
        sigma: float,
    ) -> None:
        self.captioner, self.annotations, self.asked, self.sigma = (
            captioner,
            annotations,
            asked,
            sigma,
        )
        whole_number("pixels", asked.pixels, 0, 1_000_000)
        if asked.replace not in REPLACEMENTS:
            choice = ", ".join(REPLACEMENTS)
            raise ConfigError(f"no replacement {asked.replace!r}; choose from {choice}")
        if unknown := [kind for kind in asked.kinds if kind not in KINDS]:
            raise ConfigError(f"no explanation {unknown[0]!r}; choose from {', '.join(KINDS)}")
        self._instances = instances
        self._nouns = NounTable(instances.categories.values())
        last = len(image_ids) - 1
        places = np.linspace(0, last, min(asked.pixels, len(image_ids))).astype(int)
        self._on_pixels = {image_ids[place] for place in places}
        self._rows: list[dict[str, Any]] = []
        self._first: _Photo | None = None
        self._waiting: _Photo | None = None
        self._kept = KeptRows(asked.kept, self._about(), asked.resume)

    def add(
        self, image_id: int | str, image: PhotoFile, caption: Caption, features: torch.Tensor
    ) -> None:
        """Measure an image once the next one is known, whose annotations may replace this one's.

        Args:
            image_id: The image, one of those announced.
            image: Its file.
            caption: Its caption.
            features: Its annotations [1, H, W, D].

        Raises:
            UserError: The measurements cannot be saved.
        """
        photo = _Photo(image_id, image, caption, features)
        if self._waiting is None:
            self._first = photo
        else:
            self._measure(self._waiting, photo)
        self._waiting = photo

    def result(self) -> dict[str, Any]:
        """Measure the last image, and summarise.

        Returns:
            Plain values: those of `faithful_summary.summarise`; captions, each with image_id,
            caption and its words' measurements; settings.

        Raises:
            DataError: No image was added, or "other" has only one.
            UserError: The measurements cannot be saved.
        """
        if self._waiting is None or self._first is None:
            raise DataError(f"{self.annotations}: none of its images has a caption to measure")
        if self.asked.replace == "other" and self._first is self._waiting:
            message = "to replace annotations by another image's takes two"
            raise DataError(f"{self.annotations}: {message}")
        self._measure(self._waiting, self._first)
        return {**summarise(self._rows), "captions": self._rows, "settings": self._settings()}

    def close(self) -> None:
        """Close the file of saved measurements, and keep it."""
        self._kept.close()

    def _settings(self) -> dict[str, Any]:
        return {
            "replace": self.asked.replace,
            "fractions": list(FRACTIONS),
            "pixels": self.asked.pixels,
            "pixel_fractions": list(PIXEL_FRACTIONS),
            "pixel_blur": BLUR,
            "sigma": self.sigma,
        }

    def _about(self) -> dict[str, Any]:
        """What the rows depend on, apart from the images and their captions."""
        model = self.captioner
        return {
            "model": model.digests(),
            "size": model.preprocessing.size,
            "precision": str(model.dtype),
            "kinds": list(self.asked.kinds),
            "annotations": file_digest(self.annotations),
            **{key: value for key, value in self._settings().items() if key != "pixels"},
        }

    def _measure(self, photo: _Photo, other: _Photo) -> None:
        with_pixels = photo.image_id in self._on_pixels
        replaced = self.asked.replace == "other"
        key = [photo.image.digest, other.image.digest if replaced else None, with_pixels]
        key += [photo.caption.raw]
        row = self._kept.find(key)
        if row is None:
            size = photo.caption.geometry.image_size
            row = _measure(
                self.captioner, photo, other.features if replaced else None, self.asked.kinds,
                self._nouns, self._instances.masks(photo.image_id, size), self.sigma,
                with_pixels=with_pixels,
            )  # fmt: skip
            self._kept.add(key, row)
        self._rows.append({**row, "image_id": photo.image_id})


def classes_of(words: Sequence[str], nouns: NounTable | None = None) -> list[str]:
    """The class of each word of a caption: one of `faithful_summary.CLASSES`.

    Function words are those of `FUNCTION_WORDS`; nouns, colours and verbs are those of the lexicons
    of ``showattend errors``, and the nouns of ``nouns``. Counts, most adjectives and words outside
    the lexicons are "other".
    """
    found = ["function" if word in FUNCTION_WORDS else "other" for word in words]
    for lexicon in lexicons():
        name = _LEXICONS.get(lexicon.name)
        for span in lexicon.find(words) if name else ():
            for t in range(span.start, span.stop):
                if found[t] == "other":
                    found[t] = name or ""
    for mention in nouns.find(words) if nouns else ():
        found[mention.start : mention.stop] = ["noun"] * (mention.stop - mention.start)
    return found


def _measure(
    captioner: Captioner,
    photo: _Photo,
    replacement: torch.Tensor | None,
    kinds: Sequence[str],
    nouns: NounTable,
    masks: Mapping[str, np.ndarray],
    sigma: float,
    *,
    with_pixels: bool,
) -> dict[str, Any]:
    """All measurements of one caption."""
    caption, features = photo.caption, photo.features
    words = captioner.vocabulary.encode(caption.words)
    classes = classes_of(caption.words, nouns)
    content = [t for t, each in enumerate(classes) if each != "function"]
    grid = (features.shape[1], features.shape[2])
    seed = zlib.crc32(f"{photo.image_id} {caption.raw}".encode())  # whatever else is measured
    scores: dict[str, dict[int, np.ndarray]] = {}
    for kind in kinds:
        if kind == "attention" and not has_maps(captioner.decoder, features):
            continue
        places = list(range(len(words))) if kind == "attention" else content
        with exact_float32():
            found = explain(captioner.decoder, features, words, kind, places)
        scores[kind] = dict(zip(places, found.numpy(), strict=True))
    measured = removal_curves(
        feature_probe(captioner, features, replacement), words, scores, range(len(words)), grid,
        seed=seed,
    )  # fmt: skip
    row: dict[str, Any] = {"image_id": photo.image_id, "caption": caption.raw, "words": []}
    somewhere = caption.looked_somewhere
    for t, each in enumerate(measured):
        row["words"].append(
            {
                "word": caption.words[t],
                "class": classes[t],
                "log_prob": caption.log_probs[t],
                "unsure": caption.unsure[t],
                "looked_somewhere": somewhere[t],
                "beta": None if caption.betas is None else float(caption.betas[t]),
                **each,
            }
        )
    if len(words) and with_pixels:
        probe = pixel_probe(captioner, photo.image)
        blurred = removal_curves(
            probe, words, scores, content, grid, fractions=PIXEL_FRACTIONS, seed=seed
        )
        for t, each in zip(content, blurred, strict=True):
            row["words"][t]["pixels"] = each
    _point(row["words"], caption, scores, nouns, masks, sigma)
    return row


def _point(
    measured: list[dict[str, Any]],
    caption: Caption,
    scores: Mapping[str, Mapping[int, np.ndarray]],
    nouns: NounTable,
    masks: Mapping[str, np.ndarray],
    sigma: float,
) -> None:
    """Add pointing and mass of each explanation to words that name something in the image."""
    shape = caption.attention.shape[1:]
    for mention in nouns.find(caption.words):
        shown = [masks[name] for name in mention.categories if name in masks]
        if not shown:
            continue
        inside = np.logical_or.reduce(shown)
        places = range(mention.start, mention.stop)
        for kind, each in scores.items():
            of_name = torch.from_numpy(np.stack([each[t] for t in places]))
            map_HW = maps_of(of_name).mean(0).view(*shape).numpy()
            heat, soft = (caption.geometry.upsample(map_HW, sigma=s) for s in (0.0, sigma))
            look = Look(heat, soft if sigma else None)
            value = {"pointing": look.pointing(inside), "mass": look.mass(inside)}
            measured[mention.start].setdefault("pointing", {})[kind] = value
