"""A process that was forked after a model was loaded."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from showattend.captioner import Captioner
from showattend.exceptions import UserError
from showattend.system import forks

PROGRAM = """
import logging, os, signal, sys, torch
logging.basicConfig(format="%(message)s")
torch.set_num_threads(2)
from showattend import Captioner
captioner = Captioner.from_pretrained(sys.argv[1])
wanted = captioner.caption(sys.argv[2]).words
child = os.fork()
if not child:
    signal.alarm(60)  # it would hang
    os._exit(0 if captioner.caption(sys.argv[2]).words == wanted else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture
def threads() -> Iterator[None]:
    """PyTorch with two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_captions_with_one_thread(model: Path, photo: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(model), str(photo)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert done.returncode == 0, done.stderr
    assert "forked after the model was loaded, so it captions with one thread" in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forks_are_counted() -> None:
    child = os.fork()
    if not child:
        os._exit(forks.forks())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == forks.forks() + 1


def test_after_a_fork_one_thread_is_used_and_it_is_said_once(
    untrained: Captioner,
    photo: Path,
    threads: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        untrained.caption(photo)
        assert torch.get_num_threads() == 2
        monkeypatch.setattr(forks, "_forks", forks.forks() + 1)
        monkeypatch.setattr(untrained, "_forks", untrained._forks)  # put back afterwards
        for _ in range(2):
            untrained.caption(photo)
    assert torch.get_num_threads() == 1
    (said,) = [each.message for each in caplog.records]
    assert 'get_context("spawn")' in said


def test_a_gpu_after_a_fork_is_refused() -> None:
    with pytest.raises(UserError, match="loaded on cuda:0, and cannot use it; load the model in"):
        forks.outlive_fork(torch.device("cuda", 0))
