"""``showattend evaluate``: a model's captions, and captions from another source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commandline import CommandLine


@pytest.mark.usefixtures("no_java")
def test_evaluate_a_model(
    run: CommandLine, folder: Path, annotations: Path, tmp_path: Path
) -> None:
    output = tmp_path / "results.json"
    result = run(
        *("evaluate", "--annotations", annotations, "--images", folder),
        *("--model", run.model, "--beam-size", 2, "--output", output),
    )
    assert result.code == 1, "one image is not there"
    assert any("1 of 3 images" in line and "gone.jpg" in line for line in result.err)
    assert result.err[-1] == f"wrote {output}"
    assert any("CIDEr" in line for line in result.out)
    how = "beam 2, length penalty 0.7, n-grams may repeat, 1 to 30 words, 64 pixels, "
    assert result.out[0].startswith(f"Scores of 2 captions ({how}")
    assert result.out[0].endswith(" split, 2 images)")
    written = json.loads(output.read_text(encoding="utf-8"))
    assert {"BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr"} <= set(written["metrics"])
    assert [each["image_id"] for each in written["captions"]] == [1, 2]
    assert all(isinstance(each["caption"], str) for each in written["captions"])


@pytest.mark.usefixtures("no_java")
def test_evaluate_existing_captions(run: CommandLine, annotations: Path, tmp_path: Path) -> None:
    results = tmp_path / "others.json"
    results.write_text(json.dumps([{"image_id": 1, "caption": "a dog runs through the grass"}]))
    args = ("evaluate", "--annotations", annotations, "--results", results)
    assert "2 of 3 images have no caption" in run.refused(*args)
    output = tmp_path / "scores.json"
    result = run(*args, "--allow-missing", "--output", output)
    assert result.code == 0
    assert json.loads(output.read_text(encoding="utf-8"))["metrics"]["BLEU-4"] > 0.99
