"""``showattend attend``: every form of output, and its mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from showattend.captioner import Captioner
from tests.commandline import CommandLine


def test_attend(run: CommandLine, photo: Path, tmp_path: Path) -> None:
    figure = tmp_path / "made" / "figure.png"
    result = run("attend", photo, "--output", figure, "--model", run.model)
    assert result.code == 0
    assert result.out == run.caption(photo).out
    assert result.err == [f"wrote {figure}"]
    with Image.open(figure) as opened:
        assert opened.format == "PNG"


@pytest.mark.parametrize("suffix", [".jpg", ".svg", ".pdf", ".gif", ".webp", ".npz", ".json"])
def test_attend_writes_every_form(
    suffix: str, run: CommandLine, photo: Path, tmp_path: Path
) -> None:
    output = tmp_path / f"out{suffix}"
    args = ("--model", run.model, "--caption", "a dog runs", "--words", "dog")
    result = run("attend", photo, "--output", output, *args)
    assert (result.code, result.err) == (0, [f"wrote {output}"])
    if suffix == ".npz":
        with np.load(output) as maps:
            assert maps["words"].tolist() == ["dog"]
            assert maps["attention"].shape[0] == 1
    elif suffix == ".json":
        assert json.loads(output.read_text(encoding="utf-8"))["position"] == [1]
    elif suffix in (".gif", ".webp"):
        with Image.open(output) as opened:
            assert getattr(opened, "n_frames", 1) == 2, "the photo and the word"
    else:
        assert output.stat().st_size > 1000


def test_attend_hands_its_options_on(
    run: CommandLine, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[dict[str, Any]] = []
    monkeypatch.setattr("showattend.visualize.save_figure", lambda *_, **more: drawn.append(more))
    args = ("attend", photo, "--output", tmp_path / "a.svg", "--model", run.model)
    args += ("--caption", "A dog on the zeppelin")
    look = ("--layout", "strip", "--scale", "common", "--style", "light")
    for more in ((), ("--words", "dog,zeppelin"), look):
        result = run(*args, *more)
        assert result.code == 0
        assert result.out == [f"{photo}\tA dog on the zeppelin."]
        assert result.err == [
            "showattend: the model does not know zeppelin, and reads <unk> there",
            f"wrote {tmp_path / 'a.svg'}",
        ]
    assert drawn == [
        {},
        {"words": ["dog", "zeppelin"]},
        {"layout": "strip", "scale": "common", "style": "light"},
    ]


def test_attend_shows_the_runners_up_in_a_page(
    run: CommandLine, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(
        "showattend.visualize.page.write_page", lambda _, captions: shown.append(captions)
    )
    args = ("attend", photo, "--output", tmp_path / "a.html", "--model", run.model)
    assert run(*args, "--beam-size", "3").code == 0
    assert len(shown[0]) == 3
    assert shown[0][0].score >= shown[0][-1].score
    assert run(*args, "--caption", "a dog").code == 0
    assert [caption.text for caption in shown[1]] == ["A dog."]


def test_attend_says_which_letters_it_cannot_draw(
    run: CommandLine, photo: Path, tmp_path: Path
) -> None:
    args = ("attend", photo, "--model", run.model, "--caption", "a \U00012000 dog")
    result = run(*args, "--output", tmp_path / "a.png")
    assert result.code == 0
    (line,) = [line for line in result.err if "no font" in line]
    assert "U+12000 (Cuneiform)" in line
    result = run(*args, "--output", tmp_path / "a.npz")
    assert not any("no font" in line for line in result.err), "numbers need no font"


def test_attend_to_words_that_are_not_said(run: CommandLine, photo: Path, tmp_path: Path) -> None:
    line = run.refused(
        *("attend", photo, "--output", tmp_path / "a.png", "--model", run.model),
        *("--caption", "a dog", "--words", "cat"),
    )
    assert "not in the caption: cat; its words are: a, dog" in line


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--output a.gif --layout grid", "a .gif file has no layout"),
        ("--output a.npz --style heat", "a .npz file has no style"),
        ("--output a.html --words dog", "a .html file has no words"),
        ("--output a.png --scale log", "no scale 'log'; choose of word, common"),
        ("--output a.mp4", "no form .mp4; use one of .png"),
    ],
)
def test_mistakes_cost_no_waiting(
    args: str, message: str, run: CommandLine, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded first")

    monkeypatch.setattr(Captioner, "from_pretrained", staticmethod(slow))
    assert message in run.refused("attend", photo, *args.split())
