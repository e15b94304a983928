"""Files are whole or as they were, whatever they are called."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from showattend.exceptions import CheckpointError, UserError
from showattend.model.checkpoint import save_tensors
from showattend.system.files import (
    check_room,
    hold,
    make_room,
    name_aside,
    remove_stale,
    sweep,
    write_bytes,
    write_json,
    write_text,
)


def test_folders_are_created_or_refused(tmp_path: Path) -> None:
    make_room(tmp_path / "a" / "b" / "file.json")
    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(UserError, match="it is a folder"):
        make_room(tmp_path / "a")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file is not a folder"):
        make_room(tmp_path / "file" / "results.json")
    with pytest.raises(UserError, match=r"cannot be written \(Not a directory\)"):
        make_room(tmp_path / "file" / "folder" / "results.json")


def test_json(tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", {"metrics": {"CIDEr": 0.5}})
    assert json.loads((tmp_path / "results.json").read_text()) == {"metrics": {"CIDEr": 0.5}}
    with pytest.raises(UserError, match="cannot be written"):
        write_json(tmp_path, {})


@pytest.mark.parametrize("how", ["write", "replace"])
def test_files_are_written_atomically(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:1])
        raise OSError(28, "No space left on device")

    def fail(self: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    name = ("write_bytes", half) if how == "write" else ("replace", fail)
    old = tmp_path / "old"
    old.write_text("old")
    monkeypatch.setattr(Path, *name)
    for write, content in ((write_json, {"a": 1}), (write_text, "new"), (write_bytes, b"new")):
        with pytest.raises(UserError, match=r"old: cannot be written \((No space|Input/output)"):
            write(old, content)  # type: ignore[operator]
        assert old.read_text() == "old"
        assert list(tmp_path.iterdir()) == [old], "nothing is left aside"


def test_files_of_any_name_are_written(tmp_path: Path) -> None:
    for name in ("x" * 255, "猫" * 85, "-"):
        write_bytes(tmp_path / "new" / name, b"new")
        assert (tmp_path / "new" / name).read_bytes() == b"new"
    assert len(list((tmp_path / "new").iterdir())) == 3


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    for name in ("there", "not yet there"):
        real, link = tmp_path / "disk" / name, tmp_path / name
        link.symlink_to(real)
        if name == "there":
            real.write_text("old")
        write_text(link, "new")
        assert link.is_symlink()
        assert real.read_text() == "new"


def test_special_files_are_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_bytes(pipe, b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


# What killed processes leave -------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
out = Path(sys.argv[1])
def killed(*_): os.kill(os.getpid(), signal.SIGKILL)
Path.replace = killed
"""
WRITERS = {
    "write_bytes": "from showattend.system.files import write_bytes; write_bytes(out, b'x')",
    "save_tensors": "import torch; from showattend.model.checkpoint import save_tensors;"
    "save_tensors(out, {'x': torch.zeros(3)}, {})",
    "folder": "from showattend.system.files import name_aside; aside = name_aside(out);"
    "aside.mkdir(); (aside / 'encoder.onnx').touch(); killed()",
}


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not looked for there")
@pytest.mark.parametrize("writer", WRITERS)
def test_the_next_run_removes_what_a_killed_one_left(writer: str, tmp_path: Path) -> None:
    out = tmp_path / "a strange [name].bin"
    done = subprocess.run([sys.executable, "-c", KILLED + WRITERS[writer], out])
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    others = [tmp_path / name for name in (".notes.bin.part", ".a.bin.part", f".{out.name}.tmp")]
    for other in others:
        other.touch()
    assert remove_stale(tmp_path / "another.bin") == [], "only its own"
    make_room(out)
    assert not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_what_may_be_in_use_stays(tmp_path: Path) -> None:
    out = tmp_path / "captions.json"
    mine, old = name_aside(out), tmp_path / ".captions.json.0123abcd.part"
    elsewhere = tmp_path / ".captions.json.00000000-1-0123abcd.part"
    for path in (mine, old, elsewhere, tmp_path / f".captions.json.{os.getppid()}"):
        path.touch()
    assert remove_stale(out) == [], "a process of here, of another host, and of an unknown one"
    for path in (old, elsewhere):
        os.utime(path, (0, 0))
    assert sorted(remove_stale(out)) == sorted([old, elsewhere])
    assert mine.exists()


def test_a_folder_is_swept_of_what_is_ours(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = name_aside(tmp_path / "a [photo].jpg")
    stale = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-"))
    elsewhere = tmp_path / ".b.jpg.00000000-1-0123abcd.part"
    kept = [mine, elsewhere, tmp_path / "a.part", tmp_path / ".a.jpg.0123abcd.part"]
    for path in (stale, *kept):
        path.touch()
    folder = stale.with_name(stale.name.replace("photo", "folder"))
    folder.mkdir()
    assert sweep([tmp_path, tmp_path, tmp_path / "none"]) == [stale]
    assert folder.is_dir()
    assert all(path.exists() for path in kept)
    os.utime(elsewhere, (0, 0))
    assert sweep([tmp_path]) == [elsewhere]


@pytest.mark.skipif(sys.platform == "win32", reason="other locks there")
def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "part"
    program = (
        "import sys; from showattend.system.files import hold; file = open(sys.argv[1], 'a');"
        "assert hold(file); print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with path.open("a") as file:
            assert not hold(file)
        other.kill()
        other.wait()
        with path.open("a") as file:
            assert hold(file)


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not looked for there")
def test_a_kill_within_safetensors_leaves_nothing_of_another_name(tmp_path: Path) -> None:
    """It writes to a temporary file of its own beside the file that it is given."""
    program = """
import os, signal, sys, threading, time
from pathlib import Path
import torch
from showattend.model.checkpoint import save_tensors
out = Path(sys.argv[1])
def kill():
    while not list(out.parent.iterdir()):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=kill).start()
save_tensors(out, {"x": torch.zeros(20_000_000)}, {})
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "a.safetensors"])
    assert done.returncode == -signal.SIGKILL
    assert all(path.name.startswith(".a.safetensors.") for path in tmp_path.iterdir())
    make_room(tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_room_is_looked_for_before_a_large_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3_000_000))
    check_room(tmp_path / "a", 3_000_000)
    with pytest.raises(OSError, match="it needs 8 MB, and the disk has 3 MB left"):
        check_room(tmp_path / "a", 8_000_000)
    tensors = {"a": torch.zeros(2_000_000)}
    with pytest.raises(CheckpointError, match=r"cannot be written \(it needs 8 MB"):
        save_tensors(tmp_path / "a", tensors, {})
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    save_tensors(tmp_path / "a", tensors, {})
