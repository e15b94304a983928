"""Output to terminals and to files."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from showattend.cli.app import main
from showattend.cli.terminal import show_log, table, waiting
from showattend.exceptions import CONTROLS
from tests.cli.conftest import picture
from tests.commandline import CommandLine


def test_a_table_in_a_file_keeps_its_lines_whole(capsys: pytest.CaptureFixture[str]) -> None:
    name, figures = "2_dropout_smoothing_and_more", ["0.516 ± 0.004"] * 9
    table("Scores", [[name, *figures]], ["name", *"abcdefghi"])
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == "Scores"
    (line,) = (line for line in lines if "0.516" in line)
    assert line.strip().split(None, 1) == [name, "   ".join(figures)]


def test_a_table_is_complete_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    table("Scores", [["2_dropout_smoothing_and_more", "0.516"]])
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert "2_dropout" in shown
    assert "0.516" in "".join(shown.split())


def test_names_are_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table("Scores", [["gate[vector]", "0.5"], ["x[/y]", "0.4"]], ["name", "CIDEr"])
    shown = capsys.readouterr().out
    assert "gate[vector]" in shown
    assert "x[/y]" in shown


def test_the_log_is_shown_once_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show_log()
    show_log()
    logging.getLogger("showattend.model").warning("%s: is\nodd", "a.json")
    logging.getLogger("showattend.model").info("wrote\t%s", "b.json")
    logging.getLogger("showattend.model").debug("no news")
    assert capsys.readouterr().err == "showattend: a.json: is odd\nwrote\\tb.json\n"


def test_waiting_is_said_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with waiting("loading the model"):
        pass
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with waiting("loading the model"):
        pass
    out, err = capsys.readouterr()
    assert "loading the model" in err
    assert out == ""


# Names -----------------------------------------------------------------------------------------

ODD = "a\x1b[2Jb\u202ec\u2066d\x9b\u2028e"
"""What no terminal should be sent."""


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder, photos, captions and results whose names a terminal would obey."""
    folder = tmp_path / f"{ODD} photos"
    for number in range(2):
        picture(folder / f"{number} {ODD}.png", number)
    (folder / f"0 {ODD}.txt").write_text("A dog.\n")
    (folder / f"2 {ODD}.jpg").write_bytes(b"damaged")
    (folder / f"2 {ODD}.txt").write_text("A dog.\n")
    names = [path.name for path in sorted(folder.iterdir()) if path.suffix != ".txt"]
    images = [
        {"id": i, "file_name": name, "width": 24, "height": 16} for i, name in enumerate(names)
    ]
    said = [{"id": i, "image_id": i, "caption": "a dog runs"} for i in range(3)]
    (tmp_path / f"{ODD}.json").write_text(json.dumps({"images": images, "annotations": said}))
    results = {"captions": said, "settings": {"model": ODD, "precision": ODD, "beam_size": ODD}}
    (tmp_path / f"results {ODD}.json").write_text(json.dumps(results))
    objects = {
        "images": images, "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 9, 9]}],
    }  # fmt: skip
    (tmp_path / f"instances {ODD}.json").write_text(json.dumps(objects))
    return folder


COMMANDS = {
    "caption": "caption {photos}",
    "caption, a file": "caption {photo} --output {new}.jsonl",
    "caption, text files": "caption {photos} --sidecar --xmp --overlay {new}",
    "caption, nothing there": "caption {photos}/none.jpg",
    "attend": "attend {photo} --output {new}.png",
    "attend, a page": "attend {photos} --output {new}.html",
    "prepare": "prepare folder {photos} --out {new} --min-count 1",
    "evaluate": "evaluate --annotations {said} --images {photos} --output {new}.json",
    "evaluate, results": "evaluate --annotations {said} --results {results}",
    "errors": "errors --annotations {said} --results {results}",
    "errors, a page": "errors --annotations {said} --results {results} --output {new}.md",
    "ground": "ground --annotations {objects} --images {photos} --output {new}.json",
    "compare": "compare --records {said} {results}",
    "compare, records": "compare --records {results} {results}",
    "info": "info --record {results}",
    "info, caches": "info --cache {photos}",
    "info, no model": "info --model {photo}",
    "export": "export --hub {photos}",
    "finetune": "finetune {photos} --out {new}",
    "train": "train {said}",
}


@pytest.mark.usefixtures("no_java")
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_prints_a_name_that_a_terminal_obeys(
    name: str, odd: Path, run: CommandLine, tmp_path: Path
) -> None:
    places = {
        "photos": odd, "photo": odd / f"0 {ODD}.png", "new": tmp_path / f"new {ODD}",
        "said": tmp_path / f"{ODD}.json", "results": tmp_path / f"results {ODD}.json",
        "objects": tmp_path / f"instances {ODD}.json",
    }  # fmt: skip
    args = [word.format(**places) for word in COMMANDS[name].split(" ")]
    if args[0] in ("caption", "attend", "ground") or "--images" in args or "--hub" in args:
        args += ["--model", run.model]
    run.capsys.readouterr()
    code = main(args)
    out, err = run.capsys.readouterr()
    shown = (out + err).replace("\n", "")
    if args[0] in ("caption", "attend", "errors"):
        shown = shown.replace("\t", "")
    assert not CONTROLS.search(shown)
    assert "Traceback" not in err
    assert code in (0, 1, 2)
    assert "\\u202e" in out + err, "the command shows no name"
