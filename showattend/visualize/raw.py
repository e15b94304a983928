"""The maps themselves, for other tools: ``.npz`` and JSON, as docs/maps.md describes them."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from showattend.caption import Caption
from showattend.exceptions import ImageError, UserError, shown
from showattend.images.sources import ImageSource
from showattend.model.model_schema import parse_json
from showattend.system.npy_files import read_arrays
from showattend.visualize.focus import half_area
from showattend.visualize.heat import entropy_of, positions_of

FORMAT = "showattend maps 1"
"""Identifies the format and, by its number, the keys; keys may be added, never changed."""


def raw_maps(caption: Caption, words: Sequence[str] | None = None) -> dict[str, Any]:
    """The maps of a caption, with what is needed to draw them over the photo.

    Args:
        caption: The caption.
        words: Only these words' maps.

    Returns:
        Texts, and arrays for the keys that have a shape in docs/maps.md; no gates, parts or
        sentinel if the model has none. All gaps are listed, whatever the words.

    Raises:
        UserError: A word is not in the caption.
    """
    positions = positions_of(caption, words)
    rows, cols = caption.attention.shape[1:]
    left, top, right, bottom = caption.geometry.box
    chosen = caption.attention[positions]
    known = isinstance(caption.image, str | Path)
    gates = caption.betas
    maps: dict[str, Any] = {
        "format": FORMAT,
        "image": str(caption.image) if known else "",
        "caption": caption.text,
        "words": np.array([caption.words[t] for t in positions], dtype=np.str_),
        "position": np.array(positions, dtype=np.int64),
        "attention": chosen.astype(np.float32),
        "entropy": np.array([entropy_of(each) for each in chosen], dtype=np.float64),
        "half_area": np.array([half_area(each) for each in chosen], dtype=np.float64),
        "betas": None if gates is None else np.array([gates[t] for t in positions], np.float32),
        "log_probs": np.array([caption.log_probs[t] for t in positions], dtype=np.float64),
        "confidences": np.array([caption.confidences[t] for t in positions], dtype=np.float64),
        "unsure": np.array([caption.unsure[t] for t in positions], dtype=np.bool_),
        "image_size": np.array(caption.geometry.image_size, dtype=np.int64),
        "box": np.array(caption.geometry.box, dtype=np.float64),
        "cell_x": np.linspace(left, right, cols + 1),
        "cell_y": np.linspace(top, bottom, rows + 1),
    }
    if caption.parts is not None:
        maps["parts"] = caption.parts[positions].astype(np.float32)
        maps["part_names"] = np.array(caption.part_names, dtype=np.str_)
    if caption.sentinel is not None:
        maps["sentinel"] = caption.sentinel[positions].astype(np.float32)
    if caption.gaps:
        most = max(len(gap.candidates) for gap in caption.gaps)
        padded = [
            [*gap.candidates, *[("", 0.0)] * (most - len(gap.candidates))] for gap in caption.gaps
        ]
        maps["gaps"] = np.array([gap.place for gap in caption.gaps], dtype=np.int64)
        maps["gap_words"] = np.array([[word for word, _ in row] for row in padded], dtype=np.str_)
        maps["gap_shares"] = np.array([[each for _, each in row] for row in padded], np.float64)
    if (among := caption.self_attention) is not None:
        maps["tokens"] = np.array(among.tokens, dtype=np.str_)
        maps["word_attention"] = among.words
        maps["grid_attention"] = among.grid
    if caption.explanation:
        maps["explanation"] = caption.explanation
    return {key: value for key, value in maps.items() if value is not None}


def npz_bytes(
    caption: Caption, _suffix: str = ".npz", *, words: Sequence[str] | None = None
) -> bytes:
    """The maps as the content of an .npz file; ``numpy.load`` reads it without pickle.

    Raises:
        UserError: A word is not in the caption.
    """
    return maps_bytes(raw_maps(caption, words), ".npz")


def json_bytes(
    caption: Caption, _suffix: str = ".json", *, words: Sequence[str] | None = None
) -> bytes:
    """The maps as JSON, with the same keys; a number reads back as the same number.

    Raises:
        UserError: A word is not in the caption.
    """
    return maps_bytes(raw_maps(caption, words), ".json")


def maps_bytes(maps: Mapping[str, Any], suffix: str) -> bytes:
    """Texts and arrays by name as the content of an .npz or a .json file."""
    if suffix == ".npz":
        file = io.BytesIO()
        np.savez(file, **maps)
        return file.getvalue()
    plain = {key: _plain(value) for key, value in maps.items()}
    return (json.dumps(plain, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def plain_numbers(numbers: np.ndarray) -> Any:
    """Convert an array [...] to floats in nested lists for JSON; NaN becomes None."""
    if not np.isnan(numbers).any():
        return numbers.tolist()
    values = numbers.astype(object)
    values[np.isnan(numbers)] = None
    return values.tolist()


def _plain(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    return plain_numbers(value) if value.dtype.kind == "f" else value.tolist()


def read_maps(path: str | Path, photo: ImageSource) -> Caption:
    """A caption from a file of maps, from this package or any other program.

    ``words`` [T] and ``attention``, as for `Caption.from_maps`, are required; ``grid`` [2],
    ``part_names``, ``log_probs``, ``betas``, ``sentinel`` and ``box`` are optional. In this
    package's own files the heads are in ``parts``.

    Args:
        path: An .npz or .json file. Its ``explanation`` names maps that are not attention.
        photo: The photograph.

    Raises:
        UserError: The file cannot be read or lacks a key, or see `Caption.from_maps`.
        ImageError: The photograph cannot be opened.
    """
    path = Path(path)
    values = _read(path)
    missing = [key for key in ("words", "attention") if values.get(key) is None]
    if missing:
        raise UserError(f"{path}: has no {' and no '.join(missing)}; docs/maps.md lists the keys")
    options = {
        key: values[key]
        for key in ("part_names", "log_probs", "betas", "sentinel", "box")
        if values.get(key) is not None
    }
    for key in ("part_names", "words"):
        if key in values and values[key] is not None:
            values[key] = options[key] = _texts(path, key, values[key])
    words = options.pop("words")
    if values.get("grid") is not None:
        grid = np.asarray(values["grid"], object).ravel().tolist()
        if len(grid) != 2 or not all(isinstance(each, int) and 0 < each < 10_000 for each in grid):
            raise UserError(f"{path}: grid must be two whole numbers, rows and columns")
        options["grid"] = tuple(grid)
    if isinstance(logs := options.get("log_probs"), list):
        options["log_probs"] = [math.nan if each is None else each for each in logs]
    own = values.get("parts")
    try:
        found = Caption.from_maps(
            photo, words, values["attention"] if own is None else own, **options
        )
        if values.get("explanation") is not None:
            found = replace(found, explanation=str(values["explanation"]))
        if own is not None:  # its own map, which need not be the mean of its parts
            options.pop("part_names", None)
            mean = Caption.from_maps(photo, words, values["attention"], **options)
            found = replace(found, attention=mean.attention)
        return found
    except ImageError:
        raise
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _texts(path: Path, key: str, values: Any) -> list[str]:
    """A list of words or names.

    Raises:
        UserError: It is something else.
    """
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    listed = [listed] if isinstance(listed, str) else listed
    if not isinstance(listed, list) or not all(isinstance(x, str | int | float) for x in listed):
        raise UserError(f"{path}: {key} is {shown(values)}; it must be a list of texts")
    return [shown(each) if isinstance(each, int) else str(each) for each in listed]


def _read(path: Path) -> dict[str, Any]:
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".json"):
        raise UserError(f"{path}: maps are read from .npz and .json files")
    try:
        if suffix == ".json":
            values = parse_json(path.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise UserError(f"{path}: JSON without keys; docs/maps.md lists them")
            return values
        return dict(read_arrays(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise UserError(f"{path}: not a {suffix} file, or damaged ({error})") from error
