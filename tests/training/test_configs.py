"""Every shipped config trains: a few steps of it on drawn shapes, small and with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from showattend.config import Config, load_config, to_dict
from showattend.data.toy import write_toy
from showattend.model.checkpoint import load
from showattend.training.trainer import train

FOLDER = Path(__file__).parents[2] / "configs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
STARTS = {"coco_scst": "coco"}  # which config makes the model that another starts from


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Config]:
    """A shipped config, for two steps an epoch on images of 64 pixels."""
    toy = write_toy(tmp_path_factory.mktemp("toy"), images=12)

    def make(name: str, out: Path, *changes: str) -> Config:
        config = load_config(FOLDER / f"{name}.yaml")
        overrides = [
            f"data.path={toy}", f"train.out={out}", "data.min_count=1", "data.val_images=2",
            "data.train_images=8", "encoder.size=64", "encoder.pretrained=false",
            "train.batch_size=4", "train.device=cpu", "train.precision=fp32", "train.workers=1",
            *changes,
        ]  # fmt: skip
        if config.data.cache:
            overrides.append(f"data.cache={out.parent / 'cache'}")
        if config.train.epochs:
            overrides.append(f"train.epochs={1 + config.train.finetune_after}")
        if config.self_critical.epochs:
            overrides.append("self_critical.epochs=1")
        return load_config(FOLDER / f"{name}.yaml", overrides)

    return make


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("coco", "coco_scst") else ())
        for name in NAMES
    ],
)
def test_it_trains(name: str, few: Callable[..., Config], tmp_path: Path) -> None:
    changes = []
    if name in STARTS:
        train(few(STARTS[name], tmp_path / "start"))
        changes = [f"train.init_from={tmp_path / 'start'}"]
    config = few(name, tmp_path / "run", *changes)
    record = train(config)
    phases = {entry["phase"] for entry in record["history"]}
    assert ("cross-entropy" in phases) == bool(config.train.epochs)
    assert ("self-critical" in phases) == bool(config.self_critical.epochs)
    averaged = config.self_critical.runs > 1 or config.self_critical.start_share > 0
    assert ("average" in phases) == averaged
    assert load(tmp_path / "run").config["decoder"] == to_dict(config.decoder)
    cached = (tmp_path / "cache").exists()
    assert cached == (config.data.cache is not None)
