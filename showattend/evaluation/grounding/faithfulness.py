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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from showattend.caption import Caption
from showattend.data.readers import read_dataset
from showattend.decoding.explaining import KINDS, explain, has_maps, maps_of
from showattend.evaluation.evaluate import Progress, skipped_note
from showattend.evaluation.grounding.faithful_summary import summarise
from showattend.evaluation.grounding.instances import Instances
from showattend.evaluation.grounding.nouns import NounTable
from showattend.evaluation.grounding.pointing import PAPER_SIGMA, Look
from showattend.evaluation.grounding.removal import (
    BLUR,
    FRACTIONS,
    PIXEL_FRACTIONS,
    feature_probe,
    pixel_probe,
    removal_curves,
)
from showattend.evaluation.mistakes.lexicon import lexicons
from showattend.evaluation.scores.statistics import RESAMPLES, SEED
from showattend.exceptions import ConfigError, DataError, ImageError
from showattend.images.photo_file import PhotoFile
from showattend.model.score_settings import SEARCH, caption_settings
from showattend.system.checks import real_number, whole_number
from showattend.system.device import exact_float32
from showattend.system.files import spare
from showattend.text.tokenizer import FUNCTION_WORDS, tokenize

if TYPE_CHECKING:
    from showattend.captioner import Captioner

REPLACEMENTS = ("mean", "other")
_LEXICONS = {"object": "noun", "colour": "colour", "activity": "verb"}


class _Photo(NamedTuple):
    image_id: int | str
    path: Path
    caption: Caption
    features: torch.Tensor  # [1, H, W, D]


def faithful(
    annotations: Path,
    images: Path,
    captioner: Captioner,
    captions: Path | None = None,
    *,
    replace: str = "mean",
    pixels: int = 0,
    kinds: Sequence[str] = tuple(KINDS),
    sigma: float = PAPER_SIGMA,
    beam_size: int | None = None,
    batch_size: int = 32,
    progress: Progress | None = None,
    outputs: Sequence[Path] = (),
) -> dict[str, Any]:
    """Measure how faithful attention and other explanations are to a model's words.

    Args:
        annotations: Objects in COCO's instances format.
        images: The folder of their images.
        captioner: The model.
        captions: Human captions of these images, in any format of ``read_dataset``; the first of
            each image is forced on the model. None measures the model's own captions.
        replace: What removed cells have on the feature grid: "mean", the image's mean annotation;
            "other", the annotation at the same place of the next image.
        pixels: How many images to measure on pixels too, evenly chosen.
        kinds: The explanations, of `explaining.KINDS`.
        sigma: Blur before peaks are located; see `ground`.
        beam_size: Beam size for the model's own captions; None uses the model's default.
        batch_size: Number of images per forward pass of the search.
        progress: Called with a label, the number of images done, and the total.
        outputs: Files that the caller will write afterwards; none may be one of the images.

    Returns:
        Plain values: those of `faithful_summary.summarise`; captions, each with image_id, caption
        and its words' measurements; skipped and notes as in `ground`; settings.

    Raises:
        DataError: The annotations cannot be read, no image can be opened, or "other" has only one.
        ConfigError: An option is invalid.
        UserError: An output is one of the images.
    """
    sigma = real_number("sigma (--smooth)", sigma, 0, 1)
    pixels = whole_number("pixels", pixels, 0, 1_000_000)
    if replace not in REPLACEMENTS:
        raise ConfigError(f"no replacement {replace!r}; choose from {', '.join(REPLACEMENTS)}")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ConfigError(f"no explanation {unknown[0]!r}; choose from {', '.join(KINDS)}")
    instances = Instances.load(annotations)
    nouns = NounTable(instances.categories.values())
    paths = {i: instances.path(images, i) for i in instances.images}
    for output in outputs:
        spare(paths.values(), output)
    said: dict[int | str, str] | None = None
    if captions is not None:
        said = _first_captions(captions, images, paths)
        paths = {i: paths[i] for i in said}
        if not paths:
            raise DataError(f"{captions}: has no caption of an image that {annotations} annotates")
    skipped: list[dict[str, Any]] = []
    photos = _photos(captioner, paths, said, beam_size, batch_size, skipped)
    places = np.linspace(0, len(paths) - 1, min(pixels, len(paths))).astype(int)
    on_pixels = {list(paths)[place] for place in places}
    rows: list[dict[str, Any]] = []
    for done, (photo, other) in enumerate(_with_next(photos), 1):
        if replace == "other" and other is photo:
            raise DataError(f"{annotations}: to replace annotations by another image's takes two")
        masks = instances.masks(photo.image_id, photo.caption.geometry.image_size)
        rows.append(
            _measure(
                captioner, photo, other.features if replace == "other" else None, kinds, nouns,
                masks, sigma, with_pixels=photo.image_id in on_pixels,
            )
        )  # fmt: skip
        if progress is not None:
            progress("Explaining", done, len(paths))
    if not rows:
        raise DataError(f"{images}: none of the images of {annotations} can be opened")
    settings = caption_settings(captioner, beam_size=beam_size)
    if captions is not None:
        settings |= dict.fromkeys(SEARCH)
    return {
        **summarise(rows),
        "captions": rows,
        "skipped": skipped,
        "notes": skipped_note(skipped, len(paths)),
        "settings": {
            **settings,
            "sentences": "model" if captions is None else "human, the first of each image",
            "replace": replace,
            "fractions": list(FRACTIONS),
            "pixels": pixels,
            "pixel_fractions": list(PIXEL_FRACTIONS),
            "pixel_blur": BLUR,
            "sigma": sigma,
            "interval": {"level": 0.95, "resamples": RESAMPLES, "over": "images", "seed": SEED},
        },
    }


def classes_of(words: Sequence[str], nouns: NounTable | None = None) -> list[str]:
    """The class of each word of a caption: one of `faithful_summary.CLASSES`.

    Function words are those of `FUNCTION_WORDS`; nouns, colours and verbs are those of the
    lexicons that ``showattend errors`` uses, and the nouns of ``nouns``. Counts, most adjectives
    and what the lexicons do not hold are "other".
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
        probe = pixel_probe(captioner, PhotoFile(photo.path))
        blurred = removal_curves(
            probe, words, scores, content, grid, fractions=PIXEL_FRACTIONS, draws=1, seed=seed
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


def _first_captions(
    captions: Path, images: Path, paths: Mapping[int | str, Path]
) -> dict[int | str, str]:
    """The first human caption of each image that has words."""
    human = {str(each.image_id): each.captions for each in read_dataset(captions, images)}
    found = {}
    for image_id in paths:
        said = [text for text in human.get(str(image_id), ()) if tokenize(text)]
        if said:
            found[image_id] = said[0]
    return found


def _photos(
    captioner: Captioner,
    paths: Mapping[int | str, Path],
    said: Mapping[int | str, str] | None,
    beam_size: int | None,
    batch_size: int,
    skipped: list[dict[str, Any]],
) -> Iterator[_Photo]:
    """Each image that can be opened, with its caption and its annotations."""
    options: dict[str, Any] = {} if beam_size is None else {"beam_size": beam_size}
    stream: Iterator[Any] = iter(())
    if said is None:
        stream = captioner.stream(map(PhotoFile, paths.values()), batch_size=batch_size, **options)
    for image_id, path in paths.items():
        try:
            if said is None:
                _, caption = next(stream)
                if isinstance(caption, ImageError):
                    raise caption
            else:
                caption = captioner.attend(PhotoFile(path), said[image_id])
            yield _Photo(image_id, path, caption, captioner.look(PhotoFile(path)).features)
        except ImageError as error:
            skipped.append({"image_id": image_id, "problem": str(error)})


def _with_next(photos: Iterable[_Photo]) -> Iterator[tuple[_Photo, _Photo]]:
    """Each photo with the next one; the last with the first."""
    first = here = None
    for photo in photos:
        if here is None:
            first = photo
        else:
            yield here, photo
        here = photo
    if here is not None and first is not None:
        yield here, first
