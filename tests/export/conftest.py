"""Small models of every kind, quick to export."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.layers import Conv2dSame
from torch import nn

import showattend.export  # noqa: F401 (so that onnxruntime reports nothing from the tests)
from showattend.caption import Caption
from showattend.captioner import Captioner
from showattend.images.preprocessing import Preprocessing
from showattend.model.calibration import Calibration
from showattend.model.encoder import Encoder
from showattend.model.familiarity import Familiarity
from showattend.model.fast.fused_lstm import FusedLSTMDecoder
from showattend.text.vocabulary import Vocabulary

WORDS = "a dog runs through the grass man in red shirt on beach 's i n't two child with ball"
SIZE = 33  # the "same" padding of an odd size differs on the two sides


def toy(
    gate: str = "scalar",
    attend_with: str = "previous",
    projection_dim: int = 0,
    fit: str = "squash",
    interpolation: str = "bicubic",
    beside: str | None = None,
) -> Captioner:
    """A model with random weights, sharp enough that its captions differ from image to image."""
    torch.manual_seed(3)
    stages = {
        "stem": nn.Sequential(Conv2dSame(3, 8, 3, stride=2), nn.ReLU6()),
        "rest": nn.Sequential(Conv2dSame(8, 20, 5, stride=3), nn.BatchNorm2d(20), nn.ReLU()),
    }
    nn.init.normal_(stages["rest"][1].weight, 0, 5)
    vocabulary = Vocabulary(WORDS.split(" "))
    values = {"embedding_dim": 12, "hidden_dim": 14, "attention_dim": 10, "gate": gate}
    decoder = FusedLSTMDecoder(
        vocabulary_size=len(vocabulary),
        feature_dim=20 if beside is None else 28,
        attend_with=attend_with,
        projection_dim=projection_dim,
        **values,
    )
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(3)
        decoder.attention.v.mul_(3)
        decoder.embedding.weight.mul_(3)
        for part in (decoder.initial, decoder.L_h, decoder.L_z, decoder.lstm_context):
            part.weight.mul_(4)
        decoder.L_o.bias[Vocabulary.END] = 3
    return Captioner(
        encoder=Encoder(nn.Sequential(*stages.values()), stages, "toy", beside),
        decoder=decoder,
        vocabulary=vocabulary,
        preprocessing=Preprocessing(
            size=SIZE, fit=fit, mean=(0.5, 0.4, 0.3), interpolation=interpolation
        ),
        name="somewhere/toy/model.safetensors",
        precision="fp32",
    )


def alike(one: Caption, other: Caption) -> None:
    """The same words, and the same numbers within float32's accuracy."""
    assert one.words == other.words
    np.testing.assert_allclose(one.attention, other.attention, atol=1e-4)
    assert (one.betas is None) == (other.betas is None)
    if one.betas is not None and other.betas is not None:
        np.testing.assert_allclose(one.betas, other.betas, atol=1e-4)
    np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-3)
    assert one.score == pytest.approx(other.score, abs=1e-4)
    assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
    assert one.unsure_below == other.unsure_below
    assert (one.familiarity is None) == (other.familiarity is None)
    assert one.familiarity == pytest.approx(other.familiarity, abs=1e-4)
    assert one.geometry == other.geometry
    assert one.image is other.image
    assert one.text == other.text
    assert len(one.alternatives) == len(other.alternatives)
    for mine, others in zip(one.alternatives, other.alternatives, strict=True):
        alike(mine, others)


@pytest.fixture(scope="session")
def captioner() -> Captioner:
    """One of the toys."""
    captioner = toy("vector", "current", 12)
    basis = np.linalg.qr(np.random.default_rng(2).standard_normal((20, 4)))[0]
    basis = basis.astype(np.float16).astype(np.float32)
    captioner.calibration = Calibration(0.4, Familiarity(basis, np.linspace(0, 1, 9), SIZE))
    return captioner


@pytest.fixture(scope="session")
def exported(captioner: Captioner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That one, exported."""
    from showattend.export.folder import export

    folder = tmp_path_factory.mktemp("exported") / "toy"
    export(captioner, folder)
    return folder


@pytest.fixture
def kept(exported: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Takes names of networks that are copied from that export instead of traced again."""
    from showattend.export import graphs

    trace = graphs.write_graph

    def keep(*names: str) -> None:
        def write(graph: graphs.Graph, path: Path) -> None:
            if path.stem in names:
                shutil.copy(exported / path.name, path)
            else:
                trace(graph, path)

        monkeypatch.setattr(graphs, "write_graph", write)

    return keep


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Photos of several shapes, smooth enough to differ after a resize; JPEG, PNG and WebP."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(5)
    paths = []
    for number, (width, height) in enumerate([(90, 60), (40, 130), (64, 64), (300, 200), (5, 7)]):
        shade = random.integers(0, 128, 3) + random.integers(0, 128, (4, 5, 3))
        coarse = Image.fromarray(shade.astype(np.uint8))
        suffix = ("jpg", "png", "webp")[number % 3]
        paths.append(folder / f"{number}.{suffix}")
        coarse.resize((width, height)).save(paths[-1])
    return paths
