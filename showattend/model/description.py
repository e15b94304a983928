"""A description of a model in a few lines, for `showattend info`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from showattend.exceptions import CheckpointError
from showattend.model.checkpoint import FAMILIARITY, Checkpoint, load, weights_digest
from showattend.model.decoders import DECODERS
from showattend.model.kinds import options_of, takes
from showattend.model.record_schema import check_record, shallow
from showattend.model.score_settings import (
    SEARCH,
    describe_settings,
    search_settings,
    validation_settings,
)
from showattend.system import provenance
from showattend.text.printable import visible


def describe(path: Path) -> str:
    """Describe a model file in a few lines.

    Raises:
        CheckpointError: The file is not a model, or its header or record is damaged.
    """
    checkpoint = load(path)
    try:
        check_record(checkpoint.record)
        shallow(checkpoint.config, "config")
    except ValueError as error:
        raise CheckpointError(f"{path}: its header cannot be read ({error})") from error
    try:
        return _lines(path, checkpoint)
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: its header is incomplete ({error})") from error


def _searched(search: dict[str, Any] | None) -> list[str]:
    text = describe_settings(search_settings(search or {}))
    return [f"search       {text}"] if text else []


def _calibrated(calibration: dict[str, Any]) -> list[str]:
    if not isinstance(below := calibration.get("unsure_below"), int | float):
        return []
    lines = [f"unsure       words with a probability below {below:g}"]
    if known := calibration.get("familiarity"):
        lines.append(f"notes        on photos unlike the training ones, at {known['size']} pixels")
    return lines


def _looking(section: dict[str, Any], options: Mapping[str, Any]) -> str:
    """Describe the attention in a few words; the default kind, additive, only by its size."""
    kind = section.get("kind", "additive")
    name = "" if kind == "additive" else f"{kind} "
    others = [f"{key} {value}" for key, value in section.items() if key not in ("kind", "sentinel")]
    others += ["sentinel"] if section.get("sentinel") else []
    size = f" {options['attention_dim']}" if "attention_dim" in options else ""
    return f"{name}attention{size}" + (f" ({', '.join(others)})" if others else "")


def _decoded(config: dict[str, Any], section: dict[str, Any]) -> str:
    """Describe the decoder in a few words: by its class's ``summary``, or else by its sizes."""
    kind = section.get("kind", "lstm")
    cls = DECODERS.get(kind, object)  # unknown: a kind of a program that is not running
    declared = options_of(cls)
    options = {name: each.default for name, each in declared.items()} | section
    attention = _looking(config.get("attention") or {}, options)
    if summary := getattr(cls, "summary", None):
        return str(summary.format_map({**options, "kind": kind, "attention": attention}))
    sizes = [
        f"{name} {value}"
        for name, value in options.items()
        if name != "kind" and not (name in declared and declared[name].about.training)
    ]
    parts = [kind, *sizes, *([attention] if takes(cls, "attention") else [])]
    return ", ".join(parts)


def _lines(path: Path, checkpoint: Checkpoint) -> str:
    encoder, decoder = checkpoint.config["encoder"], checkpoint.config["decoder"]
    parameters = sum(
        tensor.numel()
        for key, tensor in checkpoint.weights.items()
        if not key.startswith(FAMILIARITY)
    )
    record = checkpoint.record
    start = record.get("config", {}).get("train", {}).get("init_from")
    beside = f" beside {encoder['beside']}" if encoder.get("beside") else ""
    stored = any(key.startswith("encoder.") for key in checkpoint.weights)
    if encoder.get("pretrained", True) and stored and not encoder.get("finetune_from"):
        trained = "weights of its own"
    elif encoder.get("pretrained", True):
        trained = "fine-tuned" if encoder.get("finetune_from") else "ImageNet weights"
    elif start:
        trained = f"weights of {start}" + (", fine-tuned" if encoder.get("finetune_from") else "")
    else:
        trained = "trained from scratch" if encoder.get("finetune_from") else "random weights"
    lines = [
        f"model        {path} ({path.stat().st_size / 1e6:.1f} MB)",
        f"encoder      {encoder['name']}{beside}, {checkpoint.preprocessing['size']} pixels "
        f"({checkpoint.preprocessing['fit']}), {trained}",
        f"decoder      {_decoded(checkpoint.config, decoder)}",
        f"parameters   {parameters:,} stored (digest {weights_digest(path)})",
        f"vocabulary   {len(checkpoint.vocabulary):,} words",
        *_searched(checkpoint.config.get("search")),
        *_calibrated(checkpoint.calibration),
    ]
    if data := record.get("data"):
        source = record["config"]["data"]["path"]
        if isinstance(source, list):
            source = ", ".join(
                str(each.get("path") if isinstance(each, dict) else each) for each in source
            )
        lines.append(f"trained on   {data['train_images']:,} images of {source}")
    if best := record.get("best"):
        how = describe_settings(validation_settings(record))
        lines.append(
            f"validation   CIDEr {best['CIDEr']:.3f} in training, epoch {best['epoch']}"
            + (f" ({how})" if how else "")
        )
    lines += _figures(record.get("figures") or [])
    if made := record.get("provenance"):
        lines += ["", "how it was trained", *provenance.describe(made)]
        for each in record.get("resumed") or []:
            lines.append(f"resumed      at epoch {each.get('epoch')}, batch {each.get('batch')}")
            lines += [f"             {text}" for text in provenance.changes(made, each)]
    return "\n".join(map(visible, lines))


def figures_entry(
    data: str, metrics: Mapping[str, float], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Build an entry for a record's figures: scores, and how they were measured.

    Args:
        data: A description of the data set and split.
        metrics: The scores.
        settings: The settings from ``evaluate``; those that do not affect scores are left out.
    """
    keys = (*SEARCH, "size", "precision", "images")
    return {
        "data": data,
        "settings": {key: settings[key] for key in keys if key in settings},
        "metrics": {name: round(value, 4) for name, value in metrics.items()},
    }


def _figures(figures: list[dict[str, Any]] | dict[str, Any]) -> list[str]:
    """Return a line per entry; in older models, figures are scores by label, without settings."""
    if isinstance(figures, dict):
        entries = [
            (f"{label} (how they were measured is not recorded)", value)
            for label, value in figures.items()
        ]
    else:
        entries = [
            (f"{each['data']} ({describe_settings(each['settings'])})", each["metrics"])
            for each in figures
        ]
    lines = []
    for label, value in entries:
        pairs = value.items() if isinstance(value, dict) else ()
        text = ", ".join(f"{name} {number}" for name, number in pairs) or value
        lines.append(f"figures      {label}: {text}")
    return lines
