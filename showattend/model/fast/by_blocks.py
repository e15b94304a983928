"""The largest of many values per row, found in blocks; `torch.topk` reads them one by one."""

from __future__ import annotations

import torch

BLOCK = 64


def largest_in_blocks(values: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the largest values along the last dimension: ``values.topk(count)``, but faster.

    The maxima of blocks of values are computed first. The ``count`` largest values are in the
    ``count`` blocks with the largest maxima, so only these are searched.

    Args:
        values: Real numbers [..., V]. NaN counts as the largest value.
        count: The number of values to find, at most V.

    Returns:
        The values [..., count], largest first, and their indices [..., count]. Among equal values,
        the choice is not specified, as in `torch.topk`.
    """
    V = values.shape[-1]
    rows, blocks = values.reshape(-1, V), V // BLOCK
    if blocks <= 2 * count:  # most blocks would be searched
        best, index = values.topk(count)
        return best, index
    whole = blocks * BLOCK
    body = rows[:, :whole].unflatten(1, (blocks, BLOCK))
    chosen = body.amax(2).topk(count, sorted=False).indices
    candidates = body[torch.arange(len(rows), device=rows.device).unsqueeze(1), chosen]
    best, place = torch.cat([candidates.flatten(1), rows[:, whole:]], 1).topk(count)
    block = chosen.gather(1, (place // BLOCK).clamp(max=count - 1))
    after = place - count * BLOCK  # in the rest, which fills no block
    index = torch.where(after < 0, block * BLOCK + place % BLOCK, whole + after)
    shape = (*values.shape[:-1], count)
    return best.reshape(shape), index.reshape(shape)
