"""Object masks from COCO's instances files."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from showattend.data.readers import check_name, read_json, shown_json
from showattend.exceptions import DataError, shown
from showattend.images.finding import find_file
from showattend.images.image_files import MAX_PIXELS


@dataclass(frozen=True)
class Instances:
    """Object annotations in COCO's format.

    Attributes:
        images: The images that show at least one annotated object, by id.
        categories: The names of the categories, by id.
        objects: The annotations of each of these images.
    """

    images: dict[int | str, dict[str, Any]]
    categories: dict[int | str, str]
    objects: dict[int | str, list[dict[str, Any]]]

    @classmethod
    def load(cls, path: Path) -> Instances:
        """Read an instances JSON.

        Raises:
            DataError: It cannot be read, holds no objects, or an image with an object has no file
                name or an impossible size.
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
        seen = {i: image for i, image in images.items() if i in objects}
        if not seen:
            raise DataError(f"{path}: lists no object in any image")
        for image_id, image in seen.items():
            _check_image(image, f"{path}: image {shown(image_id)}")
        for name in categories.values():
            if not isinstance(name, str):
                raise DataError(f"{path}: a category's name must be text, not {shown_json(name)}")
        return cls(seen, categories, {i: objects[i] for i in seen})

    def path(self, folder: Path, image_id: int | str) -> Path:
        """An image's file, with or without the subfolder that its name may contain."""
        named = Path(self.images[image_id]["file_name"])
        places = (folder / named, folder / named.name)
        return next((path for path in places if path.exists()), None) or next(
            filter(None, map(find_file, places)), places[1]
        )

    def masks(
        self, image_id: int | str, size: tuple[int, int], boxes: bool = False
    ) -> dict[str, np.ndarray]:
        """Build the mask of each category in an image.

        Args:
            image_id: The image.
            size: Its width and height in pixels; masks annotated at another size are scaled.
            boxes: Fill the objects' bounding boxes instead of their masks.

        Returns:
            The union of each category's objects, including crowds: [height, width] bool by
            category name.

        Raises:
            DataError: An object's segmentation or box is invalid.
        """
        image = self.images[image_id]
        annotated = (image.get("width", size[0]), image.get("height", size[1]))
        masks: dict[str, np.ndarray] = {}
        for annotation in self.objects[image_id]:
            mask = _object_mask(_box_only(annotation) if boxes else annotation, annotated)
            if mask is None:
                continue
            mask = _scale(mask, size)
            if not mask.any():  # a sliver that covers no pixel centre
                continue
            name = self.categories[annotation["category_id"]]
            masks[name] = mask | masks[name] if name in masks else mask
        return masks


def _box_only(annotation: dict[str, Any]) -> dict[str, Any]:
    """The annotation without its segmentation, if it has a box."""
    if not annotation.get("bbox"):
        return annotation
    return {key: value for key, value in annotation.items() if key != "segmentation"}


def _object_mask(annotation: dict[str, Any], size: tuple[int, int]) -> np.ndarray | None:
    """One object's mask [height, width] bool, from its box if there is no segmentation."""
    from pycocotools import mask as coco_mask

    width, height = size
    where = f"object {shown(annotation.get('id'))} of image {shown(annotation['image_id'])}"
    shape = annotation.get("segmentation")
    if not shape:
        box = annotation.get("bbox")
        if not box:
            return None
        shape = [_corners(box, where)]
    try:
        if isinstance(shape, list):
            if not all(map(_are_pixels, shape)):  # pycocotools would hang on NaN or 1e9
                raise ValueError
            encoded = coco_mask.merge(coco_mask.frPyObjects(shape, height, width))
        elif not math.prod(shape["size"]) <= MAX_PIXELS:
            raise ValueError
        elif isinstance(shape["counts"], list):
            encoded = coco_mask.frPyObjects(shape, *shape["size"])
        else:
            encoded = shape
        with warnings.catch_warnings():  # NumPy 2 warns about a call inside pycocotools
            warnings.simplefilter("ignore", DeprecationWarning)
            mask: np.ndarray = coco_mask.decode(encoded).astype(bool)
    except Exception as error:  # pycocotools raises plain Exceptions
        raise DataError(
            f"{where}: its segmentation is neither polygons nor a run-length mask"
        ) from error
    if not mask.size:
        raise DataError(f"{where}: its run-length mask has no pixels")
    return mask


def _corners(box: Any, where: str) -> list[float]:
    """A box's corners as a polygon, x and y alternating."""
    if not (_are_pixels(box) and len(box) == 4):
        raise DataError(f"{where}: its bbox must be four numbers of pixels, not {shown_json(box)}")
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def _are_pixels(numbers: Any) -> bool:
    """Whether this is a list of plausible pixel coordinates."""
    return isinstance(numbers, list) and all(
        isinstance(number, int | float) and abs(number) < 1e6 for number in numbers
    )


def _check_image(image: dict[str, Any], where: str) -> None:
    """Refuse an image without a file name or with an impossible size."""
    if not isinstance(image.get("file_name"), str):
        raise DataError(f"{where}: has no 'file_name'")
    check_name(image["file_name"], where)
    for side in ("width", "height"):
        length = image.get(side, 1)
        if not isinstance(length, int | float) or length < 1:
            raise DataError(
                f"{where}: {side!r} must be a number of pixels, not {shown_json(length)}"
            )
    if not image.get("width", 1) * image.get("height", 1) <= MAX_PIXELS:  # also true for NaN
        raise DataError(f"{where}: claims over {MAX_PIXELS:,} pixels, which is impossible")


def _scale(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask to another (width, height) by nearest neighbour."""
    width, height = size
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(int)
    return mask[rows[:, None], columns]
