"""The cross-entropy by rows against its plain twin: values and gradients."""

from __future__ import annotations

import pytest
import torch

from showattend.model.fast import entropy_by_rows
from showattend.model.fast.entropy_by_rows import cross_entropy_by_rows
from showattend.training.losses import cross_entropy
from tests.rounding import BF16


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("at_once", [1, 14, 1 << 18])  # a row, two rows, all of them
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_values_and_gradients_are_those_of_the_plain_twin(
    smoothing: float, at_once: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entropy_by_rows, "_AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 7, dtype=torch.float64, generator=generator).to(dtype).requires_grad_()
    targets = torch.tensor([0, 6, 3, 3, 1])
    found, wanted = (
        function(logits, targets, smoothing) for function in (cross_entropy_by_rows, cross_entropy)
    )
    # In bf16 both compute in float32; only the gradient is rounded.
    close = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 1e-6}[dtype]
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.dtype == theirs.dtype == torch.promote_types(dtype, torch.float32)
        torch.testing.assert_close(mine, theirs, rtol=close, atol=0)
    assert not found[1].requires_grad
    assert not wanted[1].requires_grad
    mine, theirs = (torch.autograd.grad(3 * each[0], logits)[0] for each in (found, wanted))
    assert mine.dtype == dtype
    rounding = BF16 if dtype == torch.bfloat16 else 10 * close
    torch.testing.assert_close(mine, theirs, rtol=rounding, atol=rounding / 100)
