"""scripts/benchmark/simulate_cluster.py: its arithmetic where it can be done by hand."""

from __future__ import annotations

import pytest

from .loading import load_script

script = load_script("benchmark/simulate_cluster")
GIVEN = script.Assumptions(rate=10.0, part=100, start=0.0)
CALM = GIVEN._replace(machines=0.0, slow=0.0, parts=0.0, between_losses=0.0)


@pytest.mark.parametrize("workers", [1, 4, 8])
def test_without_bad_luck_it_is_a_division(workers: int) -> None:
    cost = script.simulate(CALM, 8000, workers)
    assert cost.hours * 3600 == pytest.approx(8000 / 10 / workers)
    assert (cost.parts, cost.losses, cost.copies) == (80, 0, 0)
    assert cost.wasted == 0
    assert cost.idle == pytest.approx(0, abs=1e-9)


def test_what_does_not_divide_leaves_workers_idle() -> None:
    cost = script.simulate(CALM, 450, 4, twice=False)  # five parts, the last of 50 images
    assert cost.hours * 3600 == pytest.approx(10 + 5)
    assert cost.idle == pytest.approx(3 * 5 / 60)
    cost = script.simulate(CALM._replace(start=7.0), 400, 4)
    assert cost.hours * 3600 == pytest.approx(17)
    assert cost.idle == pytest.approx(7 / 17)


def test_seeds_decide() -> None:
    one, again, other = (script.simulate(GIVEN, 20_000, 5, seed) for seed in (1, 1, 2))
    assert one == again != other


def test_losses_cost_what_was_begun() -> None:
    # A worker lives ten parts long: half a part and the replacement are lost with it.
    often = CALM._replace(between_losses=100 / 3600, replacement=20.0)
    costs = [script.simulate(often, 100_000, 10, seed, twice=False) for seed in range(5)]
    for cost in costs:
        assert cost.parts >= 998  # one in ten thousand is lost four times and given up
        assert cost.losses == pytest.approx(100, rel=0.5)
        assert 0.02 < cost.wasted < 0.08
        assert cost.idle > 0.1
        assert cost.hours * 3600 > 1150


def test_beginning_late_parts_twice_shortens_the_end() -> None:
    slow = CALM._replace(slow=0.1, slowness=20.0)
    runs = [
        [script.simulate(slow, 40_000, 40, seed, twice) for seed in range(4)]
        for twice in (True, False)
    ]
    for twice, once in zip(*runs, strict=True):
        assert twice.parts == once.parts == 400
        assert once.copies == 0
    assert sum(each.hours for each in runs[0]) < 0.7 * sum(each.hours for each in runs[1])
    assert sum(each.copies for each in runs[0]) > 0


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--rate", "10", "--images", "50000", "--workers", "2", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith(("| 2 |", "| 5 |"))]
    assert len(rows) == 8
    assert "| 2 | nothing happens | 0.7 | 1 | 0.0% |" in rows[0]
