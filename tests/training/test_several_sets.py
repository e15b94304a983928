"""A run on several data sets: each validated apart, the mean selects."""

from __future__ import annotations

from pathlib import Path

import pytest

from showattend.data.toy import write_toy
from showattend.exceptions import DataError
from showattend.training.run_scores import score
from showattend.training.trainer import Silent, Trainer, train
from tests.tinyrun import tiny_run


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two folders of drawn shapes, of different sizes."""
    folder = tmp_path_factory.mktemp("sets")
    return [
        str(write_toy(folder / name, images=images, size=64))
        for name, images in (("one", 24), ("other", 36))
    ]


@pytest.mark.parametrize("cache", ["cache", pytest.param(None, marks=pytest.mark.slow)])
def test_every_set_is_scored_and_the_mean_selects(
    sets: list[str], tmp_path: Path, cache: str | None
) -> None:
    config = tiny_run(
        Path(sets[0]),
        tmp_path / "run",
        data={
            "path": [sets[0], {"path": sets[1], "weight": 1.5, "name": "more"}],
            "cache": cache and str(tmp_path / cache),
        },
        train={"epochs": 1, "out": str(tmp_path / "run"), "patience": 0},
        self_critical={"epochs": 1, "samples": 2, "min_references": 2},
    )
    record = train(config)
    for entry in record["history"]:
        assert set(entry["sets"]) == {"one", "more"}
        for key in ("CIDEr", "BLEU-4", "val_loss"):
            mean = sum(each[key] for each in entry["sets"].values()) / 2
            assert entry[key] == pytest.approx(mean)
    assert record["best"]["CIDEr"] == max(entry["CIDEr"] for entry in record["history"])
    assert record["data"]["train_images"] == 20 + 30
    assert train(config, resume=True)["history"] == record["history"]
    scored = score(config)
    assert set(scored["evaluation"]["sets"]) == {"one", "more"}
    metrics = [each["metrics"]["CIDEr"] for each in scored["evaluation"]["sets"].values()]
    assert scored["metrics"]["CIDEr"] == pytest.approx(sum(metrics) / 2)
    assert scored["evaluation"]["images"] == len(scored["captions"]) == 4 + 6


def test_another_set_beside_it_computes_only_its_own_features(
    sets: list[str], tmp_path: Path
) -> None:
    class Log(Silent):
        def __init__(self) -> None:
            self.messages: list[str] = []

        def message(self, text: str) -> None:
            self.messages.append(text)

    cache = {"cache": str(tmp_path / "cache")}
    first, both = Log(), Log()
    Trainer(tiny_run(Path(sets[0]), tmp_path / "a", data=cache), first)
    Trainer(tiny_run(Path(sets[0]), tmp_path / "b", data=cache | {"path": sets}), both)
    assert sum("Writing the features of 24 images" in text for text in first.messages) == 1
    assert [text.split(" images")[0] for text in both.messages if "Writing" in text] == [
        "Writing the features of 12"
    ]


def test_a_set_without_its_images_is_named(sets: list[str], tmp_path: Path) -> None:
    moved = tmp_path / "moved" / "dataset.jsonl"
    moved.parent.mkdir()
    moved.write_text(Path(sets[1]).read_text().replace(str(Path(sets[1]).parent), str(tmp_path)))
    data = {"path": [sets[0], str(moved)], "cache": str(tmp_path / "cache")}
    with pytest.raises(DataError, match=r"none of the 36 images of .*moved.*data\.path\[1\]"):
        Trainer(tiny_run(Path(sets[0]), tmp_path / "run", data=data))
