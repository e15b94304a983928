"""SIGTERM ends a command as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from showattend.captioner import Captioner
from showattend.system.signals import Terminated, terminable, terminate
from tests.commandline import CommandLine


def test_it_is_raised_and_the_handler_is_put_back() -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(Terminated), terminable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_the_program_stays() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
    try:
        with terminable():
            os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGTERM) is not terminate
        assert seen == [1]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_a_command_that_is_ended_keeps_whole_lines_and_says_how_to_go_on(
    error: type[BaseException],
    code: int,
    run: CommandLine,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream, out = Captioner._stream, tmp_path / "out.jsonl"

    def ended(self: Captioner, *args: object) -> object:
        yield next(stream(self, *args))  # type: ignore[arg-type]
        raise error

    monkeypatch.setattr(Captioner, "_stream", ended)
    other = photo.with_name("other.png")
    other.write_bytes(photo.read_bytes())
    result = run.caption(photo, other, "--output", out, "--batch-size", 1)
    assert result.code == code
    said = f"the captions made so far are in {out}.part; the same command with --resume continues"
    assert said in result.err
    assert result.err[-1] == f"showattend: {'terminated' if code == 143 else 'interrupted'}"
    kept = (tmp_path / "out.jsonl.part").read_text()
    assert (kept.count("\n"), kept[-1]) == (1, "\n")
    monkeypatch.undo()
    assert run.caption(photo, other, "--output", out, "--resume").code == 0
    assert out.read_text().startswith(kept)
    assert out.read_text().count("\n") == 2


@pytest.mark.slow
def test_a_process_is_ended(model: Path, photo: Path, tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"{number}.png").write_bytes(photo.read_bytes())
    out = tmp_path / "out.csv"
    command = [sys.executable, "-m", "showattend", "caption", tmp_path, "--model", model]
    running = subprocess.Popen(
        [*command, "--output", out, "--batch-size", "1"], stderr=subprocess.PIPE, text=True
    )
    part = tmp_path / "out.csv.part"
    while not part.exists() or part.stat().st_size < 1000:
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    said = running.communicate()[1]
    assert running.returncode == 143
    assert said.splitlines()[-1] == "showattend: terminated"
    assert part.read_text().endswith("\n")


def test_nobody_who_reads_on_is_no_error(model: Path, photo: Path) -> None:
    command = [sys.executable, "-m", "showattend", "caption", photo, "--model", model]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    running.stdout.close()
    assert running.stderr is not None
    assert running.stderr.read() == b""
    running.stderr.close()
    assert running.wait() != 0
