"""The maps themselves, for other tools: ``.npz`` and JSON, as docs/maps.md describes them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from showattend.caption import Caption
from showattend.visualize.focus import half_area
from showattend.visualize.heat import entropy_of, positions_of

FORMAT = "showattend maps 1"
"""Says what a file is, and by its number which keys it has; keys may be added, never changed."""


def raw_maps(caption: Caption, words: Sequence[str] | None = None) -> dict[str, Any]:
    """The maps of a caption with all it takes to lay them over the photo's pixels.

    Args:
        caption: The caption.
        words: Only these words' maps.

    Returns:
        Texts, and arrays for what docs/maps.md gives a shape; no gates if the model has none,
        and likewise no parts and no sentinel.

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
    return {key: value for key, value in maps.items() if value is not None}


def npz_bytes(
    caption: Caption, _suffix: str = ".npz", *, words: Sequence[str] | None = None
) -> bytes:
    """The maps as the content of an .npz file; ``numpy.load`` reads it without pickle.

    Raises:
        UserError: A word is not in the caption.
    """
    file = io.BytesIO()
    np.savez(file, **raw_maps(caption, words))
    return file.getvalue()


def json_bytes(
    caption: Caption, _suffix: str = ".json", *, words: Sequence[str] | None = None
) -> bytes:
    """The maps as JSON, with the same keys; a number reads back as the same number.

    Raises:
        UserError: A word is not in the caption.
    """
    plain = {
        key: value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in raw_maps(caption, words).items()
    }
    return (json.dumps(plain, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
