"""scripts/same_captions.py: photographs alone and in batches, and a caption that differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from showattend.captioner import Captioner
from tests.scripts.loading import load_script


def test_batches(model: Path, photos: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    script = load_script("same_captions")
    command = [str(photos[0].parent), "--model", str(model), "--engines", "torch"]
    assert script.main([*command, "--batches", "1", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{len(photos)} photographs, model {model}, fp32"
    assert lines[2].startswith(f"torch, 2 at once  0 of {len(photos)} captions differ; maps by at")


@pytest.mark.slow
def test_both_engines(model: Path, photos: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is absent")
    pytest.importorskip("onnxscript", reason="the extra onnx is absent")
    script = load_script("same_captions")
    assert script.main([str(photos[0].parent), "--model", str(model)]) == 0
    assert capsys.readouterr().out.count(" 0 of ") == 6


def test_a_caption_that_differs_is_shown(
    untrained: Captioner, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_script("same_captions")
    caption = untrained.caption(photo)
    other = replace(caption, words=("zebra",) * len(caption.words))
    assert script.report("torch, 7 at once", [caption] * 2, [caption, other], 1.0) == 1
    said = capsys.readouterr().out
    assert "1 of 2 captions differ; maps by at most 0.0e+00" in said
    assert f"{photo}: {caption.raw!r}, now {other.raw!r}" in said
