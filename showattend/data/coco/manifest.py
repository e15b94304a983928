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

MANIFEST = "manifest.json"
_FORMAT = "showattend COCO subset, version 1"


def check_manifest(out: Path) -> None:
    """Refuse to overwrite another program's manifest.

    Raises:
        DataError: The folder contains one.
    """
    if not (out / MANIFEST).exists():
        return
    found = read_json(out / MANIFEST)
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise DataError(f"{out / MANIFEST}: not written by prepare; choose another folder")


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
        images: ``id``, ``file``, ``split`` and ``bytes`` (None if missing) of each image.
        complete: Whether all images are in the data set.

    Raises:
        DataError: It cannot be written.
    """
    counts = {split: sum(each["split"] == split for each in images) for split in SPLITS}
    head = json.dumps(about | {"complete": complete, "counts": counts}, indent=1)
    lines = ",\n".join(f"  {json.dumps(each)}" for each in images)
    part = out / f".{MANIFEST}.part"
    try:
        part.write_text(f'{head[:-2]},\n "images": [\n{lines}\n ]\n}}\n', encoding="utf-8")
        part.replace(out / MANIFEST)
    except OSError as error:
        raise DataError(f"{out / MANIFEST}: cannot be written ({error.strerror})") from None
