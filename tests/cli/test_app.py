"""The command line: help, exit codes, and wrong usage."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import showattend
from showattend.cli import app
from showattend.cli.loading import unhurried
from showattend.exceptions import UserError
from showattend.system.device import PRECISIONS
from tests.cli.conftest import picture
from tests.commandline import CommandLine

OPTIONS = {
    "caption": "PATHS --recursive --model --beam-size --n-best --output --resume --sidecar "
    "--overlay --size --device",
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
        [sys.executable, "-m", "showattend", "caption", "photo.jpg", "--colour"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.match(r"showattend: no such option:? '?--colour", done.stderr)
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
        ("attend photo.jpg --output a.png --words ,", "--words is empty"),
        ("attend photo.jpg --output a.png --caption dog --beam-size 3", "leave --beam-size out"),
        ("evaluate", "--annotations"),
        ("evaluate --annotations a.json --results b.json --images c", "leave out --images"),
        ("evaluate --annotations a.json --results b.json --size 96", "leave out --images"),
        ("evaluate --annotations a.json --allow-missing", "--allow-missing"),
        ("ground --annotations a.json", "--images"),
        ("caption photo.jpg --overwrite", "--sidecar"),
        ("describe photo.jpg", "describe"),
        ("caption photo.jpg --overwrite", "--xmp"),
        ("prepare imagenet", "imagenet"),
        ("prepare coco --out x --images 0", "--images"),
        ("prepare coco --out x --split halves", "--split"),
        ("prepare coco --out x --year 2014 --split karpathy --base-url y", "not a URL"),
    ],
)
def test_wrong_usage_is_one_line(run: CommandLine, args: str, message: str) -> None:
    assert message.lower() in run.refused(*args.split()).lower()


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
    hint = "(an unset shell variable?); fill it in or leave it out"
    assert run.refused(*args) == f"showattend: {where} {hint}"
    monkeypatch.setattr(sys, "argv", ["showattend", *args])
    assert app.main() == 2
    assert list(tmp_path.iterdir()) == []


def test_overrides_and_file_names_with_a_blank_value_are_passed_on(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: Path, overrides: list[str]) -> None:
        raise UserError(f"given {overrides}")

    monkeypatch.setattr("showattend.config.load_config", load)
    assert "given ['data.path=']" in run.refused("train", "config.yaml", "data.path=")
    assert "--x=: no such file" in run.refused("caption", "--", "--x=")


def test_a_photo_without_a_command_is_captioned(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "train", "photos"):
        picture(tmp_path / ("photos/a.png" if name == "photos" else f"{name}.png")).rename(
            tmp_path / ("photos/a.png" if name == "photos" else name)
        )
    for args, names in (
        (["photo.jpg"], ["photo.jpg"]),
        (["photo.jpg", "photos", "--no-notes"], ["photo.jpg", "photos/a.png"]),
        (["photos/"], ["photos/a.png"]),
        (["photos/*.png"], ["photos/a.png"]),
        (["./train"], ["train"]),
    ):
        result = run(*args, "--model", run.model)
        assert (result.code, result.err) == (0, [])
        assert [line.split("\t")[0] for line in result.out] == names
    assert "gone.jpg: no such file or folder" in run.refused("gone.jpg")
    assert "see showattend train --help" in run.refused("train"), "a command comes first"


def test_a_bar_that_is_watched_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few photos at a time where somebody looks, and a small batch costs nothing."""
    on_cpu, on_gpu = SimpleNamespace(device="cpu"), SimpleNamespace(device="cuda:0")
    assert unhurried(on_cpu) == unhurried(on_gpu) == 32  # type: ignore[arg-type]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert unhurried(on_cpu) == 4  # type: ignore[arg-type]
    assert unhurried(on_gpu) == 32  # type: ignore[arg-type]


def test_shell_completion() -> None:
    environment = os.environ | {
        "_SHOWATTEND_COMPLETE": "complete_bash",
        "COMP_WORDS": "showattend cap",
        "COMP_CWORD": "1",
    }
    program = [sys.executable, "-c", "from showattend.cli import main; main()"]
    done = subprocess.run(program, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["caption"], done.stderr


def test_precision_is_explained_in_full(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
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

    monkeypatch.setattr("showattend.model.checkpoint.find_model", interrupt)
    assert run("info") == (130, [], ["showattend: interrupted"])


def test_a_closed_pipe_is_no_error(model: Path) -> None:
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
