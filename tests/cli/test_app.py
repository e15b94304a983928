"""The command line: what it prints, what it writes, how it exits."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import showattend
from showattend import cli
from showattend.captioner import Captioner
from showattend.checkpoint import save_tensors
from showattend.device import PRECISIONS
from showattend.errors import UserError
from showattend.evaluation import java
from showattend.outputs import CaptionWriter
from showattend.training.state import FILE_NAME as STATE
from tests.commandline import CommandLine, load_once

OPTIONS = {
    "caption": "PATHS --recursive --model --beam-size --n-best --output --sidecar --overlay "
    "--size --device",
    "attend": "IMAGE --model --caption --words --layout --scale --style --output --size",
    "train": "CONFIG KEY=VALUE --resume",
    "evaluate": "--annotations --images --model --beam-size --results --output --allow-missing",
    "ground": "--annotations --images --captions --model --output --size --smooth",
    "compare": "CONFIG KEY=VALUE --out --seeds",
    "errors": "--annotations --results --train --images --gallery --output",
    "info": "--model",
    "serve": "--model --host --port --size",
    "prepare flickr8k": "--out --images",
    "prepare karpathy": "--out --images",
    "prepare coco": "--out --images --categories --split --year --annotations --image-root "
    "--base-url --restval --seed",
    "prepare folder": "--out",
}
"""What scripts and users rely on."""


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (24, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photographs, one of them in a folder within."""
    for seed, name in enumerate(("b.png", "a.jpg", "within/c.webp")):
        picture(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


# Help and usage --------------------------------------------------------------------------------


def test_help_of_every_command_imports_nothing_heavy() -> None:
    program = f"""
import io, sys, contextlib
from showattend.cli import main
for command, options in {OPTIONS!r}.items():
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert main([*command.split(), "--help"]) == 0, command
    for option in options.split():
        assert option.lower() in text.getvalue().lower(), (command, option)
    assert "Examples:" in text.getvalue() or command.startswith("prepare "), command
assert main(["--help"]) == 0
assert main(["prepare", "--help"]) == 0
heavy = {{"torch", "torchvision", "timm", "numpy", "PIL", "matplotlib", "nltk", "pycocotools"}}
print("heavy:", sorted(heavy & set(sys.modules)))
"""
    environment = os.environ | {"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"
    for command in ("caption", "attend", "prepare", "train", "evaluate", "ground", "info"):
        assert f" {command} " in done.stdout


def test_exit_code_reaches_the_shell() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "showattend.cli", "caption", "photo.jpg", "--colour"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("showattend: no such option: --colour")
    assert done.stderr.endswith("see showattend caption --help\n")
    assert done.stderr.count("\n") == 1


def test_version(run: CommandLine) -> None:
    assert run("--version") == (0, [f"showattend {showattend.__version__}"], [])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("caption", "paths"),
        ("caption photo.jpg --beam-size 0", "--beam-size"),
        ("caption photo.jpg --n-best 0", "--n-best"),
        ("caption photo.jpg --batch-size many", "--batch-size"),
        ("attend photo.jpg", "--output"),
        ("attend photo.jpg --output a.png --words ,", "--words names no word"),
        ("attend photo.jpg --output a.png --caption dog --beam-size 3", "leave --beam-size out"),
        ("evaluate", "--annotations"),
        ("evaluate --annotations a.json --results b.json --images c", "no --images"),
        ("evaluate --annotations a.json --results b.json --size 96", "no --images"),
        ("evaluate --annotations a.json --allow-missing", "--allow-missing"),
        ("ground --annotations a.json", "--images"),
        ("caption photo.jpg --overwrite", "--sidecar"),
        ("describe photo.jpg", "describe"),
        ("prepare imagenet", "imagenet"),
        ("prepare coco --out x --images 0", "--images"),
        ("prepare coco --out x --split halves", "--split"),
        ("prepare coco --out x --year 2014 --split karpathy --base-url y", "not an address"),
    ],
)
def test_wrong_usage_is_one_line(run: CommandLine, args: str, message: str) -> None:
    assert message in run.refused(*args.split())


@pytest.mark.parametrize(
    ("args", "where"),
    [
        (("caption", ""), "argument 2, after caption, is empty"),
        (("caption", "photo.jpg", "--overlay", ""), "argument 4, after --overlay, is empty"),
        (("caption", "photo.jpg", "--overlay="), "--overlay: its value is empty"),
        (("caption", "--recursive", "", "a.jpg"), "argument 3, after --recursive, is empty"),
        (("caption", "--", "a.jpg", ""), "argument 4, after a.jpg, is empty"),
        (("prepare", "folder", "photos", "--out", ""), "argument 5, after --out, is empty"),
        (("",), "argument 1 is empty"),
    ],
)
def test_empty_arguments_are_refused(
    run: CommandLine,
    args: tuple[str, ...],
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    hint = "(a shell variable that is not set?); fill it in or leave it out"
    assert run.refused(*args) == f"showattend: {where} {hint}"
    monkeypatch.setattr(sys, "argv", ["showattend", *args])
    assert cli.main() == 2
    assert list(tmp_path.iterdir()) == []


def test_values_that_hold_nothing_are_no_empty_arguments(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: Path, overrides: list[str]) -> None:
        raise UserError(f"given {overrides}")

    monkeypatch.setattr("showattend.config.load_config", load)
    assert "given ['data.path=']" in run.refused("train", "config.yaml", "data.path=")
    assert "--x=: no such file" in run.refused("caption", "--", "--x=")


def test_precision_is_told_in_full(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for command in ("caption", "attend", "evaluate", "ground", "serve"):
        shown = "\n".join(run(command, "--help").out)
        assert all(name in shown for name in PRECISIONS), command
        assert "[default: fp32]" in shown, command


@pytest.mark.parametrize("args", [(), ("prepare",)])
def test_no_arguments_show_the_help(run: CommandLine, args: tuple[str, ...]) -> None:
    result = run(*args)
    assert result.code == 2
    assert any("Usage: showattend" in line for line in result.out + result.err)


def test_interrupted(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("showattend.checkpoint.find_model", interrupt)
    assert run("info") == (130, [], ["showattend: interrupted"])


# caption ---------------------------------------------------------------------------------------


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


def test_n_best_prints_a_line_a_caption(run: CommandLine, folder: Path) -> None:
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


def test_names_that_are_no_lines(run: CommandLine, tmp_path: Path) -> None:
    photo, output = picture(tmp_path / "a\tb\nc\x1b[1m.png"), tmp_path / "captions.jsonl"
    result = run.caption(photo, tmp_path / "x\ny.png", "--output", output)
    assert result.code == 1
    assert [line.split("\t")[0] for line in result.out] == [f"{tmp_path}/a\\tb\\nc\\x1b[1m.png"]
    assert result.err == [f"showattend: {tmp_path}/x y.png: no such file or folder"]
    assert json.loads(output.read_text(encoding="utf-8"))["image"] == str(photo)


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_names_that_are_no_text(
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
        assert cli.main(args) == 0
        out, err = capfdbinary.readouterr()
        assert out.split(b"\t")[0] == name, "a pipe gets the name as it is"
        assert err == b""
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
        monkeypatch.setattr(cli, "MANY", many)
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
        f"the captions made so far are in {part}",
        "showattend: interrupted",
    ]
    assert output.read_bytes() == before
    assert json.loads(part.read_text(encoding="utf-8"))["image"] == str(folder / "a.jpg")

    # A run that makes nothing touches neither; a whole one replaces the output.
    (tmp_path / "empty.jpg").touch()
    assert run.caption(tmp_path / "empty.jpg", "--output", output).code == 2
    assert (output.read_bytes(), part.exists()) == (before, True)
    assert run.caption(folder, "--output", output).code == 0
    assert len(output.read_text(encoding="utf-8").splitlines()) == 2
    assert not part.exists()


def test_what_an_interrupted_run_has_is_never_lost(
    run: CommandLine, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "captions.jsonl"
    part, first, second = (tmp_path / f"captions.jsonl.part{end}" for end in ("", ".1", ".2"))
    for text, kept in (("one", first), ("two", second)):
        part.write_text(text)
        result = run.caption(folder, "--output", output)
        assert (result.code, len(result.out)) == (0, 2)
        assert result.err == [f"what an earlier run left is kept as {kept}"]
        assert not part.exists()
    assert [first.read_text(), second.read_text()] == ["one", "two"]
    assert len(output.read_text(encoding="utf-8").splitlines()) == 2


def test_the_reader_of_a_pipe_may_go(model: Path) -> None:
    program = (
        "import sys; from showattend import cli\n"
        "class Gone:\n"
        "    encoding = 'utf-8'\n"
        "    def isatty(self): return False\n"
        "    def flush(self): pass\n"
        "    def write(self, text): raise BrokenPipeError(32, 'Broken pipe')\n"
        "sys.stdout = Gone()\n"
        f"sys.exit(cli.main(['info', '--model', {str(model)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")


# evaluate, ground ------------------------------------------------------------------------------


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Human captions, in COCO's form, of two of the photographs and of one that is not there."""
    names = ["a.jpg", "b.png", "gone.jpg"]
    content = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names, 1)],
        "annotations": [
            {"id": i, "image_id": i, "caption": "A dog runs through the grass."} for i in (1, 2, 3)
        ],
    }
    path = tmp_path / "captions_val.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise java.JavaError("no Java was found")

    monkeypatch.setattr(java, "find_java", fail)


@pytest.mark.usefixtures("no_java")
def test_evaluate_a_model(
    run: CommandLine, folder: Path, annotations: Path, tmp_path: Path
) -> None:
    output = tmp_path / "results.json"
    result = run(
        *("evaluate", "--annotations", annotations, "--images", folder),
        *("--model", run.model, "--beam-size", 2, "--output", output),
    )
    assert result.code == 1, "one image is not there"
    assert any("1 of 3 images" in line and "gone.jpg" in line for line in result.err)
    assert result.err[-1] == f"wrote {output}"
    assert any("CIDEr" in line for line in result.out)
    how = "beam 2, length penalty 0.7, n-grams may repeat, 1 to 30 words, 64 pixels, "
    assert result.out[0].startswith(f"Scores of 2 captions ({how}")
    assert result.out[0].endswith(" split, 2 images)")
    written = json.loads(output.read_text(encoding="utf-8"))
    assert {"BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr"} <= set(written["metrics"])
    assert [each["image_id"] for each in written["captions"]] == [1, 2]
    assert all(isinstance(each["caption"], str) for each in written["captions"])


@pytest.mark.usefixtures("no_java")
def test_evaluate_captions_of_others(run: CommandLine, annotations: Path, tmp_path: Path) -> None:
    results = tmp_path / "others.json"
    results.write_text(json.dumps([{"image_id": 1, "caption": "a dog runs through the grass"}]))
    args = ("evaluate", "--annotations", annotations, "--results", results)
    assert "2 of 3 images have no caption" in run.refused(*args)
    output = tmp_path / "scores.json"
    result = run(*args, "--allow-missing", "--output", output)
    assert result.code == 0
    assert json.loads(output.read_text(encoding="utf-8"))["metrics"]["BLEU-4"] > 0.99


def test_ground(run: CommandLine, folder: Path, annotations: Path, tmp_path: Path) -> None:
    content = {
        "images": [
            {"id": i, "file_name": name, "width": 24, "height": 16}
            for i, name in ((1, "a.jpg"), (3, "gone.jpg"))
        ],
        "categories": [{"id": 18, "name": "dog"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 18, "bbox": [0, 0, 12, 8]} for i in (1, 3)
        ],
    }
    instances, output = tmp_path / "instances.json", tmp_path / "ground.json"
    instances.write_text(json.dumps(content))
    result = run(
        *("ground", "--annotations", instances, "--images", folder, "--captions", annotations),
        *("--model", run.model, "--output", output),
    )
    assert result.code == 1, "one image is not there"
    assert len(result.err) == 2
    assert "gone.jpg" in result.err[0]
    found = json.loads(output.read_text(encoding="utf-8"))
    assert (found["words"], found["images"]) == (1, 1)
    maps = {"model", "uniform", "centre", "other_word"}
    assert set(found["pointing"]) == set(found["mass"]) == maps
    assert found["pointing"]["uniform"] == pytest.approx(0.25)
    for measure in ("pointing", "mass"):
        assert set(found["interval"][measure]) == maps - {"model"}
    shown = next(line for line in result.out if line.strip().startswith("uniform"))
    assert shown.split()[1] == "0.250"


# prepare, train, info --------------------------------------------------------------------------


def test_prepare_folder(run: CommandLine, folder: Path, tmp_path: Path) -> None:
    args = ("prepare", "folder", folder, "--out", tmp_path / "out", "--min-count", 1)
    for image in (*folder.glob("*.*"), folder / "within/c.webp"):
        image.with_suffix(".txt").write_text("A dog.\nA cat.\n")
    result = run(*args)
    assert (result.code, result.err) == (0, [])
    assert any("val:" in line and "1 images, 2 captions" in line for line in result.out)
    (folder / "b.txt").unlink()
    result = run(*args)
    assert (result.code, result.err) == (1, [])
    assert any("b.png" in line for line in result.out)
    assert len((tmp_path / "out/dataset.jsonl").read_text().splitlines()) == 2


def test_train_hands_over_the_config(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    record: dict[str, Any] = {
        "best": {"epoch": 2, "CIDEr": 0.5},
        "validation": {"beam_size": 3, "block_ngrams": 0, "split": "val", "images": 10},
    }

    def train(config: Any, _: object, resume: bool) -> dict[str, Any]:
        given.append((config.train.epochs, config.train.lr, resume))
        return record

    monkeypatch.setattr("showattend.training.trainer.train", train)
    config = tmp_path / "config.yaml"
    config.write_text(f"train:\n  lr: 2e-3\n  out: {tmp_path}/run\n")
    result = run("train", config, "train.epochs=3", "--resume")
    assert result.code == 0
    assert given == [(3, 2e-3, True)]
    told = "epoch 2, CIDEr 0.500 (beam 3, n-grams may repeat, val split, 10 images)"
    assert told in result.err[0]


def test_interrupted_training_says_how_to_go_on(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    done = 0

    def train(*_: Any) -> None:
        if done:
            save_tensors(out / STATE, {}, {"kind": "state", "progress": {"batch": done - 1}})
        raise KeyboardInterrupt

    monkeypatch.setattr("showattend.training.trainer.train", train)
    config = tmp_path / "config.yaml"
    config.write_text(f"train: {{out: {out}}}\n")
    out.mkdir()
    assert run("train", config) == (130, [], ["showattend: interrupted"])
    done = 1  # the state of no steps: the command itself begins again
    assert run("train", config) == (130, [], ["showattend: interrupted"])
    done = 2
    kept = f"the state of the run is kept in {out}; the same command"
    for more, how in (((), " with --resume goes on"), (("--resume",), " goes on")):
        result = run("train", config, *more)
        assert result == (130, [], [f"{kept}{how} from there", "showattend: interrupted"])
    monkeypatch.setenv("RANK", "1")
    assert run("train", config).err == ["showattend: interrupted"]


def test_info(run: CommandLine) -> None:
    result = run("info", "--model", run.model)
    assert (result.code, result.err) == (0, [])
    shown = "\n".join(result.out)
    for part in ("efficientnet_lite0", "64 pixels", "12 words", "): 0.01", "attention 16"):
        assert part in shown
