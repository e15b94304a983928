"""A training run tokenizes every caption once, whatever it needs the words for."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from showattend.data.readers import read_dataset
from showattend.data.toy import write_toy
from showattend.text import tokenizer
from showattend.text.vocabulary import Vocabulary
from showattend.training.trainer import Trainer
from tests.tinyrun import tiny_run


def test_each_caption_is_tokenized_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_toy(tmp_path / "toy", images=24)
    calls: Counter[str] = Counter()
    tokenize = tokenizer.tokenize

    def counting(text: str) -> list[str]:
        calls[text] += 1
        return tokenize(text)

    for module in [each for name, each in sys.modules.items() if name.startswith("showattend.")]:
        for name, value in vars(module).copy().items():
            if value is tokenize:
                monkeypatch.setattr(module, name, counting)
    from_captions: Any = Vocabulary.from_captions
    monkeypatch.setattr(from_captions.__func__, "__defaults__", (5, counting))
    critical: dict[str, Any] = {"epochs": 1, "samples": 2}
    Trainer(tiny_run(data, tmp_path / "run", self_critical=critical))
    said = Counter(text for record in read_dataset(data, None) for text in record.captions)
    print(f"{calls.total() / said.total():.2f} times")
    assert calls == said
