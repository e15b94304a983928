"""The largest values by blocks are those of `torch.topk`."""

from __future__ import annotations

import pytest
import torch

from showattend.model.fast.by_blocks import BLOCK, largest_in_blocks


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", [1, 7, BLOCK, 40 * BLOCK, 40 * BLOCK + 1, 41 * BLOCK - 1])
@pytest.mark.parametrize("count", [1, 5, 13])
def test_it_finds_what_topk_finds(dtype: torch.dtype, size: int, count: int) -> None:
    generator = torch.Generator().manual_seed(size)
    values = torch.randn(4, 3, size, generator=generator, dtype=torch.float64).to(dtype)
    count = min(count, size)
    best, index = largest_in_blocks(values, count)
    assert torch.equal(best, values.topk(count).values)
    assert torch.equal(values.gather(2, index), best)
    assert all(len(set(row)) == count for row in index.flatten(0, 1).tolist())


@pytest.mark.parametrize("where", ["start", "spread", "rest"])
def test_wherever_they_are(where: str) -> None:
    """All in one block, one in each of several blocks, or all after the last whole block."""
    size = 40 * BLOCK + 9
    places = {
        "start": range(6),
        "spread": range(0, 12 * BLOCK, 2 * BLOCK),
        "rest": range(size - 6, size),
    }[where]
    values = torch.zeros(2, size)
    values[:, list(places)] = torch.arange(1.0, 7.0)
    best, index = largest_in_blocks(values, 6)
    assert best[0].tolist() == [6, 5, 4, 3, 2, 1]
    assert index[1].tolist() == list(places)[::-1]


def test_equal_values_are_found_once_each() -> None:
    values = torch.zeros(3, 30 * BLOCK)
    values[:, ::7] = 1.0
    best, index = largest_in_blocks(values, 12)
    assert best.eq(1).all()
    assert all(len(set(row)) == 12 for row in index.tolist())
    assert (index % 7).eq(0).all()


def test_infinities_and_nan_rank_as_in_topk() -> None:
    values = torch.full((1, 30 * BLOCK + 3), -torch.inf)
    values[0, [5, 100, 1000, 1921]] = torch.tensor([torch.nan, torch.inf, 1.0, 2.0])
    best, index = largest_in_blocks(values, 4)
    assert index[0].tolist() == values.topk(4).indices[0].tolist() == [5, 100, 1921, 1000]
    assert best[0, 0].isnan()


def test_columns_of_a_larger_tensor_and_views() -> None:
    values = torch.randn(6, 5, 33 * BLOCK)[::2, 1:, 3:]
    best, index = largest_in_blocks(values, 4)
    assert torch.equal(best, values.topk(4).values)
    assert torch.equal(values.gather(2, index), best)
