"""TensorBoard: what a run writes, and that it changes nothing else."""

from __future__ import annotations

import os
import sys
import threading
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from showattend.captioner import Captioner
from showattend.config import Config, from_dict
from showattend.data.toy import write_toy
from showattend.exceptions import ConfigError, UserError
from showattend.model.checkpoint import load
from showattend.training import board
from showattend.training.board import PHOTOGRAPHS, Board, folder_of, scalars
from showattend.training.reporter import Silent
from showattend.training.trainer import train
from tests.cli.conftest import picture
from tests.tinyrun import tiny_run

installed = pytest.mark.skipif(
    find_spec("tensorboard") is None, reason="the extra tensorboard is absent"
)


def config_with(value: object) -> Config:
    return from_dict(Config, {"train": {"out": "runs/a", "tensorboard": value}}, "test")


def test_where_it_goes() -> None:
    assert folder_of(Config()) is None
    assert folder_of(config_with(False)) is None
    assert folder_of(config_with(True)) == Path("runs/a/tensorboard")
    assert folder_of(config_with("boards/a")) == Path("boards/a")
    with pytest.raises(ConfigError, match=r"train.tensorboard is 3; it must be a folder, on or"):
        config_with(3)


def test_it_is_refused_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(board, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r'pip install "showattend\[tensorboard\]"'):
        train(tiny_run(tmp_path / "none.jsonl", tmp_path / "run", train={"tensorboard": "on"}))
    assert not (tmp_path / "run").exists()


def test_figures_have_names() -> None:
    entry: dict[str, Any] = {
        "epoch": 2, "phase": "cross-entropy", "loss": 2.5, "lr": 1e-3, "val_loss": 2.75,
        "CIDEr": 0.5, "distinct": 0.75, "sets": {"a": {"CIDEr": 0.25}}, "seconds": 3.0,
    }  # fmt: skip
    assert scalars(entry) == {
        "loss/loss": 2.5, "rate/lr": 1e-3, "loss/val_loss": 2.75, "validation/CIDEr": 0.5,
        "validation/distinct": 0.75, "validation/seconds": 3.0, "a/CIDEr": 0.25,
    }  # fmt: skip


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return found


@installed
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_writes_figures_and_photographs(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", images=18)
    changes: dict[str, Any] = {"epochs": 2, "batch_size": 8}
    plain = train(tiny_run(toy, tmp_path / "plain", train=changes))
    record = train(tiny_run(toy, tmp_path / "run", train=changes | {"tensorboard": "on"}))

    def figures(made: dict[str, Any]) -> list[dict[str, Any]]:
        return [{k: v for k, v in each.items() if k != "seconds"} for each in made["history"]]

    assert figures(record) == figures(plain)
    weights, others = (load(tmp_path / name).weights for name in ("run", "plain"))
    assert all((weights[key] == others[key]).all() for key in others)

    found = read(tmp_path / "run" / "tensorboard")
    ciders = [(each.step, each.value) for each in found.Scalars("validation/CIDEr")]
    assert ciders == [
        (entry["epoch"], pytest.approx(entry["CIDEr"], abs=1e-5)) for entry in record["history"]
    ]
    assert {"loss/loss", "loss/val_loss", "rate/lr"} <= set(found.Tags()["scalars"])
    pictures = found.Tags()["images"]
    assert len(pictures) == min(PHOTOGRAPHS, record["data"]["val_images"])
    last = found.Images(pictures[0])[-1]
    assert (last.step, last.encoded_image_string[:4]) == (2, b"\x89PNG")
    assert last.width > 300


# What goes wrong -------------------------------------------------------------------------------


class Log(Silent):
    def __init__(self) -> None:
        self.messages = list[str]()

    def message(self, text: str) -> None:
        self.messages.append(text)


class Writer:
    """In the place of TensorBoard's: as strict with names, on a disk that is full at some time."""

    def __init__(self, folder: Path, purge_step: int) -> None:
        self.tags, self.full, self.closed = list[str](), False, False

    def _add(self, tag: str, *_: Any, **__: Any) -> None:
        assert not self.closed
        tag.encode()
        if self.full:
            raise OSError(28, "No space left on device")
        self.tags.append(tag)

    add_scalar = add_image = add_text = _add

    def flush(self) -> None:
        assert not self.closed

    def close(self) -> None:
        self.closed = True
        raise OSError(28, "No space left on device")


ENTRY: dict[str, Any] = {"epoch": 1, "loss": 2.5, "sets": {"a\udce9": {"CIDEr": 0.25}}}


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)


def made(paths: list[Path], folder: Path) -> tuple[Board, Log]:
    log = Log()
    config = from_dict(Config, {"train": {"tensorboard": str(folder)}}, "test")
    return Board(config, paths, 0, log), log


@pytest.mark.usefixtures("strict")
@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_names_that_are_not_text(untrained: Captioner, tmp_path: Path) -> None:
    photo = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    picture(photo)
    board, log = made([photo], tmp_path / "board")
    board.epoch(ENTRY | {"CIDEr": 0.5}, lambda: untrained)
    assert {"a\\udce9/CIDEr", "photographs/caf\\udce9"} <= set(board.writer.tags)
    assert log.messages == [f"TensorBoard: tensorboard --logdir {tmp_path / 'board'}"]


@pytest.mark.usefixtures("strict")
def test_a_full_disk_is_one_message_and_the_run_goes_on(tmp_path: Path) -> None:
    board, log = made([], tmp_path / "board")
    board.writer.full = True
    for _ in range(3):
        board.epoch(ENTRY, lambda: pytest.fail("nobody needs the model"))
    assert log.messages[1:] == [
        f"TensorBoard: {tmp_path / 'board'}: cannot be written (No space left on device); training "
        "continues without it"
    ]
    assert board.writer.closed


@pytest.mark.usefixtures("strict")
def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Writer, "__init__", lambda *_, **__: refuse())
    with pytest.raises(UserError, match=r"board: cannot be written \(Read-only file system\)"):
        made([], tmp_path / "board")


@pytest.mark.usefixtures("strict")
def test_its_thread_fails_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other threads' errors are shown as ever, and the hook is set once."""
    shown: list[Any] = []
    threading.excepthook = shown.append
    for _ in range(3):
        made([], tmp_path / "board")

    def fail() -> None:
        raise OSError(28, "No space left on device")

    def run(module: str) -> None:
        thread = type("Worker", (threading.Thread,), {"__module__": module})(target=fail)
        thread.start()
        thread.join()

    run("tensorboard.summary.writer.event_file_writer")
    assert shown == []
    run("mine")
    assert len(shown) == 1
    assert capsys.readouterr() == ("", "")


@installed
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_disk_that_fills_up(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard's own writer: its file becomes a device that is full."""
    from tensorboard.compat import tf

    if tf.__version__ != "stub":
        pytest.skip("TensorFlow's files stay open, so that they cannot be replaced")
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    board, log = made([], tmp_path / "board")
    (events,) = (tmp_path / "board").iterdir()
    events.unlink()
    events.symlink_to("/dev/full")
    for epoch in range(1, 4):
        board.epoch(ENTRY | {"epoch": epoch}, lambda: pytest.fail("nobody needs the model"))
    assert len(log.messages) == 2
    assert "cannot be written (No space left on device)" in log.messages[1]
    assert capfd.readouterr() == ("", "")
