"""Parts are given out once, again where a worker is lost, twice where one is late."""

from __future__ import annotations

import random

import pytest

from showattend.export.cluster.dispatching import LATE, LIVES, Dispatcher
from showattend.export.cluster.partition import Part


def parts(count: int) -> list[Part]:
    return [Part(number, (f"{number}.jpg",)) for number in range(count)]


def test_each_part_is_given_out_once() -> None:
    given = parts(3)
    dispatcher = Dispatcher(iter(given), twice=False)
    assert [dispatcher.give(worker, 0) for worker in "abc"] == given
    assert dispatcher.give("d", 0) is None
    assert not dispatcher.is_done
    assert [dispatcher.finish(worker, 1) for worker in "abc"] == given
    assert dispatcher.give("a", 1) is None
    assert dispatcher.is_done


def test_parts_are_read_as_they_are_needed() -> None:
    taken = []

    def many() -> object:
        for part in parts(1000):
            taken.append(part)
            yield part

    dispatcher = Dispatcher(many())  # type: ignore[arg-type]
    dispatcher.give("a", 0)
    dispatcher.finish("a", 1)
    dispatcher.give("a", 1)
    assert len(taken) == 2


def test_a_lost_workers_part_goes_to_the_next() -> None:
    first, second = parts(2)
    dispatcher = Dispatcher(iter([first, second]))
    assert dispatcher.give("a", 0) == first
    assert dispatcher.lose("a") == first
    assert dispatcher.lose("a") is None  # it has no part any more
    assert dispatcher.give("b", 0) == first
    assert dispatcher.give("c", 0) == second


def test_a_part_that_ends_its_workers_is_given_up() -> None:
    first, second = parts(2)
    dispatcher = Dispatcher(iter([first, second]))
    for worker in range(LIVES):
        assert dispatcher.give(worker, 0) == first
        dispatcher.lose(worker)
    assert dispatcher.given_up == [first]
    assert dispatcher.give("a", 0) == second
    dispatcher.finish("a", 1)
    assert dispatcher.give("a", 1) is None
    assert dispatcher.is_done


def late() -> tuple[Dispatcher, Part]:
    """One part is done in 10 seconds, worker b still has the other; nothing else is left."""
    first, second = parts(2)
    dispatcher = Dispatcher(iter([first, second]))
    dispatcher.give("a", 0)
    dispatcher.give("b", 0)
    dispatcher.finish("a", 10)
    assert dispatcher.give("a", 10 * LATE) is None
    assert dispatcher.give("a", 10 * LATE + 1) == second
    assert dispatcher.give("c", 1000) is None  # two have it
    return dispatcher, second


@pytest.mark.parametrize("faster", ["a", "b"])
def test_a_late_part_is_begun_twice_and_counts_once(faster: str) -> None:
    dispatcher, part = late()
    assert dispatcher.finish(faster, 20) == part
    assert dispatcher.is_done
    assert dispatcher.finish("b" if faster == "a" else "a", 30) is None
    assert dispatcher.is_done


def test_a_lost_copy_costs_nothing() -> None:
    dispatcher, part = late()
    assert dispatcher.lose("b") == part
    assert dispatcher.give("c", 11) is None  # a has it
    assert dispatcher.finish("a", 20) == part
    assert dispatcher.is_done
    dispatcher, part = late()
    dispatcher.finish("a", 20)
    dispatcher.lose("b")
    assert dispatcher.give("c", 21) is None
    assert dispatcher.is_done


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_each_part_is_done_once(seed: int) -> None:
    draw = random.Random(seed)
    given = parts(draw.randint(1, 40))
    dispatcher = Dispatcher(iter(given))
    done: list[int] = []
    working: dict[int, Part] = {}
    for now in range(100_000):
        worker = draw.randrange(8)
        if worker not in working:
            part = dispatcher.give(worker, now)
            if part is not None:
                working[worker] = part
        elif draw.random() < 0.1:
            assert dispatcher.lose(worker) == working.pop(worker)
        elif draw.random() < 0.5:
            part = dispatcher.finish(worker, now)
            assert part in (working.pop(worker), None)
            done += [part.number] if part else []
        if dispatcher.is_done:
            break
    given_up = [part.number for part in dispatcher.given_up]
    assert sorted(done + given_up) == list(range(len(given)))
