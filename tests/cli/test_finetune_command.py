"""``showattend finetune`` as a command: what it prints, and its exit codes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from showattend.cli import finetune_command
from tests.commandline import CommandLine

FOUND: dict[str, Any] = {
    "model": "flickr8k",
    "images": {"train": 40, "val": 12},
    "kept": "trained",
    "before": {"BLEU-4": 0.1, "METEOR": 0.15, "CIDEr": 0.3},
    "after": {"BLEU-4": 0.2, "METEOR": 0.18, "CIDEr": 0.55},
    "gain": [0.25, 0.1],
    "examples": [
        {"photo": "my photos/a.jpg", "before": "A dog.", "after": "Rex.", "people": "Rex\tsits."}
    ],
    "skipped": [],
    "unread": 0,
    "evaluate": ["--annotations", "data set.jsonl", "--split", "val"],
    "notes": [],
}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    """The command line; no model is needed."""
    return CommandLine(capsys, tmp_path / "none")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The result that the command prints; the training itself is tested elsewhere."""
    import showattend.training.finetune as finetuning

    report = dict(FOUND)
    monkeypatch.setattr(finetuning, "finetune", lambda *_, **__: report)
    return report


def test_what_is_printed(run: CommandLine, found: dict[str, Any], tmp_path: Path) -> None:
    result = run("finetune", tmp_path, "--out", "my run")
    assert result.code == 0
    assert result.out[:4] == [
        "my photos/a.jpg",
        "  before  A dog.",
        "  after   Rex.",
        "  people  Rex\\tsits.",
    ]
    rows = [line.split() for line in result.out]
    assert ["CIDEr", "0.300", "0.550"] in rows
    assert ["BLEU-4", "0.100", "0.200"] in rows
    assert result.out[-1].startswith("CIDEr +0.250, 95 % interval +0.150 to +0.350 (optimistic")
    assert result.err == [
        "next:",
        "  showattend caption 'my photos/a.jpg' --model 'my run'",
        "  showattend evaluate --annotations 'data set.jsonl' --split val --model 'my run'",
    ]


def test_paths_are_as_the_user_gave_them(
    run: CommandLine, found: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data set holds absolute paths of photographs that lie elsewhere."""
    monkeypatch.chdir(tmp_path)
    example = dict(found["examples"][0], photo=str(tmp_path / "photos" / "a.jpg"))
    found["examples"] = [example]
    relative = run("finetune", "photos", "--out", "mine")
    assert relative.out[0] == "photos/a.jpg"
    assert "  showattend caption photos/a.jpg --model mine" in relative.err
    assert run("finetune", tmp_path / "photos", "--out", "mine").out[0] == example["photo"]


@pytest.mark.parametrize("images", [1, 9, 10])
def test_few_photographs_are_called_few(
    images: int, run: CommandLine, found: dict[str, Any], tmp_path: Path
) -> None:
    found["images"] = {"train": 40, "val": images}
    found["gain"] = [0.0, None if images == 1 else 0.1]
    last = run("finetune", tmp_path, "--out", "mine").out[-1]
    assert ("mean little" in last) == (images < 10)


def test_keeping_the_original_is_reported(
    run: CommandLine, found: dict[str, Any], tmp_path: Path
) -> None:
    found["kept"] = "start"
    result = run("finetune", tmp_path, "--out", "mine")
    assert result.code == 0
    assert re.search(
        "did not improve it there: the model in mine is the original, flickr8k ", result.out[-1]
    )


@pytest.mark.parametrize(("key", "value"), [("skipped", ["a.jpg: damaged"]), ("unread", 2)])
def test_photographs_left_out_give_exit_code_1(
    key: str, value: Any, run: CommandLine, found: dict[str, Any], tmp_path: Path
) -> None:
    found[key] = value
    assert run("finetune", tmp_path, "--out", "mine").code == 1


def test_mistakes_are_one_line(run: CommandLine, tmp_path: Path) -> None:
    line = run.refused("finetune", tmp_path / "none", "--out", tmp_path / "mine")
    assert "none: no such folder or file" in line
    assert "out" in run.refused("finetune", tmp_path)
    line = run.refused("finetune", tmp_path, "--out", tmp_path / "mine", "--model", "nothing")
    assert "nothing: no such model" in line


def test_an_interruption_says_how_to_continue(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import showattend.training.finetune as finetuning

    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(finetuning, "finetune", stop)
    result = run("finetune", tmp_path, "--out", tmp_path)
    assert (result.code, result.err) == (130, ["showattend: interrupted"])
    (tmp_path / "finetune.json").write_text("{}")
    result = run("finetune", tmp_path, "--out", tmp_path)
    how = "the same command with --resume continues it"
    assert result.err[0] == f"the state of the run is kept in {tmp_path}; {how}"


def test_remarks() -> None:
    assert finetune_command._remark(0.1, None, 1) == (
        "Scores on a single photograph mean little: look at the captions"
    )
