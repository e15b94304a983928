"""From a record alone to the same captions, and how two records differ."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from showattend.evaluation.reproduce import command, commands, differing, read_record
from showattend.exceptions import DataError
from tests.cli.conftest import annotations as annotations
from tests.cli.conftest import folder as folder
from tests.cli.conftest import no_java as no_java
from tests.commandline import CommandLine


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.mark.usefixtures("no_java")
def test_the_command_from_a_record_makes_the_same_captions(
    run: CommandLine, folder: Path, annotations: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    options = ("--beam-size", 3, "--length-penalty", 0.4, "--block-ngrams", 2, "--min-length", 2)
    run(
        *("evaluate", "--annotations", annotations, "--images", folder, "--model", run.model),
        *(*options, "--max-length", 9, "--batch-size", 1, "--output", first),
    )
    record = read(first)
    program, *words = command(record)
    assert program == "showattend"
    for name, value in (("--beam-size", "3"), ("--length-penalty", "0.4"), ("--min-length", "2"),
                        ("--block-ngrams", "2"), ("--max-length", "9"), ("--size", "64"),
                        ("--precision", "fp32"), ("--split", "val")):  # fmt: skip
        assert words[words.index(name) + 1] == value, name
    run(*words, "--output", second)
    again = read(second)
    assert [each["caption"] for each in record["captions"]]
    assert again["captions"] == record["captions"]
    assert again["provenance"]["model"] == record["provenance"]["model"]
    assert again["provenance"]["data"] == record["provenance"]["data"]
    assert {key for key, *_ in differing(record, again)} == {"provenance.command"}

    shown = run("info", "--record", first)
    assert shown.code == 0
    assert f"to repeat    {shlex.join(command(record))}" in shown.out
    told = "\n".join(shown.out)
    for part in (
        "sources ",
        "threads",
        "torchvision",
        "beam 3",
        record["provenance"]["model"]["weights"],
    ):
        assert part in told

    # Another beam: what differs is listed, with the captions that do.
    third = tmp_path / "third.json"
    run(*words, "--beam-size", 1, "--output", third)
    compared = run("compare", "--records", first, third)
    assert compared.code == 0
    lines = {line.split()[0]: line.split()[1:] for line in compared.out if line.strip()}
    assert lines["settings.beam_size"] == ["3", "1"]
    assert "provenance.machine.threads" not in lines
    same = run("compare", "--records", first, "--records", first)
    assert "agree in provenance" in same.out[0]


def test_a_record_that_cannot_be_repeated_is_one_line(run: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("[1]")
    assert "not a record" in run.refused("info", "--record", path)
    assert "not a record" in run.refused("compare", "--records", path, path)
    assert "two files, not 1" in run.refused("compare", "--records", path)
    assert "--record shows one file" in run.refused("info", "--record", path, "--cache")
    assert "--records a.json b.json" in run.refused("compare")
    path.write_text('{"settings": {"results": "x.json", "split": "val"}}')
    with pytest.raises(DataError, match="does not say how captions were made"):
        command(read_record(path), path)
    shown = run("info", "--record", path)
    assert (shown.code, len(shown.out)) == (0, 3)
    assert "not recorded" in shown.out[1]


def test_the_command_of_a_run_that_compare_scored() -> None:
    search = {"beam_size": 5, "length_penalty": 0.7, "block_ngrams": 0, "min_length": 1}
    record = {
        "evaluation": {"data": "d.jsonl", "split": "val", "size": 64, "precision": "bfloat16",
                       "search": search | {"max_length": 12}},
        "config": {"train": {"out": "runs/a"}, "data": {"images": None}},
        "provenance": {"machine": {"device": "cpu"}},
    }  # fmt: skip
    assert shlex.join(command(record)) == (
        "showattend evaluate --annotations d.jsonl --model runs/a/model.safetensors --split val "
        "--beam-size 5 --length-penalty 0.7 --block-ngrams 0 --min-length 1 --max-length 12 "
        "--size 64 --precision bf16 --batch-size 32 --device cpu"
    )
    # Several data sets, without the list of files that newer versions write: one command each.
    record["evaluation"]["data"] = [  # type: ignore[index]
        {"path": "one/a.jsonl"}, {"path": "two/a.jsonl", "images": "photos"}, "three/a.jsonl",
    ]  # fmt: skip
    record["evaluation"]["sets"] = {"one": {}, "two": {}}  # type: ignore[index]
    found = commands(record)
    assert list(found) == ["one", "two"]  # the third was only for training
    assert found["one"][3:5] == ["one/a.jsonl", "--model"]
    assert found["two"][3:6] == ["two/a.jsonl", "--images", "photos"]
    with pytest.raises(DataError, match="2 data sets"):
        command(record)
