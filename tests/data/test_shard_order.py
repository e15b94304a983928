"""The order of an epoch over shards: every image once, whoever reads it, wherever it is entered."""

from __future__ import annotations

from itertools import pairwise

import pytest

from showattend.data.shard_order import Drawn, EpochOrder

CASES = [([7], 1, 1), ([3, 5, 1], 4, 2), ([10] * 9, 8, 2), ([2, 1], 8, 1), ([100, 3, 50, 7], 2, 3)]


def whole(order: EpochOrder) -> list[Drawn]:
    drawn = [order.drawn(lane, i) for lane in range(order.lanes) for i in range(order.length(lane))]
    return sorted(drawn)


def made(counts: list[int], lanes: int, mixed: int, seed: int = 3, epoch: int = 0) -> EpochOrder:
    return EpochOrder(counts, seed=seed, epoch=epoch, lanes=lanes, mixed=mixed, crops=2)


@pytest.mark.parametrize(("counts", "lanes", "mixed"), CASES)
def test_every_image_is_drawn_once(counts: list[int], lanes: int, mixed: int) -> None:
    drawn = whole(made(counts, lanes, mixed))
    assert [each.position for each in drawn] == list(range(sum(counts)))
    wanted = {(shard, row) for shard, count in enumerate(counts) for row in range(count)}
    assert {(each.shard, each.row) for each in drawn} == wanted


@pytest.mark.parametrize(("counts", "lanes", "mixed"), CASES)
def test_an_epoch_can_be_entered_anywhere(counts: list[int], lanes: int, mixed: int) -> None:
    drawn = whole(made(counts, lanes, mixed))
    for lane in range(lanes):
        for position in range(0, sum(counts), 3):
            order = made(counts, lanes, mixed)  # one that has not drawn what comes before
            first = order.cut(lane, position)
            before = [each for each in drawn if each.position < position]
            assert first == sum(each.position % lanes == lane for each in before)
            if first < order.length(lane):
                found = order.drawn(lane, first)
                assert found == drawn[found.position]
                assert found.shard in order.shards_of(lane, order.block_of(lane, first))


def test_the_order_is_that_of_seed_and_epoch() -> None:
    orders = [whole(made([20] * 6, 4, 2, seed, epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert whole(made([20] * 6, 4, 2, 0, 0)) == orders[0]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert {each.crop for each in orders[0]} == {0, 1, 2}
    assert 30 < sum(each.turn for each in orders[0]) < 90


def test_images_are_shuffled_among_and_within_shards() -> None:
    drawn = whole(made([100] * 16, 4, 2))
    # Eight shards are mixed at any time: a few of a hundred images follow their neighbour.
    follow = sum(a.shard == b.shard and abs(a.row - b.row) == 1 for a, b in pairwise(drawn))
    assert follow < 16
    assert len({each.shard for each in drawn[:40]}) > 4


def test_lanes_share_a_shard_only_at_their_ends() -> None:
    order = made([50] * 12, 4, 2)
    shards = [set() for _ in range(4)]
    for each in whole(order):
        shards[each.position % 4].add(each.shard)
    assert sum(map(len, shards)) <= 12 + 3
    for lane, used in enumerate(shards):
        blocks = [order.shards_of(lane, number) for number in range(3)]
        assert used == {each for block in blocks for each in block}
