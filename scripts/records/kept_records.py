"""The records behind the documents: those in docs/records, and those inside the shipped models.

A shipped model's file has the record of its training, and calibration.safetensors that of its
warnings; these are `everyday_training` and `everyday_calibration`, so that nothing is kept twice.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from showattend.model.checkpoint import load_meta, weights_digest
from showattend.system.provenance import file_digest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "records"
MODELS = ("everyday", "flickr8k")
SETS = {
    "everyday": "everyday (MS-COCO and Flickr30k)",
    "coco_subset": "coco_subset (MS-COCO)",
    "flickr8k": "Flickr8k",
}

ON_THIS_MACHINE = frozenset(
    {
        "benchmark", "costs", "family", "family_cost", "first_minutes", "fuzz", "growth", "kills",
        "messages", "page_times", "rates", "streaming", "workers",
    }
)  # fmt: skip
"""Records of trainings, times, memory and counts, which `make records` does not make."""

Records = Mapping[str, Mapping[str, Any]]


def read_records(folder: Path = FOLDER) -> dict[str, Any]:
    """Read all records by name."""
    found = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    }
    for model in MODELS:
        files = model_files(model)
        found[f"{model}_training"] = load_meta(files["training"], "a model")["record"]
        meta = load_meta(files["calibration"], "a calibration")
        found[f"{model}_calibration"] = meta["calibration"] | {"model": meta["weights"]}
    return found


def model_files(model: str) -> dict[str, Path]:
    """The files of a shipped model that hold records: "training" and "calibration"."""
    folder = ROOT / "assets" / "model" / model
    return {
        "training": folder / "model.safetensors",
        "calibration": folder / "calibration.safetensors",
    }


def record_file(name: str) -> Path:
    """The file that holds a record."""
    model, _, kind = name.rpartition("_")
    if model in MODELS and kind in ("training", "calibration"):
        return model_files(model)[kind]
    return FOLDER / f"{name}.json"


def digests() -> dict[str, str | None]:
    """The digest of the file of each record."""
    return {name: file_digest(record_file(name)) for name in read_records()}


def is_stale(record: Mapping[str, Any]) -> bool:
    """Whether a record is of weights other than those shipped today."""
    model = record.get("provenance", {}).get("model") or {}
    return model.get("name") in MODELS and model["weights"] != _shipped(model["name"])


@functools.cache
def _shipped(model: str) -> str:
    return weights_digest(model_files(model)["training"])
