"""``showattend prepare coco`` as a command: lines, exit codes, Ctrl-C."""

from __future__ import annotations

import functools
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from showattend.data.coco.download import Downloader
from showattend.data.readers import read_dataset
from showattend.data.shard_index import read_index
from tests.commandline import CommandLine
from tests.data.server import Coco, Server, serving
from tests.data.sharded import photographs

COCO = Coco()
ANNOTATIONS = "/annotations/annotations_trainval2014.zip"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    """The command line; no model is needed."""
    return CommandLine(capsys, tmp_path / "none")


@pytest.fixture
def coco(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """COCO's server, in small."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(COCO.files) as server:
        yield server


def test_fetched(run: CommandLine, coco: Server, tmp_path: Path) -> None:
    args = ("prepare", "coco", "--out", tmp_path / "out", "--base-url", coco.url)
    result = run(*args, "--images", 12, "--categories", "dog, frisbee", "--seed", 3)
    assert result.code == 0
    assert "train:      8 images, 40 captions" in result.out
    shown, *_ = (line for line in result.err if "images show" in line)
    assert shown == "19 of 30 images show dog or frisbee"
    assert any(f"12 images to download from {coco.url}, about " in line for line in result.err)
    tenths = [line for line in result.err if line.startswith("Downloading images: ")]
    assert len(tenths) == 10
    assert tenths[-1].startswith("Downloading images: 100 %, ")
    assert "images/s" in tenths[-1]
    (annotations,) = (line for line in result.err if line.startswith("Downloading annotations: "))
    assert re.fullmatch(r"Downloading annotations: 100 %, \d+ (bytes|kB), \d+ \w+/s", annotations)
    assert len(read_dataset(tmp_path / "out")) == 12


def test_missing_images_give_exit_code_1(run: CommandLine, coco: Server, tmp_path: Path) -> None:
    gone = sorted(COCO.photos)[0]
    del coco.files[gone]
    result = run("prepare", "coco", "--out", tmp_path, "--base-url", coco.url)
    assert result.code == 1
    assert f"  {coco.url}{gone}: 404 Not Found" in result.out
    assert len(read_dataset(tmp_path)) == 29


def test_local_files(run: CommandLine, tmp_path: Path) -> None:
    for name, content in (COCO.photos | COCO.annotations).items():
        path = tmp_path / "mine" / Path(name).name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    files = [tmp_path / "mine" / f"captions_{split}2014.json" for split in ("train", "val")]
    given = [part for file in files for part in ("--annotations", file)]
    args = ("prepare", "coco", "--image-root", tmp_path / "mine", "--out", tmp_path / "out")
    result = run(*args, *given)
    assert (result.code, result.err) == (0, [])
    assert "val:        10 images, 50 captions" in result.out


def test_no_server(run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient = functools.partial(Downloader, sleep=lambda _: None)
    monkeypatch.setattr("showattend.data.coco.prepare_coco.Downloader", impatient)
    with Server() as gone:
        pass
    args = ("prepare", "coco", "--out", tmp_path, "--base-url", gone.url)
    line = run.refused(*args)
    assert f"{gone.url}{ANNOTATIONS}: cannot be reached" in line
    assert "give files of your own with --annotations FILE and --image-root DIR" in line


def test_ctrl_c(run: CommandLine, coco: Server, tmp_path: Path) -> None:
    """A real Ctrl-C in a separate process, while the server does not answer for some images."""
    out = tmp_path / "out"
    args = ["prepare", "coco", "--out", str(out), "--base-url", coco.url]
    slow = set(sorted(COCO.photos)[6:])
    coco.silent = slow
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from showattend.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *args], stderr=subprocess.PIPE, text=True
    )
    assert coco.reached.wait(60)  # it waits for one of those
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-2:] == [
        f"finished downloads are kept in {out}; run the same command to continue",
        "showattend: interrupted",
    ]
    assert "Traceback" not in err
    whole = {f"/{path.relative_to(out / 'images')}" for path in (out / "images").rglob("*.jpg")}
    assert not whole & slow

    coco.release.set()
    coco.log.clear()
    assert run(*args).code == 0
    assert set(coco.got) == set(COCO.photos) - whole
    assert len(read_dataset(out)) == 30


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


def test_shards(run: CommandLine, tmp_path: Path) -> None:
    photographs(tmp_path / "photos", {"one": 5})
    for path in (tmp_path / "photos").glob("*.jpg"):
        path.with_suffix(".txt").write_text("a dog runs\n")
    args = ("prepare", "folder", tmp_path / "photos", "--out", tmp_path / "out", "--min-count", 1)
    folder = tmp_path / "shards"
    result = run(*args, "--shards", folder, "--shard-size", 2)
    assert result.code == 0
    line = f"shards:     2 train, 1 val in {folder}; train with data.path={folder}/*.tar"
    assert line in [each.replace("'", "") for each in result.out]
    assert len(read_index(f"{folder}/*.tar").shards) == 3
    again = run(*args, "--shards", folder, "--shard-size", 2)
    assert any("3 of 3 shards are there" in line for line in again.err)
    refused = run(*args, "--features", tmp_path / "config.yaml")
    assert refused.code == 2
    assert "--features is for shards; give their folder with --shards" in refused.err[-1]
    other = run(*args, "--shards", tmp_path / "photos" / "one000.jpg")
    assert other.code == 2
    assert "cannot be written" in other.err[-1]
