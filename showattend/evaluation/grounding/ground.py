"""Does the model look at what it names? Attention against object masks.

For every word of a caption that names an object category shown in the image (``nouns``), two
questions: does the map's peak fall on an object of that category (the pointing game), and how much
of the map's mass does (``pointing``)? Three baselines answer the same questions about the same
words: a map that is the same everywhere, one that always looks at the middle, and the maps of the
caption's other words, which know the image but not the word. For the words that name what the
image does not show, ``wrong_words`` asks where the model looked instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from showattend.caption import Caption
from showattend.data.readers import read_dataset
from showattend.evaluation.evaluate import Progress, skipped_note
from showattend.evaluation.grounding import wrong_words
from showattend.evaluation.grounding.instances import Instances
from showattend.evaluation.grounding.nouns import Mention, NounTable
from showattend.evaluation.grounding.pointing import (
    BASELINES,
    CENTRE_SIGMA,
    MAPS,
    PAPER_SIGMA,
    RESAMPLES,
    SEED,
    Look,
    as_pair,
    bootstrap,
    centre_map,
    look_of_words,
    looks_of,
)
from showattend.exceptions import DataError, ImageError
from showattend.images.photo_file import PhotoFile
from showattend.model.score_settings import SEARCH, caption_settings
from showattend.system.checks import real_number
from showattend.system.files import spare
from showattend.text.tokenizer import tokenize

if TYPE_CHECKING:
    from showattend.captioner import Captioner

MEASURES = ("pointing", "mass", "pointing_boxes")
Watch = Callable[[Caption, Sequence[dict[str, Any]], Mapping[str, np.ndarray]], None]


def ground_caption(
    caption: Caption,
    masks: Mapping[str, np.ndarray],
    nouns: NounTable,
    boxes: Mapping[str, np.ndarray] | None = None,
    looks: Sequence[Look] | None = None,
) -> list[dict[str, Any]]:
    """Measure each word of a caption that names something in the image.

    A name of several words ("fire hydrant") has the mean of their maps. The other-word baseline
    is the mean over all the caption's other words, each with its own map; a caption that says
    nothing else has none, and is not counted.

    Args:
        caption: The caption with its maps.
        masks: Where each category is [height, width] bool, as ``Instances.masks`` gives it.
        nouns: The words to look for.
        boxes: The same with the objects' boxes filled; None: the masks once more.
        looks: What ``looks_of`` says of the caption, if it is known already.

    Returns:
        For each counted word: word, position, categories, and each of ``MEASURES`` by the names
        of ``MAPS``.
    """
    mentions = [
        (mention, [name for name in mention.categories if name in masks])
        for mention in nouns.find(caption.words)
        if mention.stop - mention.start < len(caption.words)
    ]
    mentions = [(mention, shown) for mention, shown in mentions if shown]
    if not mentions:
        return []
    looks = looks_of(caption) if looks is None else looks
    centre = Look(centre_map(caption.geometry.image_size))
    return [
        _measure(mention, shown, caption, looks, centre, masks, boxes or masks)
        for mention, shown in mentions
    ]


def _measure(
    mention: Mention,
    shown: list[str],
    caption: Caption,
    looks: Sequence[Look],
    centre: Look,
    masks: Mapping[str, np.ndarray],
    boxes: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    mine = look_of_words(looks, mention)
    others = [look for t, look in enumerate(looks) if t not in range(mention.start, mention.stop)]
    inside = np.logical_or.reduce([masks[name] for name in shown])
    boxed = np.logical_or.reduce([boxes.get(name, masks[name]) for name in shown])
    result: dict[str, Any] = {
        "word": " ".join(caption.words[mention.start : mention.stop]),
        "position": mention.start,
        "categories": shown,
    }
    measures = (Look.pointing, inside), (Look.mass, inside), (Look.pointing, boxed)
    for name, (measure, mask) in zip(MEASURES, measures, strict=True):
        result[name] = {
            "model": measure(mine, mask),
            "uniform": float(mask.mean()),
            "centre": measure(centre, mask),
            "other_word": float(np.mean([measure(other, mask) for other in others])),
        }
    return result


def intervals(words: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, list[float]]]:
    """95 % intervals of model minus baseline, by a paired bootstrap over images.

    Args:
        words: For each image its counted words, as ``ground_caption`` gives them.

    Returns:
        [low, high] by measure and baseline.
    """
    pairs = [(measure, name) for measure in MEASURES for name in BASELINES]
    found = bootstrap(
        [np.array([[w[m]["model"] - w[m][name] for m, name in pairs] for w in im]) for im in words]
    )
    result: dict[str, dict[str, list[float]]] = {measure: {} for measure in MEASURES}
    for (measure, name), interval in zip(pairs, found, strict=True):
        result[measure][name] = as_pair(interval)
    return result


def ground(
    annotations: Path,
    images: Path,
    captioner: Captioner,
    captions: Path | None = None,
    *,
    sigma: float = PAPER_SIGMA,
    beam_size: int | None = None,
    batch_size: int = 32,
    progress: Progress | None = None,
    watch: Watch | None = None,
    outputs: Sequence[Path] = (),
) -> dict[str, Any]:
    """Measure a model's attention against object instances.

    Args:
        annotations: Objects in COCO's instances format.
        images: The folder of its images.
        captioner: The model.
        captions: Human captions of these images, in any format of ``read_dataset``: the model is
            made to say each of them. Without them it is measured on its own captions.
        sigma: Peaks are looked for in maps blurred with such a Gaussian, a share of the image's
            sides: the paper's figures' is the default. Mass is that of the maps as they are.
        beam_size: For the model's own captions; None is the model's own.
        batch_size: Images the model sees at once.
        progress: Called with a name, the number of images done, and of all.
        watch: Called with each caption, its measured words, and the masks.
        outputs: Files that are to be written afterwards; refused where one is one of the images.

    Returns:
        Plain values: words and images counted; each of ``MEASURES`` by the names of ``MAPS``;
        interval; categories; where, what right and wrong words look at
        (``wrong_words.summary``); captions, each with image_id, caption, words
        (``ground_caption``), named and big (``wrong_words.judge_caption``); skipped, the images
        that could not be opened; notes, a line for each thing that a reader should know; settings.

    Raises:
        DataError: The annotations cannot be read, no image of theirs can be opened, or no word
            names an object.
        ConfigError: sigma is no number from 0 to 1.
        UserError: An output is one of the images.
    """
    sigma = real_number("sigma (--smooth)", sigma, 0, 1)
    instances = Instances.load(annotations)
    nouns = NounTable(instances.categories.values())
    paths = {i: instances.path(images, i) for i in instances.images}
    for output in outputs:
        spare(paths.values(), output)
    if captions is None:
        total, results = len(paths), _own(captioner, paths, beam_size, batch_size)
    else:
        human = read_dataset(captions, images)
        sayings = {str(record.image_id): record.captions for record in human}
        given = {i: sayings[str(i)] for i in paths if str(i) in sayings}
        if not given:
            raise DataError(f"{captions}: has no caption of an image that {annotations} annotates")
        total, results = len(given), _forced(captioner, paths, given)

    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    opened = 0
    for done, (image_id, found) in enumerate(results, 1):
        if isinstance(found, ImageError):
            skipped.append({"image_id": image_id, "problem": str(found)})
        else:
            opened += 1
            size = found[0].geometry.image_size if found else (1, 1)
            masks, boxes = (instances.masks(image_id, size, boxed) for boxed in (False, True))
            for caption in found:
                looks = looks_of(caption, sigma)
                measured = ground_caption(caption, masks, nouns, boxes, looks)
                judged = wrong_words.judge_caption(caption, masks, nouns, looks)
                row = {"image_id": image_id, "caption": caption.raw, "words": measured, **judged}
                rows.append(row)
                if watch is not None:
                    watch(caption, measured, masks)
        if progress is not None:
            progress("Grounding", done, total)
    if not opened:
        raise DataError(f"{images}: none of the images of {annotations} can be opened")
    if not any(row["words"] for row in rows):
        raise DataError(
            f"no word of {len(rows)} captions names an object that {annotations} shows in the image"
        )
    settings = caption_settings(captioner, beam_size=beam_size)
    if captions is not None:  # the words were given, nothing was searched
        settings |= dict.fromkeys(SEARCH)
    return {
        **summary(rows),
        "captions": rows,
        "skipped": skipped,
        "notes": skipped_note(skipped, total),
        "settings": {
            **settings,
            "sentences": "model" if captions is None else "human",
            "images_captioned": opened,
            "sigma": sigma,
            "centre_sigma": CENTRE_SIGMA,
            "interval": {"level": 0.95, "resamples": RESAMPLES, "over": "images", "seed": SEED},
        },
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of many captions.

    Args:
        rows: The captions, as ``ground`` lists them; at least one of their words is counted.

    Returns:
        words, images, each of ``MEASURES``, interval, categories and where, as of ``ground``.
    """
    by_image: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_image.setdefault(row["image_id"], []).append(row)
    words = [
        some
        for of_image in by_image.values()
        if (some := [word for row in of_image for word in row["words"]])
    ]
    flat = [word for image in words for word in image]
    by_category: dict[str, list[dict[str, Any]]] = {}
    for word in flat:
        for name in word["categories"]:
            by_category.setdefault(name, []).append(word)
    ranked = sorted(by_category.items(), key=lambda item: (-len(item[1]), item[0]))
    return {
        "words": len(flat),
        "images": len(words),
        **_means(flat),
        "interval": intervals(words),
        "categories": {name: {"words": len(some), **_means(some)} for name, some in ranked},
        "where": wrong_words.summary(list(by_image.values())),
    }


def _means(words: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {
        measure: {name: float(np.mean([word[measure][name] for word in words])) for name in MAPS}
        for measure in MEASURES
    }


_Found = list[Caption] | ImageError


def _own(
    captioner: Captioner, paths: Mapping[int | str, Path], beam_size: int | None, batch_size: int
) -> Iterator[tuple[int | str, _Found]]:
    """Each image with the caption that the model gives it."""
    options: dict[str, Any] = {} if beam_size is None else {"beam_size": beam_size}
    stream = captioner.stream(map(PhotoFile, paths.values()), batch_size=batch_size, **options)
    for image_id, (_, result) in zip(paths, stream, strict=True):
        yield image_id, result if isinstance(result, ImageError) else [result]


def _forced(
    captioner: Captioner,
    paths: Mapping[int | str, Path],
    sayings: Mapping[int | str, Sequence[str]],
) -> Iterator[tuple[int | str, _Found]]:
    """Each image with its human captions, as the model says them; those without a word left out."""
    for image_id, texts in sayings.items():
        try:
            said = [text for text in texts if tokenize(text)]
            yield image_id, captioner.attend_all(PhotoFile(paths[image_id]), said)
        except ImageError as error:
            yield image_id, error
