"""Shared fixtures: real data if available, a small model, a single thread."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Set before PyTorch is imported: to networks as tiny as the tests' a second thread is a burden.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image

from showattend.captioner import Captioner
from showattend.images.preprocessing import Preprocessing
from showattend.model.build import build_encoder
from showattend.model.fast.fused_lstm import FusedLSTMDecoder
from showattend.text.vocabulary import Vocabulary
from tests.browser import chromium as chromium
from tests.browser import visit as visit
from tests.commandline import CommandLine, load_once, save_model

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("showattend", deadline=None)
hypothesis.settings.load_profile("showattend")

ASSETS = Path(__file__).parents[1] / "assets"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs with captions; skips where it is absent."""
    folder = Path(os.environ.get("SHOWATTEND_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real data is absent (SHOWATTEND_DATA names its folder)")
    return folder


@pytest.fixture(scope="session")
def photos() -> list[Path]:
    """The free photographs of the repository."""
    return sorted((ASSETS / "photos").glob("*.jpg"))


@pytest.fixture(scope="session")
def encoder_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Write graphs, but trace the encoder only once: for tests whose encoder is the same."""
    from showattend.export import graphs

    kept, trace = tmp_path_factory.mktemp("kept") / "encoder.onnx", graphs.write_graph

    def write(graph: Any, path: Path) -> None:
        if path.stem == "encoder" and kept.exists():
            shutil.copy(kept, path)
            return
        trace(graph, path)
        if path.stem == "encoder":
            shutil.copy(path, kept)

    return write


@pytest.fixture(scope="session")
def untrained() -> Captioner:
    """A captioner with random weights and an ImageNet encoder, for fast tests."""
    torch.manual_seed(0)
    words = "a dog runs through the grass man in red shirt on beach"
    vocabulary = Vocabulary(words.split(" "))
    values = {"embedding_dim": 16, "hidden_dim": 16, "attention_dim": 16}
    return Captioner(
        encoder=build_encoder(name="efficientnet_lite0"),
        decoder=FusedLSTMDecoder(vocabulary_size=len(vocabulary), feature_dim=1280, **values),
        vocabulary=vocabulary,
        preprocessing=Preprocessing(size=64, mean=(0.5,) * 3, std=(0.5,) * 3),
        config={"encoder": {"name": "efficientnet_lite0"}, "decoder": values, "search": {}},
        name="untrained",
        precision="fp32",
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A small picture on disk."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(noise).save(path)
    return path


@pytest.fixture(scope="module")
def model(untrained: Captioner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The untrained captioner as a model on disk."""
    return save_model(untrained, tmp_path_factory.mktemp("models") / "mine")


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], model: Path, monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """The command line, in this process."""
    monkeypatch.setattr(Captioner, "from_pretrained", staticmethod(load_once))
    return CommandLine(capsys, model)


@contextmanager
def _kept(level: int) -> Iterator[list[str]]:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    log, keep = logging.getLogger("showattend"), Keep(level)
    before = log.level
    log.setLevel(logging.INFO)
    log.addHandler(keep)
    try:
        yield lines
    finally:
        log.removeHandler(keep)
        log.setLevel(before)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The lines that the package logs in this test, as they come."""
    with _kept(logging.INFO) as lines:
        yield lines


@pytest.fixture
def warned() -> Iterator[list[str]]:
    """The warnings that the package logs in this test, as they come."""
    with _kept(logging.WARNING) as lines:
        yield lines
