"""scripts/records/make_records.py: what it measures, keeps, and measures again."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import typer.main

from showattend.cli.app import app

from .loading import FOLDER, load_from


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_from("records", "make_records")


def test_it_measures_every_record_that_is_kept(script: ModuleType) -> None:
    names = [each.name for each in script.measures()]
    assert len(names) == len(set(names))
    kept = {path.stem for path in (FOLDER.parent / "docs" / "records").glob("*.json")}
    kept = {name for name in kept if not name.startswith("trial_")}  # weights that were not kept
    by_hand = load_from("records", "kept_records").ON_THIS_MACHINE
    assert kept - by_hand == set(names)
    assert not by_hand & set(names)
    assert by_hand == load_from("records", "time_renderers").BY_HAND.keys()


def test_its_commands_exist(script: ModuleType) -> None:
    for name, words in script.measures():
        program, *arguments = (*words, "--output", "x.json")
        if program.endswith(".py"):
            source = (FOLDER / program).read_text(encoding="utf-8")
            assert all(f'"{word}"' in source for word in arguments if word.startswith("--")), name
            assert "stamp(" in source or '"provenance"' in source
            continue
        command = typer.main.get_command(app).commands[arguments[0]]  # type: ignore[attr-defined]
        command.make_context(arguments[0], list(arguments[1:]))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Human captions, and captions to compare with them."""
    folder = tmp_path / "sets"
    folder.mkdir()
    rows = [
        {"image_id": n, "image": f"{n}.jpg", "captions": ["a dog runs", "a dog"], "split": "val"}
        for n in "12"
    ]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    said = [{"image_id": n, "caption": "a man runs"} for n in "12"]
    (folder / "said.json").write_text(json.dumps(said), encoding="utf-8")
    return folder


def test_a_record_is_measured_once_and_kept(
    script: ModuleType,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "FOLDER", script.ROOT / "docs" / "records" / "tried")
    kept: dict[Path, dict[str, object]] = {}
    written = script.write_json

    def write(path: Path, values: dict[str, object]) -> None:
        if path.parent == script.FOLDER:
            kept[path] = values
        else:
            written(path, values)

    monkeypatch.setattr(script, "write_json", write)
    files = ("--annotations", "data/captions.jsonl", "--results", "data/said.json")
    measure = script.Measure("dogs", ("showattend", "errors", *files))
    args = argparse.Namespace(out=tmp_path / "out", data=data, again=False)
    assert script.made(measure, args)
    (record,) = kept.values()
    assert record["people"]["put_in"]["count"] == 2  # type: ignore[index]
    command = shlex.join(record["provenance"]["command"])  # type: ignore[index]
    assert command == shlex.join(("showattend", "errors", *files, "--output", "dogs.new.json"))
    assert str(tmp_path) not in json.dumps(record)
    assert (tmp_path / "out" / "dogs.json").is_file()

    ran: list[object] = []
    monkeypatch.setattr(script, "_run", lambda *given: ran.append(given))
    monkeypatch.setattr(script, "_is_current", lambda *_: True)
    assert script.made(measure, args)
    assert not ran
    monkeypatch.setattr(script, "_is_current", lambda *_: False)
    assert not script.made(measure, args), "nothing was measured"
    assert len(ran) == 1
    capsys.readouterr()


def test_records_of_other_weights_and_other_captions_are_measured_again(
    script: ModuleType, tmp_path: Path
) -> None:
    captions = tmp_path / "mine_set.json"
    captions.write_text("{}", encoding="utf-8")
    digest = script.file_digest(captions)
    of_captions = {"provenance": {"data": {"results": digest}}}
    assert script._is_current(of_captions, tmp_path / "mine_set_errors.json")
    captions.write_text("[]", encoding="utf-8")
    assert not script._is_current(of_captions, tmp_path / "mine_set_errors.json")
    other = {"provenance": {"model": {"name": "everyday", "weights": "0" * 16}}}
    assert not script._is_current(other, tmp_path / "x.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nothing"], "no record is named nothing"), (["--data", "nowhere"], "")],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    script: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert script.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("make_records: ")
    assert (message or "nowhere: no such folder") in told.err
    assert told.err.count("\n") == 1
