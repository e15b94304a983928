"""Does the model look at what it names? Attention against object masks.

Two measures (``pointing``) are computed for each word of a caption that names an object category
shown in the image (``nouns``): whether the map's peak falls on an object of that category (the
pointing game), and how much of the map's mass does. Three baselines are measured on the same words:
a uniform map, a map at the centre, and the maps of the caption's other words, which know the image
but not the word. ``wrong_words`` reports where the model looked for words that name something that
the image does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from showattend.caption import Caption
from showattend.data.readers import read_dataset
from showattend.data.records import Record
from showattend.evaluation.evaluate import (
    Progress,
    caption_inputs,
    made_with,
    read_results,
    skipped_note,
)
from showattend.evaluation.grounding import wrong_words
from showattend.evaluation.grounding.faithfulness import Faithfulness, Removal
from showattend.evaluation.grounding.instances import Instances
from showattend.evaluation.grounding.nouns import Mention, NounTable
from showattend.evaluation.grounding.pointing import (
    BASELINES,
    CENTRE_SIGMA,
    MAPS,
    PAPER_SIGMA,
    Look,
    as_pair,
    bootstrap,
    centre_map,
    look_of_words,
    looks_of,
)
from showattend.evaluation.scores.statistics import RESAMPLES, SEED
from showattend.exceptions import DataError, ImageError
from showattend.images.photo_file import PhotoFile
from showattend.model.score_settings import SEARCH, caption_settings
from showattend.system.checks import real_number
from showattend.system.files import spare
from showattend.system.provenance import file_digest, joint_digest, stamp
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

    A name of several words ("fire hydrant") uses the mean of their maps. The other-word baseline is
    the mean result over all other words of the caption. Captions without other words are skipped.

    Args:
        caption: The caption with its maps.
        masks: The mask of each category, [height, width] bool, from ``Instances.masks``.
        nouns: The words to look for.
        boxes: The same with filled bounding boxes; None uses the masks.
        looks: The result of ``looks_of`` for the caption, if already computed.

    Returns:
        For each counted word: word, position, categories, and for each of ``MEASURES`` the values
        of ``MAPS`` by name.
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
    """Compute 95 % intervals of model minus baseline with a paired bootstrap over images.

    Args:
        words: The counted words of each image, from ``ground_caption``.

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
    results: Path | None = None,
    sigma: float = PAPER_SIGMA,
    beam_size: int | None = None,
    batch_size: int = 32,
    progress: Progress | None = None,
    watch: Watch | None = None,
    outputs: Sequence[Path] = (),
    faithful: Removal | None = None,
) -> dict[str, Any]:
    """Measure a model's attention against object instances.

    Args:
        annotations: Objects in COCO's instances format.
        images: The folder of their images.
        captioner: The model.
        captions: Human captions of these images, in any format of ``read_dataset``, which are
            forced on the model. None measures the model on its own captions.
        results: Captions from another model, one per image, in any format of `read_results`; they
            are forced on the model like human ones.
        sigma: Standard deviation of the Gaussian blur before peaks are located, as a fraction of
            the image's sides; the default is that of the paper's figures. Mass is not blurred.
        beam_size: Beam size for the model's own captions; None uses the model's default.
        batch_size: Number of images per forward pass.
        progress: Called with a label, the number of images done, and the total.
        watch: Called with each caption, its measured words, and the masks.
        outputs: Files that the caller will write afterwards; none may be one of the images.
        faithful: Options to measure whether words depend on what their maps show, in the same pass,
            on the first caption of each image that has one; None does not measure it.

    Returns:
        Plain values: words and images counted; the values of ``MAPS`` for each of ``MEASURES``;
        interval; categories; where, what right and wrong words look at (``wrong_words.summary``);
        captions, each with image_id, caption, words (``ground_caption``), named and big
        (``wrong_words.judge_caption``); skipped, the images that could not be opened; notes, one
        line for each caveat; settings; provenance (`showattend.system.provenance.stamp`); faithful,
        if requested (`faithfulness.Faithfulness.result`).

    Raises:
        DataError: The annotations cannot be read, none of their images can be opened, or no word
            names an object.
        ConfigError: sigma is not a number from 0 to 1, or an option of ``faithful`` is invalid.
        UserError: An output is one of the images; with ``faithful``, see `KeptRows`.
    """
    sigma = real_number("sigma (--smooth)", sigma, 0, 1)
    instances = Instances.load(annotations)
    nouns = NounTable(instances.categories.values())
    paths = {i: instances.path(images, i) for i in instances.images}
    for output in outputs:
        spare(paths.values(), output)
    source = captions or results
    given: Mapping[int | str, Sequence[str]] | None = None
    if source is not None:
        given = _given(paths, captions, results, images)
        if not given:
            raise DataError(f"{source}: has no caption of an image that {annotations} annotates")
    total = len(paths if given is None else given)
    removal = None
    if faithful is not None:
        ids = [i for i in paths if given is None or given.get(i)]
        removal = Faithfulness(captioner, annotations, instances, ids, faithful, sigma)
        found_in = _looked_at(captioner, paths, given, beam_size)
    elif given is None:
        found_in = _own(captioner, paths, beam_size, batch_size)
    else:
        found_in = _forced(captioner, paths, given)
    with nullcontext() if removal is None else closing(removal):
        counted = _counted(found_in, total, progress)
        rows, skipped, digests = _measured(counted, instances, nouns, sigma, watch, removal)
        if len(skipped) == len(digests):
            raise DataError(f"{images}: none of the images of {annotations} can be opened")
        faithfully = None if removal is None else removal.result()
    if not any(row["words"] for row in rows):
        raise DataError(
            f"no word of {len(rows)} captions names an object that {annotations} has in the image"
        )
    settings = caption_settings(captioner, beam_size=beam_size)
    if source is not None:  # the captions were given, so there was no search
        settings |= dict.fromkeys(SEARCH)
    if results is not None:
        settings |= {"results": str(results), "made_with": made_with(results)}
    said = "model" if source is None else "human" if captions else "results"
    data = {
        "annotations": file_digest(annotations),
        "captions": None if source is None else file_digest(source),
        "images": joint_digest(digests),
    }
    result = {
        **summary(rows),
        "captions": rows,
        "skipped": skipped,
        "notes": skipped_note(skipped, total),
        "settings": {
            **settings,
            "sentences": said,
            "annotations": str(annotations),
            "image_folder": str(images),
            "images_captioned": len(digests) - len(skipped),
            "sigma": sigma,
            "centre_sigma": CENTRE_SIGMA,
            "interval": {"level": 0.95, "resamples": RESAMPLES, "over": "images", "seed": SEED},
        },
        "provenance": stamp(captioner.device, data=data, **caption_inputs(captioner, settings)),
    }
    if faithfully is not None:
        how = {key: value for key, value in settings.items() if key not in ("results", "made_with")}
        how["sentences"] = {"human": "human, the first of each image"}.get(said, said)
        how |= {**faithfully["settings"], "interval": result["settings"]["interval"]}
        result["faithful"] = {**faithfully, "settings": how}
    return result


def _measured(
    found_in: Iterable[_Found],
    instances: Instances,
    nouns: NounTable,
    sigma: float,
    watch: Watch | None,
    removal: Faithfulness | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str | None]]:
    """Measure images: captions and skipped as `ground` returns them, and digests of their files."""
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    digests: list[str | None] = []
    for image_id, photo, found, features in found_in:
        digests.append(photo.digest)
        if isinstance(found, ImageError):
            skipped.append({"image_id": image_id, "problem": str(found)})
            continue
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
        if removal is not None and found and features is not None:
            removal.add(image_id, photo, found[0], features)
    return rows, skipped, digests


def _counted(found_in: Iterable[_Found], total: int, progress: Progress | None) -> Iterator[_Found]:
    """Report each image once it is measured: when the next one is requested."""
    for done, found in enumerate(found_in, 1):
        yield found
        if progress is not None:
            progress("Grounding", done, total)


def _given(
    paths: Mapping[int | str, Path], captions: Path | None, results: Path | None, images: Path
) -> dict[int | str, Sequence[str]]:
    """Read the captions to force: human ones, or those of a results file."""
    if captions is not None:
        human = read_dataset(captions, images)
        sayings: dict[str, Sequence[str]] = {str(r.image_id): r.captions for r in human}
    else:
        assert results is not None
        # The file may cover more images than are annotated: those are left out.
        known = [Record(image_id, path, (), "val") for image_id, path in paths.items()]
        said = read_results(results, known, others=True)
        sayings = {str(image_id): (caption,) for image_id, caption in said.items()}
    return {
        i: [text for text in sayings[str(i)] if tokenize(text)] for i in paths if str(i) in sayings
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summarise the measurements of many captions.

    Args:
        rows: The captions as ``ground`` returns them, with at least one counted word in all.

    Returns:
        words, images, each of ``MEASURES``, interval, categories and where, as in ``ground``.
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


_Found = tuple[int | str, PhotoFile, list[Caption] | ImageError, torch.Tensor | None]
"""An image's id, its file, its captions or why there are none, and annotations if requested."""


def _own(
    captioner: Captioner, paths: Mapping[int | str, Path], beam_size: int | None, batch_size: int
) -> Iterator[_Found]:
    """Yield each image with the model's own caption."""
    options: dict[str, Any] = {} if beam_size is None else {"beam_size": beam_size}
    stream = captioner.stream(map(PhotoFile, paths.values()), batch_size=batch_size, **options)
    for image_id, (photo, result) in zip(paths, stream, strict=True):
        found = result if isinstance(result, ImageError) else [result]
        yield image_id, cast("PhotoFile", photo), found, None


def _forced(
    captioner: Captioner,
    paths: Mapping[int | str, Path],
    sayings: Mapping[int | str, Sequence[str]],
) -> Iterator[_Found]:
    """Yield each image with its human captions forced on the model."""
    for image_id, texts in sayings.items():
        photo = PhotoFile(paths[image_id])
        found: list[Caption] | ImageError
        try:
            found = captioner.attend_all(photo, texts)
        except ImageError as error:
            found = error
        yield image_id, photo, found, None


def _looked_at(
    captioner: Captioner,
    paths: Mapping[int | str, Path],
    sayings: Mapping[int | str, Sequence[str]] | None,
    beam_size: int | None,
) -> Iterator[_Found]:
    """Yield each image with its own or its given captions and its annotations, encoded once."""
    options: dict[str, Any] = {} if beam_size is None else {"beam_size": beam_size}
    for image_id in paths if sayings is None else sayings:
        photo = PhotoFile(paths[image_id])
        try:
            looked = captioner.look(photo)
        except ImageError as error:
            yield image_id, photo, error, None
            continue
        if sayings is None:
            found = [captioner.caption(looked, **options)]
        else:
            found = captioner.attend_all(looked, sayings[image_id])
        yield image_id, photo, found, looked.features
