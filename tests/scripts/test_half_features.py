"""scripts/half_features.py: the same captions from exact features, and from rounded ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import annotations as annotations
from tests.cli.conftest import folder as folder
from tests.cli.conftest import no_java as no_java

from .loading import load_script


@pytest.mark.usefixtures("no_java")
def test_both_are_scored_on_the_same_photographs(
    model: Path, annotations: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_script("half_features")
    found = script.measure(str(model), annotations, folder, 2, "bfloat16")
    exact, rounded = found["float32"], found["bfloat16"]
    assert [each["image_id"] for each in exact["captions"]] == [
        each["image_id"] for each in rounded["captions"]
    ]
    assert len(exact["captions"]) == 2
    # What the search thinks of its captions is not the same to the last bit.
    assert exact["attention"] != rounded["attention"]
    output = tmp_path / "half.json"
    args = ["--annotations", str(annotations), "--images", str(folder), "--limit", "1"]
    assert script.main([str(model), *args, "--output", str(output)]) == 0
    assert "of 1 captions differ" in capsys.readouterr().out
    record = json.loads(output.read_text(encoding="utf-8"))
    assert record["photographs"] == 1
    assert record["float16"]["metrics"].keys() == record["float32"]["metrics"].keys()
    assert record["settings"]["annotations"] == str(annotations)
    assert record["provenance"]["command"][0] == "half_features.py"
