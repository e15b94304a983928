"""Does the model look at what it names? Attention against object masks.

For every word of a caption that names an object category shown in the image (``nouns``), two
questions: does the map's peak fall on an object of that category (the pointing game, Zhang et al.
2016, "Top-down neural attention by excitation backprop"), and how much of the map's mass does?
Three baselines answer the same questions about the same words: a map that is the same everywhere,
one that always looks at the middle, and the maps of the caption's other words, which know the
image but not the word.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from showattend.caption import Caption
from showattend.data.readers import read_dataset, read_json
from showattend.errors import DataError, ImageError, UserError
from showattend.evaluation.evaluate import Progress, skipped_note
from showattend.evaluation.nouns import Mention, NounTable
from showattend.imagefiles import open_image

if TYPE_CHECKING:
    from showattend.captioner import Captioner

MAPS = ("model", "uniform", "centre", "other_word")
BASELINES = MAPS[1:]
MEASURES = ("pointing", "mass", "pointing_boxes")

CENTRE_SIGMA = 0.25  # of the image's width and height: the usual centre bias of a photographer
Watch = Callable[[Caption, Sequence[dict[str, Any]], Mapping[str, np.ndarray]], None]

RESAMPLES = 2000
SEED = 0


@dataclass(frozen=True)
class Instances:
    """Object annotations in COCO's format.

    Attributes:
        images: The images that show at least one annotated object, by id.
        categories: The categories' names, by id.
        objects: The annotations of each of these images.
    """

    images: dict[int | str, dict[str, Any]]
    categories: dict[int | str, str]
    objects: dict[int | str, list[dict[str, Any]]]

    @classmethod
    def load(cls, path: Path) -> Instances:
        """Read an instances JSON.

        Raises:
            DataError: It cannot be read, or holds no objects.
        """
        content = read_json(path)
        try:
            images = {image["id"]: image for image in content["images"]}
            categories = {category["id"]: category["name"] for category in content["categories"]}
            objects: dict[int | str, list[dict[str, Any]]] = {}
            for annotation in content["annotations"]:
                if annotation["category_id"] in categories:
                    objects.setdefault(annotation["image_id"], []).append(annotation)
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{path}: is not a COCO instances file, with images, annotations and categories"
            ) from error
        shown = {i: image for i, image in images.items() if i in objects}
        if not shown:
            raise DataError(f"{path}: names no object in any image")
        return cls(shown, categories, {i: objects[i] for i in shown})

    def masks(
        self, image_id: int | str, size: tuple[int, int], boxes: bool = False
    ) -> dict[str, np.ndarray]:
        """Where each category is in an image.

        Args:
            image_id: The image.
            size: Its width and height in pixels; masks annotated at another size are scaled.
            boxes: Fill the objects' bounding boxes instead.

        Returns:
            For each category shown the union of its objects, crowds included
            [height, width] bool.
        """
        image = self.images[image_id]
        annotated = (image.get("width", size[0]), image.get("height", size[1]))
        masks: dict[str, np.ndarray] = {}
        for annotation in self.objects[image_id]:
            mask = _object_mask(_box_only(annotation) if boxes else annotation, annotated)
            if mask is None:
                continue
            mask = _scale(mask, size)
            if not mask.any():  # a sliver that covers no pixel's centre: nothing to point at
                continue
            name = self.categories[annotation["category_id"]]
            masks[name] = mask | masks[name] if name in masks else mask
        return masks


def _box_only(annotation: dict[str, Any]) -> dict[str, Any]:
    """The annotation without its segmentation, where it has a box."""
    if "bbox" not in annotation:
        return annotation
    return {key: value for key, value in annotation.items() if key != "segmentation"}


def _object_mask(annotation: dict[str, Any], size: tuple[int, int]) -> np.ndarray | None:
    """One object's mask [height, width] bool; its box where there is no segmentation."""
    from pycocotools import mask as coco_mask

    width, height = size
    shape = annotation.get("segmentation")
    if not shape:
        if "bbox" not in annotation:
            return None
        x, y, w, h = annotation["bbox"]
        shape = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    try:
        if isinstance(shape, list):
            encoded = coco_mask.merge(coco_mask.frPyObjects(shape, height, width))
        elif isinstance(shape["counts"], list):
            encoded = coco_mask.frPyObjects(shape, *shape["size"])
        else:
            encoded = shape
        with warnings.catch_warnings():  # of NumPy 2, about what pycocotools calls inside
            warnings.simplefilter("ignore", DeprecationWarning)
            return coco_mask.decode(encoded).astype(bool)
    except Exception as error:  # pycocotools raises plain Exceptions
        raise DataError(
            f"object {annotation.get('id')} of image {annotation['image_id']}: its segmentation "
            "is neither polygons nor a run-length mask"
        ) from error


def _scale(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask at another (width, height): each pixel takes what lies at its centre."""
    width, height = size
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(int)
    return mask[rows[:, None], columns]


def pointing(heat: np.ndarray, mask: np.ndarray) -> float:
    """Whether the map's peak is inside the mask.

    Args:
        heat: The map at every pixel [height, width].
        mask: The objects [height, width] bool.

    Returns:
        0 or 1; where several pixels share the peak, the part of them that is inside, which for
        a map that is the same everywhere is the part of the image that the mask covers.
    """
    peak = heat >= heat.max() * (1 - 1e-6)
    return float(mask[peak].mean())


def mass(heat: np.ndarray, mask: np.ndarray) -> float:
    """The part of the map's mass inside the mask; shapes as for ``pointing``."""
    return float(heat[mask].sum(dtype=np.float64) / heat.sum(dtype=np.float64))


def centre_map(size: tuple[int, int]) -> np.ndarray:
    """The map of a model that always looks at the middle [height, width].

    A Gaussian whose standard deviation is a quarter of the image's width and height.
    """
    down, across = (
        np.exp(-0.5 * (((np.arange(n) + 0.5) / n - 0.5) / CENTRE_SIGMA) ** 2)
        for n in (size[1], size[0])
    )
    return np.outer(down, across)


def ground_caption(
    caption: Caption,
    masks: Mapping[str, np.ndarray],
    nouns: NounTable,
    boxes: Mapping[str, np.ndarray] | None = None,
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
    heats = [caption.heatmap(t) for t in range(len(caption.words))]
    centre = centre_map(caption.geometry.image_size)
    return [
        _measure(mention, shown, caption, heats, centre, masks, boxes or masks)
        for mention, shown in mentions
    ]


def _measure(
    mention: Mention,
    shown: list[str],
    caption: Caption,
    heats: list[np.ndarray],
    centre: np.ndarray,
    masks: Mapping[str, np.ndarray],
    boxes: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    span = range(mention.start, mention.stop)
    heat = np.mean([heats[t] for t in span], axis=0)
    others = [other for t, other in enumerate(heats) if t not in span]
    inside = np.logical_or.reduce([masks[name] for name in shown])
    boxed = np.logical_or.reduce([boxes.get(name, masks[name]) for name in shown])
    result: dict[str, Any] = {
        "word": " ".join(caption.words[mention.start : mention.stop]),
        "position": mention.start,
        "categories": shown,
    }
    measures = (pointing, inside), (mass, inside), (pointing, boxed)
    for name, (measure, mask) in zip(MEASURES, measures, strict=True):
        result[name] = {
            "model": measure(heat, mask),
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
    counts = np.array([len(image) for image in words], dtype=float)
    pairs = [(measure, name) for measure in MEASURES for name in BASELINES]
    differences = np.array(
        [[sum(w[m]["model"] - w[m][name] for w in image) for m, name in pairs] for image in words]
    )
    draw = np.random.default_rng(SEED)
    n = len(words)
    times = np.stack([np.bincount(draw.integers(n, size=n), minlength=n) for _ in range(RESAMPLES)])
    means = (times @ differences) / (times @ counts)[:, None]
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    result: dict[str, dict[str, list[float]]] = {measure: {} for measure in MEASURES}
    for k, (measure, name) in enumerate(pairs):
        result[measure][name] = [float(low[k]), float(high[k])]
    return result


def ground(
    annotations: Path,
    images: Path,
    captioner: Captioner,
    captions: Path | None = None,
    *,
    beam_size: int | None = None,
    batch_size: int = 32,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Measure a model's attention against object instances.

    Args:
        annotations: Objects in COCO's instances format.
        images: The folder of its images.
        captioner: The model.
        captions: Human captions of these images, in any format of ``read_dataset``: the model is
            made to say each of them. Without them it is measured on its own captions.
        beam_size: For the model's own captions; None is the model's own.
        batch_size: Images the model sees at once.
        progress: Called with a name, the number of images done, and of all.
        watch: Called with each caption, its measured words, and the masks.

    Returns:
        Plain values: words and images counted; each of ``MEASURES`` by the names of ``MAPS``;
        interval; categories; captions with their words; skipped, the images that could not be
        opened; notes, a line for each thing that a reader should know; settings.

    Raises:
        DataError: The annotations cannot be read, no image of theirs can be opened, or no word
            names an object.
    """
    instances = Instances.load(annotations)
    nouns = NounTable(instances.categories.values())
    paths = {i: _image_path(images, image) for i, image in instances.images.items()}
    if captions is None:
        beam_size = captioner.search.beam_size if beam_size is None else beam_size
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
    words: list[list[dict[str, Any]]] = []
    opened = 0
    for done, (image_id, found) in enumerate(results, 1):
        if isinstance(found, ImageError):
            skipped.append({"image_id": image_id, "problem": str(found)})
        else:
            opened += 1
            of_image = []
            size = found[0].geometry.image_size if found else (1, 1)
            masks, boxes = (instances.masks(image_id, size, boxed) for boxed in (False, True))
            for caption in found:
                measured = ground_caption(caption, masks, nouns, boxes)
                rows.append({"image_id": image_id, "caption": caption.raw, "words": measured})
                of_image += measured
                if watch is not None:
                    watch(caption, measured, masks)
            if of_image:
                words.append(of_image)
        if progress is not None:
            progress("Grounding", done, total)
    if not opened:
        raise DataError(f"{images}: none of the images of {annotations} can be opened")
    if not words:
        raise DataError(
            f"no word of {len(rows)} captions names an object that {annotations} shows in the image"
        )
    return {
        **_summary(words),
        "captions": rows,
        "skipped": skipped,
        "notes": skipped_note(skipped, total),
        "settings": {
            "model": captioner.name,
            "sentences": "model" if captions is None else "human",
            "beam_size": beam_size if captions is None else None,
            "images_captioned": opened,
            "centre_sigma": CENTRE_SIGMA,
            "interval": {"level": 0.95, "resamples": RESAMPLES, "over": "images", "seed": SEED},
        },
    }


def _summary(words: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
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
    }


def _means(words: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {
        measure: {name: float(np.mean([word[measure][name] for word in words])) for name in MAPS}
        for measure in MEASURES
    }


def _image_path(folder: Path, image: dict[str, Any]) -> Path:
    """The image's file, also where the folder leaves out the subfolder that its name carries."""
    named = Path(image["file_name"])
    return folder / named if (folder / named).exists() else folder / named.name


_Found = list[Caption] | ImageError


def _own(
    captioner: Captioner, paths: Mapping[int | str, Path], beam_size: int, batch_size: int
) -> Iterator[tuple[int | str, _Found]]:
    """Each image with the caption that the model gives it."""
    stream = captioner.stream(paths.values(), beam_size=beam_size, batch_size=batch_size)
    for image_id, (_, result) in zip(paths, stream, strict=True):
        yield image_id, result if isinstance(result, ImageError) else [result]


def _forced(
    captioner: Captioner,
    paths: Mapping[int | str, Path],
    sayings: Mapping[int | str, Sequence[str]],
) -> Iterator[tuple[int | str, _Found]]:
    """Each image with its human captions, as the model says them; empty ones are passed over."""
    for image_id, texts in sayings.items():
        try:
            image = open_image(paths[image_id])
        except ImageError as error:
            yield image_id, error
            continue
        found = []
        for text in texts:
            try:
                found.append(captioner.attend(image, text))
            except UserError:  # a caption without a word
                continue
        yield image_id, found
