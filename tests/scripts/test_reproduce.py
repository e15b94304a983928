"""scripts/reproduce.py and scripts/keep_record.py; the records that are kept are whole."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from showattend.evaluation import reproduce
from showattend.evaluation.scores import java

from .loading import load_from
from .loading import load_script as load

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs" / "records"


@pytest.mark.parametrize("path", sorted(RECORDS.glob("*.json")), ids=lambda path: path.stem)
def test_a_kept_record_is_whole(path: Path) -> None:
    """docs/reproduce.md states its digest, which tests/scripts/test_doc_tables.py compares."""
    record = json.loads(path.read_text(encoding="utf-8"))
    made = record["provenance"]
    assert made["code"]["changed"] is False
    assert {"packages", "machine", "command"} <= made.keys()
    if "history" in record:  # of a training run
        assert {"data", "encoder", "start", "seed", "precision"} <= made.keys()
    elif path.stem not in load_from("records", "kept_records").ON_THIS_MACHINE:
        assert made["model"]["weights"]
        assert {"beam_size", "block_ngrams"} <= made.get("search", made.get("captions")).keys()
        assert made["data"]
    if "metrics" in record or "pointing" in record:
        assert len(record["captions"]["digest"]) == 16
    assert not re.search(r'"/(home|root|tmp|work)/', json.dumps(record)), "paths of a machine"


@pytest.mark.parametrize(
    "with_java", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["no Java", "Java"]
)
def test_a_small_part_is_reproduced(
    with_java: bool, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Java's scorers take as long as the rest; without them METEOR is left out."""

    def absent() -> Path:
        raise java.JavaError("no Java was found")

    if not with_java:
        monkeypatch.setattr(java, "find_java", absent)
    assert load("reproduce").main([]) == 0
    assert "reproduced: weights, losses, captions and scores" in capfd.readouterr().out


def test_a_record_is_kept_without_captions_and_paths(tmp_path: Path) -> None:
    record = {
        "metrics": {"CIDEr": 1.0},
        "captions": [{"image_id": 1, "caption": "a dog"}],
        "faithful": {"words": 2, "captions": [{"image_id": 1}]},
        "settings": {"annotations": "/home/me/captions.json", "beam_size": 5},
    }
    (tmp_path / "results.json").write_text(json.dumps(record))
    script = load("keep_record")
    assert script.main([str(tmp_path / "results.json"), str(tmp_path / "kept.json")]) == 0
    kept = json.loads((tmp_path / "kept.json").read_text(encoding="utf-8"))
    assert kept["settings"] == {"annotations": ".../captions.json", "beam_size": 5}
    assert kept["captions"]["number"] == 1
    assert kept["faithful"] == {"words": 2}
    record["captions"] = [{"image_id": 1, "caption": "a cat"}]
    other = script.kept(record)
    assert other["captions"]["digest"] != kept["captions"]["digest"]
    names = [name for name, *_ in reproduce.differing(kept, other)]
    assert names == ["captions.digest"]
    assert [name for name, *_ in reproduce.differing(kept, script.kept(kept))] == []
