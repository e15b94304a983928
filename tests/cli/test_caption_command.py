"""``showattend caption``: what it prints, what it writes, how it exits."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from showattend.captioner import Captioner
from showattend.cli import app, caption_command
from showattend.cli.caption_writer import CaptionWriter
from tests.cli.conftest import picture
from tests.commandline import CommandLine, load_once


def test_caption_prints_path_tab_caption(run: CommandLine, folder: Path) -> None:
    result = run.caption(folder)
    assert (result.code, result.err) == (0, [])
    expected = [folder / "a.jpg", folder / "b.png"]
    captions = load_once(run.model, device="auto", precision="fp32").caption(expected)
    pairs = zip(expected, captions, strict=True)
    assert result.out == [f"{path}\t{each.text}" for path, each in pairs]


def test_caption_takes_folders_patterns_and_files_once(
    run: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)

    def names(*args: object) -> list[str]:
        result = run.caption(*args, "--beam-size", 1)
        assert result.code == 0
        return [line.split("\t")[0] for line in result.out]

    assert names(".", "--recursive") == ["a.jpg", "b.png", str(Path("within/c.webp"))]
    assert names("*.jpg", "a.jpg") == ["a.jpg"]
    assert names("**/*.webp", "b.png") == ["b.png", str(Path("within/c.webp"))]


def test_n_best_prints_one_line_per_caption(run: CommandLine, folder: Path) -> None:
    result = run.caption(folder / "a.jpg", "--n-best", 3)
    assert result.code == 0
    assert len(set(result.out)) == 3
    assert all(line.startswith(f"{folder / 'a.jpg'}\t") for line in result.out)


def test_json_lines(run: CommandLine, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "made" / "captions.jsonl"
    result = run.caption(folder, "--n-best", 2, "--output", output)
    assert result.code == 0
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [line["image"] for line in lines] == [str(folder / "a.jpg"), str(folder / "b.png")]
    printed = [line.split("\t")[1] for line in result.out]
    assert [lines[0]["caption"], lines[0]["alternatives"][0]["caption"]] == printed[:2]
    for line in lines:
        assert len(line["log_probs"]) in (len(line["words"]), len(line["words"]) + 1)
        assert line["log_prob"] == pytest.approx(sum(line["log_probs"]))
        assert line["score"] > line["alternatives"][0]["score"]
    assert [path.name for path in output.parent.iterdir()] == ["captions.jsonl"]


def test_csv(run: CommandLine, tmp_path: Path) -> None:
    photo, output = picture(tmp_path / 'a, "b"\né.png'), tmp_path / "captions.CSV"
    assert run.caption(photo, "--n-best", 2, "--output", output).code == 0
    rows = list(csv.DictReader(io.StringIO(output.read_bytes().decode(), newline="")))
    assert [row["image"] for row in rows] == [str(photo)] * 2
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert float(rows[0]["score"]) > float(rows[1]["score"])
    assert all(row["caption"].endswith(".") and row["words"] for row in rows)


def test_file_names_with_line_breaks(run: CommandLine, tmp_path: Path) -> None:
    photo, output = picture(tmp_path / "a\tb\nc\x1b[1m.png"), tmp_path / "captions.jsonl"
    result = run.caption(photo, tmp_path / "x\ny.png", "--output", output)
    assert result.code == 1
    assert [line.split("\t")[0] for line in result.out] == [f"{tmp_path}/a\\tb\\nc\\x1b[1m.png"]
    assert result.err == [
        f"showattend: {tmp_path}/x y.png: no such file or folder",
        f"wrote {output} (1 photo)",
    ]
    assert json.loads(output.read_text(encoding="utf-8"))["image"] == str(photo)


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_file_names_that_are_not_text(
    capfdbinary: pytest.CaptureFixture[bytes],
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Captioner, "from_pretrained", staticmethod(load_once))
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    picture(tmp_path / "plain.png").rename(os.fsdecode(name))
    options = ["--model", str(model), "--sidecar", "--overlay", str(tmp_path / "figures")]
    for suffix in ("jsonl", "csv"):
        output = tmp_path / f"captions.{suffix}"
        args = ["caption", str(tmp_path), *options, "--output", str(output)]
        assert app.main(args) == 0
        out, err = capfdbinary.readouterr()
        assert out.split(b"\t")[0] == name, "a pipe gets the name as it is"
        assert err.count(b"\n") == 1
        assert err.startswith(b"wrote ")
    line = json.loads((tmp_path / "captions.jsonl").read_text(encoding="utf-8"))
    assert os.fsencode(line["image"]) == name


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_for_many_leaves_stdout_clean(
    run: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run.caption(folder)
    monkeypatch.setenv("TERM", "xterm")
    for many, shown in ((2, True), (3, False)):
        monkeypatch.setattr(caption_command, "MANY", many)
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        assert run.caption(folder).out == plain.out
        assert ("Captioning" in terminal.getvalue()) == shown


def test_an_interrupted_run_keeps_what_it_has(
    run: CommandLine, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "captions.jsonl"
    assert run.caption(folder / "b.png", "--output", output).code == 0
    before = output.read_bytes()
    write = CaptionWriter.write

    def interrupted(writer: CaptionWriter, path: Path, caption: Any) -> list[str]:
        if path.name == "b.png":
            raise KeyboardInterrupt
        return write(writer, path, caption)

    with monkeypatch.context() as patch:
        patch.setattr(CaptionWriter, "write", interrupted)
        result = run.caption(folder, "--output", output)
    part = tmp_path / "captions.jsonl.part"
    assert result.code == 130
    assert result.err == [
        f"the captions made so far are in {part}; the same command with --resume continues",
        "showattend: interrupted",
    ]
    assert output.read_bytes() == before
    assert json.loads(part.read_text(encoding="utf-8"))["image"] == str(folder / "a.jpg")

    # A run without captions changes neither file; a complete one replaces the output.
    (tmp_path / "empty.jpg").touch()
    assert run.caption(tmp_path / "empty.jpg", "--output", output).code == 2
    assert (output.read_bytes(), part.exists()) == (before, True)
    assert run.caption(folder, "--output", output).code == 0
    assert len(output.read_text(encoding="utf-8").splitlines()) == 2
    assert not part.exists()


def test_part_files_of_interrupted_runs_are_kept(
    run: CommandLine, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "captions.jsonl"
    part, first, second = (tmp_path / f"captions.jsonl.part{end}" for end in ("", ".1", ".2"))
    for text, kept in (("one", first), ("two", second)):
        part.write_text(text)
        result = run.caption(folder, "--output", output)
        assert (result.code, len(result.out)) == (0, 2)
        assert result.err == [
            f"the part file of an earlier run is kept as {kept}",
            f"wrote {output} (2 photos)",
        ]
        assert not part.exists()
    assert [first.read_text(), second.read_text()] == ["one", "two"]
    assert len(output.read_text(encoding="utf-8").splitlines()) == 2
