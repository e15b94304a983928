"""scripts/same_as_before.py: two versions of the code that agree, and one that does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from .loading import FOLDER, load_script

PACKAGE = FOLDER.parent / "showattend"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("same_as_before")


def entry(words: str, pixels: str = "a", shift: float = 0.0) -> dict[str, Any]:
    """A photograph's caption, its maps and log-probabilities shifted."""
    count = len(words.split())
    maps = np.full((count, 2, 2), 0.25 + shift, np.float64)
    log_probs = [-1 - 2 * shift] * (count + 1)
    return {"words": words.split(), "log_probs": log_probs, "maps": maps, "pixels": pixels}


def test_what_differs_is_counted(script: ModuleType) -> None:
    problem = {"problem": "ImageError"}
    before = [entry("a dog"), entry("a dog"), entry("a cat"), entry("a cat"), problem, problem]
    now = [
        entry("a dog", shift=1e-7),
        entry("a dog", shift=1e-3),
        entry("a cat", pixels="b"),
        entry("two cats", pixels="b"),
        problem,
        entry("a dog"),
    ]
    found = script.compare([f"{n}.jpg" for n in range(6)], before, now)
    assert found["photographs"] == 6
    assert (found["unreadable"], found["same_pixels"]) == (1, 2)
    assert (found["same_words"], found["same_maps"]) == (3, 2)
    assert found["largest"] == pytest.approx({"maps": 1e-3, "log_probs": 2e-3})
    assert found["differ"] == [
        {"image": "3.jpg", "same_pixels": False, "before": "a cat", "now": "two cats"},
        {"image": "5.jpg", "same_pixels": False, "before": "ImageError", "now": "a dog"},
    ]


@pytest.mark.slow
def test_another_version_is_run(
    script: ModuleType, model: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same code elsewhere says the same; one with another reading of pixels does not."""
    other, output = tmp_path / "other", tmp_path / "record.json"
    shutil.copytree(PACKAGE, other / "showattend")
    (tmp_path / "photos").mkdir()
    shutil.copy(photo, tmp_path / "photos")
    command = [str(other), "--model", str(model), "--images", str(tmp_path / "photos")]
    assert script.main([*command, "--output", str(output)]) == 0
    assert (
        "the same pixels for 1, the same words for 1, and the same maps to 1e-06 for 1"
        in capsys.readouterr().out
    )
    record = json.loads(output.read_text(encoding="utf-8"))
    assert record["largest"] == {"maps": 0.0, "log_probs": 0.0}
    assert record["provenance"]["model"]["weights"]

    changed = other / "showattend" / "images" / "preprocessing.py"
    text = changed.read_text(encoding="utf-8")
    assert "Fitted(np.array(image), geometry)" in text
    text = text.replace(
        "Fitted(np.array(image), geometry)", "Fitted(255 - np.array(image), geometry)"
    )
    changed.write_text(text, encoding="utf-8")
    assert script.main(command) == 1
    assert "the same pixels for 0" in capsys.readouterr().out

    (other / "showattend" / "captioner.py").unlink()
    assert script.main(command) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {other}: cannot caption with {model}")
    assert told.count("\n") == 1


def test_mistakes_are_one_line(
    script: ModuleType, model: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["no-such-commit", "--model", str(model), "--images", str(photo.parent)]
    assert script.main(command) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: no-such-commit: neither a checkout of showattend nor a commit")
    assert told.count("\n") == 1
