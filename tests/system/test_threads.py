"""Work in threads: in order, and not all of it at once."""

from __future__ import annotations

from collections.abc import Iterator

from showattend.system.threads import in_order


def test_in_order() -> None:
    assert list(in_order(lambda n: -n, range(5000))) == [(n, -n) for n in range(5000)]
    assert list(in_order(str, [])) == []


def test_few_items_wait() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(10**6):
            taken += 1
            yield number

    stream = in_order(str, items())
    assert [next(stream) for _ in range(3)] == [(0, "0"), (1, "1"), (2, "2")]
    assert taken < 10**5
    stream.close()  # type: ignore[attr-defined]
