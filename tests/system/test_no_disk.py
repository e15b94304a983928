"""Captioning, serving and scoring on a machine where nothing can be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from showattend.system.no_disk import need_no_temporary_folder

CACHE = "TORCHINDUCTOR_CACHE_DIR"

# A read-only file system, for whoever runs this: an administrator may write anywhere.
READ_ONLY = """
import errno, os, sys, tempfile
sys.dont_write_bytecode = True
tempfile._candidate_tempdir_list = lambda: ["/proc/none"]
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.mkdir", "os.rename", "os.link", "os.symlink", "os.remove", "os.rmdir")
def refuse(event, args):
    if event in CHANGES or (
        event == "open" and isinstance(args[0], str) and args[0] != os.devnull and args[2] & WRITES
    ):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), args[0])
sys.addaudithook(refuse)
from showattend.cli.app import main
"""
SERVE = """
from fastapi.testclient import TestClient
from showattend.captioner import Captioner
from showattend.server.api import create_app
with TestClient(create_app(Captioner.from_pretrained(sys.argv[1]))) as client:
    photo = open(sys.argv[2], "rb").read()
    answer = client.post(
        "/api/caption", files={"image": ("a.bmp", photo)}, data={"preview": "true"}
    )
    assert client.get("/").status_code == 200
    print(answer.status_code, len(photo) > 2_000_000)
"""


def run(program: str, *args: object) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY + program, *map(str, args)],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != CACHE},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that would not stay in memory as an upload of a web framework's usual kind."""
    path = tmp_path / "large.bmp"
    Image.new("RGB", (1000, 900), "teal").save(path)
    return path


@pytest.mark.skipif(find_spec("fastapi") is None, reason="the extra serve is absent")
def test_captioning_and_serving_need_no_disk(model: Path, large: Path) -> None:
    program = 'code = main(["caption", sys.argv[2], "--model", sys.argv[1]])\n'
    lines = run(f"{program}{SERVE}sys.exit(code)", model, large)
    assert lines[0].startswith(f"{large}\t")
    assert lines[1:] == ["200 True"]


@pytest.mark.slow
def test_scoring_needs_no_disk(model: Path, large: Path) -> None:
    annotations = large.with_name("captions.json")
    annotations.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": large.name}],
                "annotations": [{"image_id": 1, "id": 1, "caption": "a teal wall"}],
            }
        )
    )
    given = ["--annotations", annotations, "--images", large.parent, "--model", model]
    lines = run("sys.exit(main(['evaluate', *sys.argv[1:]]))", *given)
    assert any("METEOR" in line for line in lines)


def test_the_compilers_cache_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE, raising=False)
    need_no_temporary_folder()
    assert CACHE not in os.environ
    monkeypatch.setattr(tempfile, "tempdir", str(Path.cwd()))  # where tempfile falls back
    monkeypatch.setenv(CACHE, "mine")
    need_no_temporary_folder()
    assert os.environ[CACHE] == "mine"
    monkeypatch.delenv(CACHE)
    need_no_temporary_folder()
    assert Path(os.environ[CACHE]).is_dir()
    monkeypatch.delenv(CACHE)
