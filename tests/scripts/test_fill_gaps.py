"""scripts/fill_gaps.py: which words are hidden, and how the candidates are counted."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from showattend.caption_forms import Gap
from showattend.captioner import Captioner
from showattend.data.records import Record
from showattend.text.vocabulary import Vocabulary
from tests.scripts.loading import load_script

script = load_script("fill_gaps")


def records(count: int) -> list[Record]:
    captions = ("A dog runs on zqxj.", "The brown dog runs.")
    return [Record(n, Path(f"{n}.jpg"), captions, "val") for n in range(count)]


def test_one_known_word_of_each_caption_is_hidden() -> None:
    known = Vocabulary(["a", "brown", "dog", "on", "runs", "the"])
    hidden = script.hide(records(40), known, 30)
    assert len(hidden) == 30
    assert len({each.record.image_id for each in hidden}) == 30
    assert {each.word for each in hidden} == {"a", "brown", "dog", "on", "runs", "the"}
    for each in hidden:
        assert each.sentence.split().index("___") == each.place
        assert each.sentence.count("___") == 1
        whole = each.sentence.replace("___", each.word)
        assert whole in ("a dog runs on zqxj", "the brown dog runs")
    assert script.hide(records(40), known, 30) == hidden, "repeatable"
    assert script.hide(records(3), known, 30)[0].record in records(3)
    assert script.hide(records(3), Vocabulary(["cat"]), 30) == []


def test_ranks_are_counted_by_kind_of_word() -> None:
    said = {
        "a ___ runs": (("dog", 0.6), ("cat", 0.4)),
        "a ___ sleeps": (("dog", 0.6), ("cat", 0.4)),
        "___ dog": (("the", 0.9),),
    }

    def fill(path: Path, text: str, *, candidates: int) -> Any:
        assert candidates == 5
        return SimpleNamespace(gaps=(Gap(1, said[text]),))

    (record,) = records(1)
    hidden = [
        script.Hidden(record, 1, "a ___ runs", "dog"),
        script.Hidden(record, 1, "a ___ sleeps", "cat"),
        script.Hidden(record, 0, "___ dog", "a"),
    ]
    found = script.measure(SimpleNamespace(fill=fill), hidden)
    assert found["counts"] == {
        "all": {"gaps": 3, "first": 1, "five": 2},
        "content": {"gaps": 2, "first": 1, "five": 2},
        "function": {"gaps": 1, "first": 0, "five": 0},
    }
    assert [each["rank"] for each in found["gaps"]] == [1, 2, None]


def test_a_real_model_and_its_record(
    photos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = sorted(photos)[0]
    annotations, output = tmp_path / "captions_val.json", tmp_path / "gaps.json"
    values = {
        "images": [{"id": 1, "file_name": photo.name}],
        "annotations": [{"id": 1, "image_id": 1, "caption": "A woman is standing."}],
    }
    annotations.write_text(json.dumps(values), encoding="utf-8")
    asked = ["everyday", str(annotations), str(photo.parent), "--output", str(output)]
    assert script.main(asked) == 0
    assert "all: 1 hidden words, " in capsys.readouterr().out
    found = json.loads(output.read_text(encoding="utf-8"))
    (gap,) = found["gaps"]
    captioner = Captioner.from_pretrained("everyday", device="cpu", precision="fp32")
    words = ["a", "woman", "is", "standing"]
    words[gap["place"]] = "___"
    (mine,) = captioner.fill(photo, " ".join(words)).gaps
    assert [word for word, _ in mine.candidates] == [word for word, _ in gap["candidates"]]
    assert found["provenance"]["command"][0] == "fill_gaps.py"
    assert found["provenance"]["data"]["annotations"]


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["everyday", str(tmp_path / "none.json"), str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
