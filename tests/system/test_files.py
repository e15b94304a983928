"""Files are whole or as they were, whatever they are called."""

from __future__ import annotations

import inspect
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
    writing_file,
    writing_folder,
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


@pytest.mark.parametrize("apart", [False, True])
def test_a_block_writes_a_file(apart: bool, tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    for content in (b"old", b"new"):
        with writing_file(path, sync=True, apart=apart) as aside:
            aside.write_bytes(content)
            assert not path.exists() or path.read_bytes() == b"old"
        assert path.read_bytes() == content
    with pytest.raises(ZeroDivisionError), writing_file(path, apart=apart) as aside:
        aside.write_bytes(bytes([1 // 0]))
    with pytest.raises(FileNotFoundError), writing_file(path, apart=apart):
        pass  # nothing is written
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


# Folders ---------------------------------------------------------------------------------------


def content(folder: Path) -> dict[str, str]:
    """The files of a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


OLD = {"a": "old a", "b": "old b", "more/c": "old c", "mine": "mine"}
NEW = {"a": "new a", "more/d": "new d", "e": "new e", "mine": "mine"}


def write_new(out: Path) -> None:
    with writing_folder(out, replaces=["b"]) as aside:
        fill(aside, {name: text for name, text in NEW.items() if name != "mine"})


@pytest.mark.parametrize("before", ["absent", "empty", "a link"])
def test_a_folder_is_written(before: str, tmp_path: Path) -> None:
    out = tmp_path / "parent" / "out"
    if before == "empty":
        out.mkdir(parents=True)
    if before == "a link":
        out.parent.mkdir()
        (tmp_path / "disk").mkdir()
        out.symlink_to(tmp_path / "disk")
    write_new(out)
    assert content(out) == {name: text for name, text in NEW.items() if name != "mine"}
    assert out.is_symlink() == (before == "a link")
    assert list(out.parent.iterdir()) == [out]


def test_a_folder_replaces_what_is_its_own(tmp_path: Path) -> None:
    """The folder stays the same one: a shell in it, and a volume mounted there, keep it."""
    out = tmp_path / "out"
    fill(out, OLD)
    inode = out.stat().st_ino
    write_new(out)
    assert content(out) == NEW
    assert out.stat().st_ino == inode
    assert list(tmp_path.iterdir()) == [out]
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        write_new(tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out"]


@pytest.mark.parametrize("step", range(1, 8))
def test_a_folder_stays_if_writing_it_fails(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of its entries cannot be moved: of the old ones a, b, more; of the new all."""
    out = tmp_path / "out"
    fill(out, OLD)
    replace, count = Path.replace, 0

    def fail(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == step:
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="Input/output error"):
        write_new(out)
    assert content(out) == OLD
    assert list(tmp_path.iterdir()) == [out]


IMPORTS = """
from __future__ import annotations
import os, shutil, signal, sys
from pathlib import Path
from showattend.system.files import remove_stale, writing_folder
"""
KILLED_AT = """
place = Path(sys.argv[1])
calls = [(Path, "replace"), (Path, "mkdir"), (Path, "rmdir"), (os, "unlink"), (os, "rmdir")]
found = []
for step in range(1, 100):
    out = place / str(step) / "a folder whose name is longer than forty characters"
    fill(out, OLD)
    if (child := os.fork()) == 0:
        left = step
        def killing(plain):
            def call(*args, **options):
                global left
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
                return plain(*args, **options)
            return call
        for owner, name in calls:
            setattr(owner, name, killing(getattr(owner, name)))
        write_new(out)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    partial = content(out)
    remove_stale(out.with_name(f"{out.name[:40]}, another one"))
    assert content(out) == partial, "that is another folder"
    remove_stale(out)
    assert list(out.parent.iterdir()) == [out], step
    found.append("new" if content(out) == NEW else "old")
    assert content(out) in (OLD, NEW), (step, content(out))
    if status == 0:
        break
assert "old" in found and found == sorted(found, reverse=True) and len(found) > 12, found
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not looked for there")
def test_a_folder_of_a_killed_process_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    shared = [inspect.getsource(each) for each in (content, fill, write_new)]
    program = "\n".join([IMPORTS, f"OLD, NEW = {OLD}, {NEW}", *shared, KILLED_AT])
    done = subprocess.run([sys.executable, "-c", program, tmp_path], text=True, stderr=-1)
    assert done.returncode == 0, done.stderr


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
    "writing_folder": """
from showattend.system.files import writing_folder
with writing_folder(out) as aside:
    (aside / 'encoder.onnx').touch()
""",
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
