"""The config of a tiny run on drawn shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from showattend.config import Config, from_dict


def tiny_run(data: Path, out: Path, /, **sections: dict[str, Any]) -> Config:
    """Three epochs of pictures of 64 pixels; overrides as section=dict(...)."""
    values: dict[str, dict[str, Any]] = {
        "data": {"path": str(data), "cache": str(data.parent / "cache"), "min_count": 1},
        "encoder": {"size": 64},
        "decoder": {
            "embedding_dim": 32, "hidden_dim": 32, "attention_dim": 32,
            "dropout": 0.2, "embedding_dropout": 0.1, "feature_dropout": 0.1,
        },
        "train": {
            "out": str(out), "epochs": 3, "batch_size": 4, "lr": 1e-2,
            "precision": "fp32", "device": "cpu", "save_every": 0.0,
        },
        "self_critical": {},
        "search": {"max_length": 12},
    }  # fmt: skip
    for section, changes in sections.items():
        values[section] = values.get(section, {}) | changes
    return from_dict(Config, values, "test")
