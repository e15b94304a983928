"""What a config makes of a run."""

from __future__ import annotations

from typing import Any

import pytest

from showattend.config import Config, from_dict
from showattend.training.phases import ADJUSTED, AVERAGE, CROSS_ENTROPY, SELF_CRITICAL, plan


def phases(train: dict[str, Any], self_critical: dict[str, Any]) -> list[tuple[str, int]]:
    values = {"train": train, "self_critical": self_critical}
    return [(phase.name, phase.epochs) for phase in plan(from_dict(Config, values, "test"))]


def test_phases_come_one_after_the_other() -> None:
    assert phases({"epochs": 5}, {}) == [(CROSS_ENTROPY, 5)]
    assert phases({"epochs": 5, "rare_words": 0.3}, {"runs": 3}) == [
        (CROSS_ENTROPY, 5), (ADJUSTED, 1),
    ]  # fmt: skip
    assert phases({"epochs": 0}, {"epochs": 2}) == [(SELF_CRITICAL, 2)]
    assert phases({"epochs": 5, "rare_words": 0.3}, {"epochs": 2, "runs": 3}) == [
        (CROSS_ENTROPY, 5), *[(SELF_CRITICAL, 2)] * 3, (AVERAGE, 1), (ADJUSTED, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("epochs", "runs", "share", "wanted"),
    [
        (1, 1, 0.0, False),
        (1, 2, 0.0, True),
        (1, 1, 0.1, True),
        (0, 3, 0.1, False),
    ],
)
def test_one_run_alone_needs_no_average(epochs: int, runs: int, share: float, wanted: bool) -> None:
    found = phases({}, {"epochs": epochs, "runs": runs, "start_share": share})
    assert ((AVERAGE, 1) in found) is wanted
    assert found.count((SELF_CRITICAL, epochs)) == runs * bool(epochs)
