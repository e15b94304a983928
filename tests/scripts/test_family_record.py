"""scripts/records/family_record.py: rows of several folders in one record, and their tables."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from showattend.config import load_config, to_dict
from showattend.training.comparison import Row

from .loading import FOLDER, load_from

CONFIGS = FOLDER.parent / "configs" / "family"
HISTORY = [
    {"epoch": 1, "loss": 4.5, "estimator_variance": 0.25, "estimator_second_moment": 0.5},
    {"epoch": 2, "loss": 3.5, "estimator_variance": 0.125, "estimator_second_moment": 0.5,
     "CIDEr": 0.52},
]  # fmt: skip
POINTING = {
    "words": 9,
    "pointing": {"model": 0.5, "uniform": 0.2, "centre": 0.4},
    "mass": {"model": 0.3, "uniform": 0.2, "centre": 0.3},
    "interval": {"pointing": {"uniform": [0.1, 0.4], "centre": [-0.1, 0.3]}},
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_from("records", "family_record")


def finish(out: Path, name: str, scores: list[float]) -> None:
    """Write what `showattend compare` leaves of a run."""
    config = Row(name, CONFIGS, "", load_config(CONFIGS / f"{name}.yaml")).run(out, 0)
    folder = Path(config.train.out)
    folder.mkdir(parents=True)
    mean = sum(scores) / len(scores)
    search = {"beam_size": 5, "length_penalty": 0.7}
    results: dict[str, Any] = {
        "metrics": {"BLEU-4": 0.2, "METEOR": 0.1, "ROUGE-L": 0.4, "CIDEr": mean},
        "wording": {"distinct": 0.5, "words": 12},
        "best": {"epoch": 2},
        "epochs": 2,
        "seconds": 1200.0,
        "machine": {"device": "cpu", "processors": 2, "torch": "2", "python": "3.11",
                    "precision": "bfloat16", "threads": 1},
        "config": to_dict(config),
        "evaluation": {"data": "d", "images": len(scores), "references": "abc", "search": search,
                       "scorer": "s", "tokenizer": "t", "precision": "float32", "size": 224,
                       "notes": []},
        "lengths": {"scores": [{"from": 0, "to": None, "images": 3, "CIDEr": mean, "BLEU-4": 0.2}],
                    "likelihood": [{"from": 1, "to": None, "captions": 4, "log_prob": -2.5}]},
        "cost": {"parameters": 8e6, "step": 0.1, "search": 0.1, "memory": 10.0},
        "captions": [{"image_id": n, "caption": "a dog", "scores": {"CIDEr": score}}
                     for n, score in enumerate(scores)],
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (folder / "training.json").write_text(json.dumps({"history": HISTORY}), encoding="utf-8")
    (folder / "grounding.json").write_text(json.dumps({"own": POINTING}), encoding="utf-8")


def test_rows_of_several_folders_become_one_table(script: ModuleType, tmp_path: Path) -> None:
    record = tmp_path / "family.json"
    finish(tmp_path / "one", "none", [0.2, 0.3, 0.1])
    finish(tmp_path / "one", "hard", [0.4, 0.6, 0.5])
    assert script.main([str(tmp_path / "one"), "--output", str(record)]) == 0
    rows = json.loads(record.read_text(encoding="utf-8"))["rows"]
    assert [row["name"] for row in rows] == ["hard", "none"]
    assert not any("difference" in row for row in rows), "there is nothing to compare with"

    finish(tmp_path / "two", "additive", [0.5, 0.7, 0.6])
    assert script.main([str(tmp_path / "two"), "--output", str(record)]) == 0
    made = json.loads(record.read_text(encoding="utf-8"))
    assert made["provenance"]["command"][0] == "records/family_record.py"
    first, hard, none = made["rows"]
    assert (first["name"], hard["name"], none["name"]) == ("additive", "hard", "none")
    assert hard["difference"]["difference"] == pytest.approx(-0.1)
    assert none["difference"]["difference"] == pytest.approx(-0.4)
    assert hard["difference"]["level"] == pytest.approx(0.975), "two differences"
    assert not hard["difference"]["interval"][1] > 0

    tables = load_from("records", "family_renderer")
    scores = tables.scores({"family": made})
    assert "| [none](../configs/family/none.yaml) | " in scores
    assert "| 0.200 | 0.100 | 0.200 | -0.400 (" in scores
    assert "| 12 | 8.00 | 20 |" in scores
    assert "| additive | 0.600 |" in tables.lengths({"family": made})
    assert "| none | 0.500 | +0.300 (+0.100 to +0.400) |" in tables.maps({"family": made})
    assert "| 2 | 0.125 | 0.5 | 0.520 |" in tables.hard({"family": made})


def test_a_row_is_replaced(script: ModuleType, tmp_path: Path) -> None:
    record = tmp_path / "family.json"
    for folder, score in (("one", 0.5), ("two", 0.25)):
        finish(tmp_path / folder, "additive", [score])
        assert script.main([str(tmp_path / folder), "--output", str(record)]) == 0
        (row,) = json.loads(record.read_text(encoding="utf-8"))["rows"]
        assert row["figures"]["CIDEr"] == score


def test_a_folder_without_runs_is_refused(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main([str(tmp_path), "--output", str(tmp_path / "family.json")]) == 2
    assert "holds no finished run" in capsys.readouterr().err
    assert not (tmp_path / "family.json").exists()
