"""scripts/docs/first_minutes.py: the steps of docs/first-minutes.md, timed."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from .loading import FOLDER, load_from

PAGE = (FOLDER.parent / "docs" / "first-minutes.md").read_text(encoding="utf-8")


@pytest.fixture
def script() -> ModuleType:
    return load_from("docs", "first_minutes")


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    rows = []
    for n in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{n}.jpg")
        captions = ["a dog", "a black dog"]
        rows.append({"image_id": n, "image": f"{n}.jpg", "captions": captions, "split": "train"})
    path = tmp_path / "captions.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_it_runs_what_the_page_says(script: ModuleType) -> None:
    for commands in script.STEPS.values():
        for command in commands:
            said = command.removesuffix(" --port 8123")
            assert said in PAGE or said.replace("jupyter execute", "jupyter notebook") in PAGE


@pytest.mark.skipif(not (FOLDER.parent / ".git").exists(), reason="not a checkout")
def test_every_step_is_timed(
    script: ModuleType, annotations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {"clone": ("",), "a caption": ("ls my-photos", "echo done"), "a page": ("sleep 0.3",)}
    monkeypatch.setattr(script, "STEPS", steps)
    out, place = tmp_path / "record.json", tmp_path / "place"
    args = ["--annotations", annotations, "--photos", 2, "--place", place, "--output", out]
    assert script.main([str(each) for each in args]) == 0
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["photographs"] == 2
    assert list(record["steps"]) == list(steps)
    assert 0.3 <= record["steps"]["a page"]["seconds"] < 5
    said = (place / "logs" / "a_caption.txt").read_text(encoding="utf-8")
    assert said.split() == ["1.jpg", "1.txt", "one.jpg", "one.txt", "done"]
    assert record["provenance"]["machine"]


def test_a_step_that_fails_is_named(
    script: ModuleType,
    annotations: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "STEPS", {"a page": ("echo no such photo; exit 3",)})
    out = tmp_path / "record.json"
    args = ["--annotations", str(annotations), "--output", str(out)]
    assert script.main(args) == 1
    assert (
        "a page: echo no such photo; exit 3 ended with 3: no such photo" in capsys.readouterr().err
    )
    assert not out.exists()
