"""The settings that a score was measured with, without which scores cannot be compared.

They are stored as plain values with every score, and printed with it by `describe_settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SEARCH = ("beam_size", "length_penalty", "block_ngrams", "min_length", "max_length")


def search_settings(options: Any) -> dict[str, Any]:
    """Extract the settings of a search.

    Args:
        options: A `SearchOptions`, or a config's search section as plain values.
    """
    values = options if isinstance(options, Mapping) else vars(options)
    return {key: values[key] for key in SEARCH if key in values}


def caption_settings(captioner: Any, **options: Any) -> dict[str, Any]:
    """Collect the settings of a captioner's captions.

    Args:
        captioner: A `Captioner`.
        options: Search options that override the captioner's; None uses its own.

    Returns:
        model, the settings of the search, size in pixels, and the precision of large products.
    """
    given = {key: value for key, value in options.items() if value is not None}
    return {
        "model": captioner.name,
        **search_settings(captioner.search),
        **given,
        "size": captioner.preprocessing.size,
        "precision": str(captioner.dtype).removeprefix("torch."),
    }


def validation_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the settings of the validation scores in a training record.

    Args:
        record: A training record; settings that old records lack are left out.
    """
    config, data = record.get("config", {}), record.get("data") or {}
    machine = record.get("machine")
    found = search_settings(config.get("search", {}))
    if "validate_beam" in config.get("train", {}):
        found["beam_size"] = config["train"]["validate_beam"]
    if size := data.get("size") or config.get("encoder", {}).get("size"):
        found["size"] = size
    if isinstance(machine, Mapping) and (precision := machine.get("precision")):
        found["precision"] = precision
    if "val_images" in data:
        found |= {"split": "val", "images": data["val_images"]}
    return found


def describe_settings(settings: Mapping[str, Any]) -> str:
    """Describe settings: "beam 5, length penalty 0.7, no 2-gram twice, 1 to 30 words, ...".

    Args:
        settings: The settings stored with a score; missing keys and None are left out.
    """
    known = {key: value for key, value in settings.items() if value is not None}
    parts = []
    if "beam_size" in known:
        parts.append(f"beam {known['beam_size']}")
    if "length_penalty" in known:
        parts.append(f"length penalty {known['length_penalty']:g}")
    if n := known.get("block_ngrams"):
        parts.append(f"no {n}-gram twice")
    elif "block_ngrams" in known:
        parts.append("n-grams may repeat")
    if {"min_length", "max_length"} <= known.keys():
        parts.append(f"{known['min_length']} to {known['max_length']} words")
    if "size" in known:
        parts.append(f"{known['size']} pixels")
    if "precision" in known:
        parts.append(str(known["precision"]))
    if "split" in known:
        parts.append(f"{known['split']} split")
    if "images" in known:
        parts.append(f"{known['images']:,} images")
    return ", ".join(parts)
