"""A synthetic data set: pictures of coloured shapes with correct captions.

It lets you try training without any data, and gives tests a data set with exact object outlines. A
seed gives the same pictures and captions on every machine.
"""

from __future__ import annotations

import json
import math
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from showattend.data.prepare import prepare
from showattend.data.readers import read_json
from showattend.data.records import Record
from showattend.exceptions import DataError
from showattend.system.files import remove_stale, writing_file

COLOURS = {
    "red": (215, 40, 40),
    "orange": (250, 140, 30),
    "yellow": (245, 215, 45),
    "green": (40, 165, 70),
    "blue": (45, 95, 225),
    "purple": (150, 60, 190),
}
_DIAMETERS = {"small": 0.2, "big": 0.36}  # fraction of the picture's side, plus or minus 10 %
_GREYS = {"light": (205, 250), "dark": (15, 60)}
_VERSION = 1  # increase it if the same seed would draw something else
_OVERSAMPLING = 4
_VAL_EVERY = 6  # one picture in six is for validation


def _regular(corners: int, inner: float = 0.0) -> list[tuple[float, float]]:
    """A regular polygon in the unit circle, one corner up; with ``inner`` radius, a star."""
    radii = (1.0, inner) if inner else (1.0,)
    count = corners * len(radii)
    return [
        (
            radii[i % len(radii)] * math.sin(2 * math.pi * i / count),
            -radii[i % len(radii)] * math.cos(2 * math.pi * i / count),
        )
        for i in range(count)
    ]


_ARM = 0.34
OUTLINES: dict[str, list[tuple[float, float]]] = {
    "circle": _regular(40),
    "square": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
    "triangle": _regular(3),
    "star": _regular(5, inner=0.42),
    "cross": [
        (-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM),
        (_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM),
    ],
}  # fmt: skip
SHAPES = tuple(OUTLINES)


@dataclass(frozen=True)
class Shape:
    """One object of a scene.

    Attributes:
        name: One of ``SHAPES``.
        colour: One of ``COLOURS``.
        size: ``small`` or ``big``.
        outline: Its corners (x, y) in pixels; the edges of pixels are at whole numbers.
    """

    name: str
    colour: str
    size: str
    outline: tuple[tuple[float, float], ...]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in pixels."""
        xs, ys = zip(*self.outline, strict=True)
        return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True)
class Scene:
    """One picture: its shapes, a ``light`` or ``dark`` background, and five captions."""

    shapes: tuple[Shape, ...]
    background: str
    captions: tuple[str, ...]


def write_toy(out_dir: Path, images: int = 600, seed: int = 0, size: int = 128) -> Path:
    """Draw a data set, unless the folder already contains it.

    Writes ``images/*.jpg``, the output of `prepare` (one picture in six is for validation), and
    ``instances_val.json`` (COCO categories, polygons, boxes) for the pointing game.

    Args:
        out_dir: A new or empty folder.
        images: Number of pictures, at least 6.
        seed: The random seed.
        size: Side of the pictures in pixels, at least 32.

    Returns:
        The path of ``dataset.jsonl``.

    Raises:
        DataError: The numbers are too small, or the folder holds other files or cannot be written.
    """
    if images < _VAL_EVERY or size < 32:
        raise DataError(f"{images} toy pictures of {size} pixels: draw at least 6, of 32 or more")
    recipe = {"version": _VERSION, "images": images, "seed": seed, "size": size}
    marker, instances = out_dir / "toy.json", out_dir / "instances_val.json"
    for path in (marker, instances):
        remove_stale(path)
    if marker.is_file():  # it is empty after an interrupted run
        if marker.stat().st_size and read_json(marker) == recipe | {"complete": True}:
            return out_dir / "dataset.jsonl"
    elif out_dir.is_dir() and any(out_dir.iterdir()):
        raise DataError(f"{out_dir}: holds other files; choose a new folder for the toy pictures")
    try:
        # Written first: if drawing is interrupted, it identifies the folder as ours.
        _write(marker, recipe | {"complete": False})
        shutil.rmtree(out_dir / "images", ignore_errors=True)
        (out_dir / "images").mkdir()
        val_scenes: dict[int, Scene] = {}
        records = []
        for number in range(1, images + 1):
            path = out_dir / "images" / f"{number:05}.jpg"
            rng = random.Random(f"{seed}-{number}")
            scene = make_scene(rng, size)
            draw(scene, rng, size).save(path, quality=92)
            split = "train" if number % _VAL_EVERY else "val"
            if split == "val":
                val_scenes[number] = scene
            records.append(Record(number, path, scene.captions, split))
        prepare(records, out_dir, min_count=1)
        _write(instances, _instances(val_scenes, size))
        _write(marker, recipe | {"complete": True})
    except OSError as error:
        raise DataError(f"{out_dir}: cannot be written ({error.strerror})") from None
    return out_dir / "dataset.jsonl"


def _write(path: Path, content: dict[str, Any]) -> None:
    with writing_file(path) as aside:
        aside.write_text(json.dumps(content), encoding="utf-8")


# Scenes ----------------------------------------------------------------------------------------


def make_scene(rng: random.Random, size: int) -> Scene:
    """Compose a random scene: one shape, two different ones, or two or three of the same kind.

    Args:
        rng: The source of randomness.
        size: The side of the picture in pixels.
    """
    background = rng.choice(sorted(_GREYS))
    arrange = rng.choices([_one, _pair, _alike], weights=[3, 4, 2])[0]
    shapes, phrases = arrange(rng, size)
    pool = dict.fromkeys(
        [
            *phrases,
            *(f"there {_is(phrase)} {phrase}" for phrase in phrases),
            *(f"{phrase} on a {background} background" for phrase in phrases[:2]),
        ]
    )
    captions = rng.sample(list(pool), 5)
    return Scene(shapes, background, tuple(f"{text[0].upper()}{text[1:]}." for text in captions))


def _one(rng: random.Random, size: int) -> tuple[tuple[Shape, ...], list[str]]:
    column, row = rng.randrange(3), rng.randrange(3)
    x, y = ((0.22, 0.5, 0.78)[i] + rng.uniform(-0.05, 0.05) for i in (column, row))
    shape = _shape(rng, x, y, size)
    side = (" on the left", "", " on the right")[column]
    height = (" at the top", "", " at the bottom")[row]
    places = [place for place in (side, height) if place] or [" in the middle"]
    if len(places) == 2:
        places.append(f" in the {height.split()[-1]} {side.split()[-1]} corner")
    names = _names(shape)
    return (shape,), [*names, *(f"{name}{place}" for place in places for name in names)]


def _pair(rng: random.Random, size: int) -> tuple[tuple[Shape, ...], list[str]]:
    """Two shapes of different name and colour, clearly above or to the side of each other."""
    upright = rng.random() < 0.5
    first, second = _two_places(rng, upright)
    names, colours = rng.sample(SHAPES, 2), rng.sample(sorted(COLOURS), 2)
    one = _shape(rng, *first, size, names[0], colours[0])
    other = _shape(rng, *second, size, names[1], colours[1])
    there, back = ("above", "below") if upright else ("to the left of", "to the right of")
    start, end = ("at the top", "at the bottom") if upright else ("on the left", "on the right")
    phrases = [
        phrase
        for a, b in zip(_names(one), _names(other), strict=True)
        for phrase in (
            f"{a} {there} {b}",
            f"{b} {back} {a}",
            f"{a} and {b}",
            f"{a} {start} and {b} {end}",
        )
    ]
    return (one, other), phrases


def _alike(rng: random.Random, size: int) -> tuple[tuple[Shape, ...], list[str]]:
    """Two or three shapes of one kind, colour and size."""
    name, colour = rng.choice(SHAPES), rng.choice(sorted(COLOURS))
    extent = rng.choice(sorted(_DIAMETERS))
    if rng.random() < 0.5:
        number, places = "two", _two_places(rng, rng.random() < 0.5)
    else:
        corners = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
        number = "three"
        places = [
            (x + rng.uniform(-0.03, 0.03), y + rng.uniform(-0.03, 0.03))
            for x, y in rng.sample(corners, 3)
        ]
    shapes = tuple(_shape(rng, x, y, size, name, colour, extent) for x, y in places)
    many = f"{name}es" if name.endswith("s") else f"{name}s"
    return shapes, [
        f"{number} {colour} {many}",
        f"{number} {extent} {colour} {many}",
        f"{number} {many}",
        f"{number} {extent} {many}",
    ]


def _two_places(rng: random.Random, upright: bool) -> list[tuple[float, float]]:
    """Two centres, the first above or to the left of the second; the other axis differs less."""
    places = [
        (low + rng.uniform(-0.02, 0.02), 0.5 + rng.uniform(-0.13, 0.13)) for low in (0.26, 0.74)
    ]
    return [(across, along) for along, across in places] if upright else places


def _shape(
    rng: random.Random,
    x: float,
    y: float,
    size: int,
    name: str | None = None,
    colour: str | None = None,
    extent: str | None = None,
) -> Shape:
    """A shape centred at (x, y), in fractions of the side; properties that are None are random."""
    name = name or rng.choice(SHAPES)
    colour = colour or rng.choice(sorted(COLOURS))
    extent = extent or rng.choice(sorted(_DIAMETERS))
    radius = _DIAMETERS[extent] / 2 * rng.uniform(0.9, 1.1)
    turn = math.radians(rng.uniform(-15, 15))
    x, y = (min(max(value, radius + 0.02), 0.98 - radius) for value in (x, y))
    outline = tuple(
        (
            round(size * (x + radius * (u * math.cos(turn) - v * math.sin(turn))), 2),
            round(size * (y + radius * (u * math.sin(turn) + v * math.cos(turn))), 2),
        )
        for u, v in OUTLINES[name]
    )
    return Shape(name, colour, extent, outline)


def _names(shape: Shape) -> tuple[str, str]:
    """Names for the shape, without and with its size."""
    article = "an" if shape.colour[0] in "aeiou" else "a"
    return (
        f"{article} {shape.colour} {shape.name}",
        f"a {shape.size} {shape.colour} {shape.name}",
    )


def _is(phrase: str) -> str:
    return "are" if phrase.startswith(("two", "three")) else "is"


# Pixels ----------------------------------------------------------------------------------------


def draw(scene: Scene, rng: random.Random, size: int) -> Image.Image:
    """Draw a scene: smooth outlines on a grey gradient with a little noise.

    Args:
        scene: The scene.
        rng: The source of randomness for the background and the noise.
        size: The side in pixels that the scene was made for.
    """
    low, high = _GREYS[scene.background]
    corners = np.array([[rng.uniform(low, high) for _ in range(2)] for _ in range(2)])
    along = np.linspace(0, 1, size)
    weights = np.stack([1 - along, along])
    grey = weights.T @ corners @ weights
    image = Image.fromarray(np.repeat(grey[..., None], 3, axis=2).astype(np.uint8))
    large = size * _OVERSAMPLING
    for shape in scene.shapes:
        mask = Image.new("L", (large, large))
        points = [(x * _OVERSAMPLING, y * _OVERSAMPLING) for x, y in shape.outline]
        ImageDraw.Draw(mask).polygon(points, fill=255)
        image.paste(COLOURS[shape.colour], mask=mask.resize((size, size), Image.Resampling.BOX))
    noise = np.frombuffer(rng.randbytes(size * size * 3), np.uint8).reshape(size, size, 3)
    noisy = np.asarray(image).astype(np.int16) + noise % 13 - 6
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _instances(scenes: dict[int, Scene], size: int) -> dict[str, object]:
    """The scenes in COCO's instances format."""
    annotations: list[dict[str, object]] = []
    for number, scene in scenes.items():
        for shape in scene.shapes:
            left, top, right, bottom = shape.box
            corners = shape.outline
            area = sum(
                x * v - u * y
                for (x, y), (u, v) in zip(corners, corners[1:] + corners[:1], strict=True)
            )
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": SHAPES.index(shape.name) + 1,
                    "segmentation": [[value for corner in corners for value in corner]],
                    "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
                    "area": round(abs(area) / 2, 2),
                    "iscrowd": 0,
                }
            )
    return {
        "info": {"description": "shapes drawn by showattend"},
        "licenses": [],
        "images": [
            {"id": number, "file_name": f"{number:05}.jpg", "width": size, "height": size}
            for number in scenes
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(SHAPES, start=1)],
        "annotations": annotations,
    }
