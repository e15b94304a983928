"""The manifest of a subset of COCO: its settings and annotation files, and its images.

The same annotation files and settings select the same images; nothing in the manifest depends on
when or where it was made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from showattend import __version__
from showattend.data.readers import read_json
from showattend.data.records import SPLITS
from showattend.exceptions import DataError
from showattend.system.files import writing_file
from showattend.system.provenance import file_digest

MANIFEST = "manifest.json"
_FORMAT = "showattend COCO subset, version 1"


def check_manifest(out: Path) -> dict[str, Any] | None:
    """Read the manifest of a folder, and refuse to overwrite another program's.

    Returns:
        The manifest; None if there is none.

    Raises:
        DataError: The folder contains another program's.
    """
    if not (out / MANIFEST).exists():
        return None
    found = read_json(out / MANIFEST)
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise DataError(f"{out / MANIFEST}: not written by prepare; choose another folder")
    return found


def keep_other_draw(out: Path, before: dict[str, Any] | None, about: dict[str, Any]) -> Path | None:
    """Keep a data set that was drawn with other settings, or from other annotations.

    ``dataset.jsonl`` and ``manifest.json`` are renamed to ``dataset-DIGEST.jsonl`` and
    ``manifest-DIGEST.json``.

    Args:
        out: The folder of the data set.
        before: Its manifest (`check_manifest`).
        about: What is about to be prepared (`describe`).

    Returns:
        The new path of the earlier data set; None if there was no other.

    Raises:
        DataError: It cannot be renamed.
    """
    data = out / "dataset.jsonl"
    if before is None or not data.is_file():
        return None
    draws = [(each.get("settings"), [file.get("sha256") for file in each.get("annotations", [])])
             for each in (before, about)]  # fmt: skip
    if draws[0] == draws[1]:
        return None
    digest = file_digest(data)
    kept = data.with_name(f"dataset-{digest}.jsonl")
    try:
        data.replace(kept)
        (out / MANIFEST).replace(out / f"manifest-{digest}.json")
    except OSError as error:
        raise DataError(f"{data}: cannot be renamed ({error.strerror})") from error
    return kept


def changed_images(before: dict[str, Any] | None, images: Sequence[dict[str, Any]]) -> list[str]:
    """The files whose content differs from the folder's manifest."""
    listed = (before or {}).get("images", [])
    known = {each.get("file"): each.get("sha256") for each in listed if each.get("sha256")}
    return [
        each["file"]
        for each in images
        if each["sha256"] and known.get(each["file"], each["sha256"]) != each["sha256"]
    ]


def describe(settings: dict[str, Any], files: Sequence[Path]) -> dict[str, Any]:
    """Describe the origin of the subset: settings, and annotation files with their checksums."""
    return {
        "format": _FORMAT,
        "version": __version__,
        "settings": settings,
        "annotations": [
            {"file": file.name, "bytes": file.stat().st_size, "sha256": _sha256(file)}
            for file in files
        ],
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(
    out: Path, about: dict[str, Any], images: Sequence[dict[str, Any]], complete: bool
) -> None:
    """Write the manifest, one image per line.

    Args:
        out: The folder of the data set.
        about: See `describe`.
        images: ``id``, ``file``, ``split``, ``bytes`` and ``sha256`` (16 digits) of each image;
            the last two are None if it is missing.
        complete: Whether all images are in the data set.

    Raises:
        DataError: It cannot be written.
    """
    counts = {split: sum(each["split"] == split for each in images) for split in SPLITS}
    head = json.dumps(about | {"complete": complete, "counts": counts}, indent=1)
    lines = ",\n".join(f"  {json.dumps(each)}" for each in images)
    try:
        with writing_file(out / MANIFEST) as aside:
            aside.write_text(f'{head[:-2]},\n "images": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    except OSError as error:
        raise DataError(f"{out / MANIFEST}: cannot be written ({error.strerror})") from None
