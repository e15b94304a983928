"""scripts/looked_somewhere.py: half areas by kind of word, and the record of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from showattend.captioner import Captioner
from showattend.text.tokenizer import FUNCTION_WORDS
from showattend.visualize.focus import half_area

from .loading import load_script


def test_it_counts_words_and_keeps_a_record(
    tmp_path: Path,
    photos: list[Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    few = sorted(photos)[:2]
    script, output = load_script("looked_somewhere"), tmp_path / "looked.json"
    assert script.main([*map(str, few), "--output", str(output)]) == 0
    found = json.loads(output.read_text(encoding="utf-8"))
    areas: dict[bool, list[float]] = {False: [], True: []}
    shipped = Captioner.from_pretrained(device="cpu", precision="fp32")
    for caption in shipped.caption(few):
        for word, attention in zip(caption.words, caption.attention, strict=True):
            areas[word in FUNCTION_WORDS].append(half_area(attention))
    assert found["photographs"] == 2
    assert found["words"] == {"content": len(areas[False]), "function": len(areas[True])}
    assert found["quantiles"]["content"]["0.5"] == pytest.approx(np.median(areas[False]), abs=1e-6)
    fifth = found["thresholds"][2]
    assert fifth["up_to"] == 0.2
    assert fifth["content"] == pytest.approx(np.mean(np.array(areas[False]) <= 0.2))
    made = found["provenance"]
    assert made["command"][0] == "looked_somewhere.py"
    assert made["model"]["weights"]
    assert made["data"]["images"]
    assert "up to 0.20: " in capsys.readouterr().out


def test_no_photographs_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load_script("looked_somewhere").main([str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
