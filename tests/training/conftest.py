"""Runs of these tests share one picture of curves: it takes as long as an epoch of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from showattend.training import record

plot_curves = record.plot_curves


@pytest.fixture(scope="package", autouse=True)
def one_picture_of_curves() -> Iterator[None]:
    """The first that is asked for; tests/training/test_record.py draws every one."""
    drawn: list[bytes] = []

    def plot(values: dict[str, Any]) -> bytes:
        if not drawn:
            drawn.append(plot_curves(values))
        return drawn[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "plot_curves", plot)
        yield
