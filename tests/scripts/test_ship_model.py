"""scripts/ship_model.py: what it stores is what it measured, and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from showattend.captioner import Captioner
from showattend.model import checkpoint as checkpoints
from showattend.model.score_settings import caption_settings
from tests.scripts.loading import load_script


@pytest.mark.parametrize(("precision", "stored"), [(None, "float32"), ("bf16", "bfloat16")])
def test_figures_are_stored_with_the_precision_they_were_measured_in(
    precision: str | None,
    stored: str,
    untrained: Captioner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script, run = load_script("ship_model"), tmp_path / "run"
    checkpoints.save(run, untrained.to_checkpoint())
    (run / "training.json").write_text(json.dumps({"history": []}))
    # A model was shipped before, with search defaults that were chosen for it.
    shipped = tmp_path / "assets" / "model" / "mine"
    checkpoints.save(shipped, untrained.to_checkpoint())
    (shipped / "search.json").write_text('{"block_ngrams": 4}')
    asked: list[dict[str, Any]] = []

    def evaluate(annotations: Path, *, captioner: Captioner, images: Path) -> dict[str, Any]:
        asked.append(caption_settings(captioner) | {"images": 7})
        return {"metrics": {"BLEU-4": 0.25, "CIDEr": 0.61234}, "settings": asked[-1]}

    monkeypatch.setattr(script, "evaluate", evaluate)
    monkeypatch.setattr(script, "ROOT", tmp_path)
    args = [str(run), "--name", "mine", "--annotations", "a.json", "--images", "photos"]
    args += ["--size", "96", *(["--precision", precision] if precision else [])]
    assert script.main(args) == 0

    found = checkpoints.load(shipped)
    (entry,) = found.record["figures"]
    assert entry["metrics"] == {"BLEU-4": 0.25, "CIDEr": 0.6123}
    settings = entry["settings"]
    assert settings == {key: asked[1][key] for key in settings}
    assert (settings["precision"], settings["size"], settings["images"]) == (stored, 96, 7)
    assert {each["precision"] for each in asked} == {stored}  # both are measured alike
    # The old defaults do not act on the new model, and are not what it was measured with.
    assert settings["block_ngrams"] == found.config["search"]["block_ngrams"] == 0
    out = capsys.readouterr().out
    assert out.count(f"96 pixels, {stored}, 7 images): BLEU-4 0.2500") == 2


def test_weights_that_lose_by_rounding_are_not_shipped(
    untrained: Captioner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, run = load_script("ship_model"), tmp_path / "run"
    checkpoints.save(run, untrained.to_checkpoint())
    (run / "training.json").write_text("{}")
    scores = iter((0.61, 0.60))
    monkeypatch.setattr(
        script,
        "evaluate",
        lambda *_, **__: {"metrics": {"CIDEr": next(scores)}, "settings": {}},
    )
    monkeypatch.setattr(script, "ROOT", tmp_path)
    args = [str(run), "--name", "mine", "--annotations", "a.json", "--images", "photos"]
    assert script.main(args) == 1
    assert not (tmp_path / "assets").exists()
