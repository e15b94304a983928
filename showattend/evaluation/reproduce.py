"""The command that repeats a record, and the differences between two records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from showattend.data.mixture import name_sets
from showattend.data.readers import read_json
from showattend.evaluation.scores.statistics import METRICS
from showattend.exceptions import DataError, shown
from showattend.model.checkpoint import FILE_NAME
from showattend.model.record_schema import check_record
from showattend.model.score_settings import SEARCH
from showattend.system.provenance import DIGITS, flatten

PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
SECTIONS = ("provenance", "settings", "evaluation", "config", "data", "machine", "about", "best")
"""The parts of a record that say how its figures were made."""
_SAID = {"image_id", "caption"}
_TIMES = ("settings.seconds", "settings.results")


def read_record(path: Path) -> dict[str, Any]:
    """Read a record: training.json, results.json, or what a command wrote with ``--output``.

    Raises:
        DataError: It cannot be read, is damaged, or does not record how it was made.
    """
    record = read_json(path)
    if not isinstance(record, dict) or not record.keys() & set(SECTIONS):
        raise DataError(
            f"{path}: not a record; give a training.json, a results.json, a benchmark.json, or a "
            "file from evaluate, ground or errors --output"
        )
    try:
        check_record(record, "it")
    except ValueError as error:
        raise DataError(f"{path}: not a record ({error})") from None
    return record


def command(record: Mapping[str, Any], where: str | Path = "the record") -> list[str]:
    """Build the command that repeats the captions of a record of one data set; see `commands`.

    Raises:
        DataError: `commands` refuses the record, or it is of several data sets.
    """
    found = commands(record, where)
    if len(found) > 1:
        raise DataError(
            f"{where}: is of {len(found)} data sets ({', '.join(found)}), each with its own command"
        )
    return next(iter(found.values()))


def commands(record: Mapping[str, Any], where: str | Path = "the record") -> dict[str, list[str]]:
    """Build the commands that repeat the captions of a record, with every setting spelled out.

    Nothing in them depends on the defaults of a model or of a version.

    Args:
        record: The record of ``showattend evaluate``, or ``results.json`` of ``showattend
            compare``, as plain values.
        where: The record's file, for messages.

    Returns:
        For each data set, by name, the arguments, beginning with ``showattend``. The name is empty
        if the record is of a single data set.

    Raises:
        DataError: The record has no model's captions, or does not record how they were made.
    """
    device = ((record.get("provenance") or {}).get("machine") or {}).get("device")
    return {name: _words(how, device, where) for name, how in _settings(record).items()}


def _words(how: Mapping[str, Any], device: str | None, where: str | Path) -> list[str]:
    missing = [key for key in ("model", "annotations", *SEARCH, "size", "precision")
               if how.get(key) is None]  # fmt: skip
    if missing:
        raise DataError(
            f"{where}: does not say how captions were made (no {', '.join(missing)}); give a "
            "record of evaluate with a model, or a results.json of compare"
        )
    if (precision := PRECISIONS.get(str(how["precision"]))) is None:
        raise DataError(f"{where}: has the unknown precision {shown(how['precision'])}")
    words = ["showattend", "evaluate", "--annotations", how["annotations"]]
    if how.get("image_folder"):
        words += ["--images", how["image_folder"]]
    words += ["--model", how["model"]]
    words += ["--split", how["split"]] if how.get("split") else []
    for key in SEARCH:
        words += [f"--{key.replace('_', '-')}", how[key]]
    words += ["--size", how["size"], "--precision", precision]
    words += ["--batch-size", how.get("batch_size", 32)]
    words += ["--device", device] if device else []
    return [str(word) for word in words]


def _settings(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of the captions of each data set, in the names of ``evaluate``."""
    if isinstance(settings := record.get("settings"), dict):
        return {"": settings}
    how, config = record.get("evaluation"), record.get("config")
    if not isinstance(how, dict) or not isinstance(config, dict):
        return {"": {}}
    out = config.get("train", {}).get("out")
    shared = {
        **how.get("search", {}),
        "model": str(Path(out) / FILE_NAME) if out else None,
        **{key: how[key] for key in ("split", "size", "precision") if key in how},
    }
    files = how.get("files")
    if not isinstance(files, dict):  # of an older version
        files = _files(how, config.get("data", {}).get("images"))
    return {name if len(files) > 1 else "": shared | each for name, each in files.items()}


def _files(how: Mapping[str, Any], images: str | None) -> dict[str, dict[str, Any]]:
    """The data sets of a results.json that has them only as in the config."""
    if isinstance(how.get("data"), str):
        return {"": {"annotations": how["data"], "image_folder": images}}
    sets = [each if isinstance(each, dict) else {"path": each} for each in how.get("data") or [{}]]
    names = name_sets([each.get("path") or "" for each in sets], [e.get("name") for e in sets])
    scored = how.get("sets") or names  # a set without validation images is only for training
    return {
        name: {"annotations": each.get("path"), "image_folder": each.get("images") or images}
        for name, each in zip(names, sets, strict=True)
        if name in scored
    }


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """List the differences of two records: provenance, scores, and captions.

    Args:
        one: A record, as plain values.
        other: Another one.

    Returns:
        (name, value of the one, value of the other); None if a record lacks it. Times are left out.
    """
    first, second = (
        flatten({key: each[key] for key in SECTIONS if key in each})
        | {f"metrics.{name}": each["metrics"].get(name) for name in METRICS if "metrics" in each}
        for each in (one, other)
    )
    keys = [*first, *(key for key in second if key not in first)]
    found = [
        (key, first.get(key), second.get(key))
        for key in keys
        if first.get(key) != second.get(key) and not key.startswith(_TIMES)
    ]
    return found + _captions(one, other)


def captions_digest(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Identify the captions of a record: their number, and a digest of them in their order.

    Args:
        record: A record, or one that `scripts/keep_record.py` has shortened.

    Returns:
        number and digest; None if there are no captions.
    """
    captions = record.get("captions")
    if isinstance(captions, dict):
        return captions
    rows = captions if isinstance(captions, list) else []
    if not rows or not all(isinstance(each, dict) and each.keys() >= _SAID for each in rows):
        return None
    said = [[str(each["image_id"]), each["caption"]] for each in rows]
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:DIGITS]
    return {"number": len(said), "digest": digest}


def _captions(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    mine, theirs = captions_digest(one), captions_digest(other)
    if mine is None or theirs is None or mine == theirs:
        return []
    if any(isinstance(record["captions"], dict) for record in (one, other)):
        return [
            (f"captions.{key}", mine[key], theirs.get(key))
            for key in mine
            if mine[key] != theirs.get(key)
        ]
    said = [
        {
            (str(each.get("set")), str(each["image_id"])): each["caption"]
            for each in record["captions"]
        }
        for record in (one, other)
    ]
    first, second = said
    rows: list[tuple[str, Any, Any]] = []
    if first.keys() != second.keys():
        rows.append(("captioned images", len(first), len(second)))
    shared = first.keys() & second.keys()
    if other_words := sorted(key for key in shared if first[key] != second[key]):
        key = other_words[0]
        share = f"{len(other_words)} of {len(shared)} captions"
        rows.append((f"{share}, first {key[1]}", first[key], second[key]))
    return rows
