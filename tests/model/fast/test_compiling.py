"""The compiled step: the same numbers, and no harm where there is no compiler."""

from __future__ import annotations

import shutil
from functools import partial
from typing import Any

import pytest
import torch

from showattend.decoding.beam import search
from showattend.model.decoders.lstm import LSTMDecoder
from showattend.model.fast.compiling import compile_step
from showattend.model.fast.exponentials import additive_weights
from showattend.model.fast.fused_lstm import FusedLSTMDecoder, lstm_cell
from showattend.model.search_options import SearchOptions
from showattend.training.losses import captioning_loss
from tests.rounding import BF16

SIZES = {
    "vocabulary_size": 11, "feature_dim": 6, "embedding_dim": 8, "hidden_dim": 8,
    "attention_dim": 8, "dropout": 0.0,
}  # fmt: skip


def decoder() -> FusedLSTMDecoder:
    torch.manual_seed(0)
    return FusedLSTMDecoder(**SIZES)


def gradients(
    model: LSTMDecoder, lengths: list[list[int]], dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    """The training loss, and its gradients."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(len(lengths), 9, 6, generator=generator).to(dtype)
    captions = torch.randint(4, 11, (len(lengths), len(lengths[0]), 8), generator=generator)
    real = torch.tensor(lengths)
    loss = captioning_loss(model.train()(features, captions, real), real).total
    return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]


needs_compiler = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler"),
]


@pytest.mark.parametrize(
    ("backend", "dtype"),
    [
        pytest.param("inductor", torch.float32, marks=needs_compiler),
        pytest.param("inductor", torch.bfloat16, marks=needs_compiler),
        ("eager", torch.bfloat16),  # traced, but not compiled
    ],
)
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_the_compiled_step_is_the_plain_decoders(
    backend: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch.compiler.reset()
    plain, compiled = LSTMDecoder(**SIZES), decoder()
    for parameter in plain.parameters():  # far from uniform, so that a wrong map shows
        torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(2))
    compiled.load_state_dict(plain.state_dict())
    assert compile_step(compiled, dtype) is None
    assert compiled.cell is not lstm_cell
    # In bf16 each product is rounded to 8 bits, here some dozen one after another.
    rounding = {torch.float32: 1e-5, torch.bfloat16: 12 * BF16}[dtype]
    for lengths in ([[5, 3], [4, 4]], [[7, 7, 2], [6, 1, 1], [2, 2, 0], [3, 1, 1]]):
        (one, *found), (other, *wanted) = (
            gradients(each, lengths, dtype) for each in (compiled, plain)
        )
        assert float(one) == pytest.approx(float(other), rel=rounding)
        scale = max(float(each.abs().max()) for each in wanted)
        for mine, theirs in zip(found, wanted, strict=True):
            assert float((mine - theirs).abs().max()) <= rounding * scale


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_search_between_steps_does_not_exhaust_the_compiler(
    caplog: pytest.LogCaptureFixture,
) -> None:
    compiled = decoder()
    assert compile_step(compiled, torch.float32) is None
    for images, beams in ((1, 1), (1, 3), (4, 1), (4, 3), (2, 5)):
        gradients(compiled, [[5, 3], [4, 1]])
        options = SearchOptions(beam_size=beams, max_length=6)
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                search(compiled, torch.randn(images, 3, 3, 6), options)
    assert "recompile_limit" not in caplog.text


def test_a_decoder_without_a_compiled_step_says_so() -> None:
    plain = LSTMDecoder(vocabulary_size=5, feature_dim=2, embedding_dim=2, hidden_dim=2)
    assert "no compiled step" in str(compile_step(plain, torch.float32))


def test_without_a_compiler_the_step_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        def fails(*_: Any) -> Any:
            raise RuntimeError("\n  No working C++ compiler found in\n a long list of places")

        return fails

    monkeypatch.setattr(torch, "compile", broken)
    model = decoder()
    told = compile_step(model, torch.float32)
    assert told is not None
    assert "\n" not in told
    assert "RuntimeError: No working C++ compiler found in" in told
    assert model.cell is lstm_cell
    assert model.score is additive_weights
