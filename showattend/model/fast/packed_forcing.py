"""Teacher forcing for all captions of a batch, in as few products as possible.

Shape suffixes: B images, K captions of an image, T time, L locations, D feature, N real tokens of
a batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from showattend.model.decoders.lstm import State
from showattend.model.decoders.protocol import Forced, repeat
from showattend.model.fast.exponentials import share_powers
from showattend.model.fast.prepared import Shared
from showattend.model.fast.shared_gradient import SharedContext

if TYPE_CHECKING:
    from showattend.model.fast.fused_lstm import FusedLSTMDecoder


def packed_forcing(
    decoder: FusedLSTMDecoder,
    features: torch.Tensor,
    captions_BKT: torch.Tensor,
    lengths_BK: torch.Tensor,
) -> Forced:
    """Run teacher forcing over a batch of images with all their captions.

    Captions end at different times. Images are sorted by their longest caption, and the captions of
    an image by their length, longest first. The captions that are still active at time t are then
    within a leading block of both axes, and the loop computes little more than real tokens.
    Everything outside the recurrence is one product over all tokens.

    Args:
        decoder: The decoder.
        features: Annotations [B, L, D] in the precision of the computation.
        captions_BKT: ``<start> y_1 .. y_C <end>``, padded with ``<pad>``.
        lengths_BK: The number of targets of each caption (its words and ``<end>``); 0 if an image
            has fewer than K captions.

    Returns:
        Logits [N, V] and targets [N] of the N real tokens, in no particular order, and the coverage
        [B, K, L] in the order of the arguments.
    """
    lengths_BK, within = lengths_BK.sort(dim=1, descending=True, stable=True)
    captions_BKT = captions_BKT.gather(1, within.unsqueeze(2).expand_as(captions_BKT))
    order = lengths_BK[:, 0].argsort(dim=0, descending=True, stable=True)
    lengths_BK, captions_BKT = lengths_BK[order], captions_BKT[order]
    number_BK = order.unsqueeze(1) * lengths_BK.shape[1] + within[order]
    memory = decoder.memory(features[order])
    state = repeat(decoder.start(memory), lengths_BK.shape[1])
    if torch.is_grad_enabled():
        shared = Shared(SharedContext(memory.features), share_powers(memory.keys, memory.weights.v))
        memory = memory._replace(keys=shared.keys.value, shared=shared)

    blocks = _alive(lengths_BK)

    def pack(at: Callable[[int], torch.Tensor]) -> torch.Tensor:
        """Concatenate the active block of every time step."""
        return torch.cat([at(t)[:b, :k].flatten() for t, (b, k) in enumerate(blocks)])

    words = pack(lambda t: captions_BKT[:, :, t])
    targets = pack(lambda t: captions_BKT[:, :, t + 1])
    numbers = pack(lambda _: number_BK)
    is_real = pack(lambda t: lengths_BK > t)
    embedded, read = decoder.embed(words, memory)
    coverage_BKL = torch.zeros(
        *lengths_BK.shape,
        memory.features.shape[1],
        dtype=torch.promote_types(features.dtype, torch.float32),
        device=features.device,
    )
    hidden, context = [], []
    sizes = [b * k for b, k in blocks]
    of_step = read.split(sizes), is_real.split(sizes)
    for (b, k), word, counts in zip(blocks, *of_step, strict=True):
        if state.h.shape[:2] != (b, k):
            state = State(*(part[:b, :k] for part in state))
        alive_now = memory._replace(features=memory.features[:b], keys=memory.keys[:b])
        state, alpha, _ = decoder.recur(word.unflatten(0, (b, k)), state, alive_now)
        coverage_BKL = coverage_BKL + F.pad(
            alpha * counts.view(b, k, 1),
            (0, 0, 0, coverage_BKL.shape[1] - k, 0, coverage_BKL.shape[0] - b),
        )
        hidden.append(state.h.flatten(0, 1))
        context.append(state.z.flatten(0, 1))
    h, z = torch.cat(hidden), torch.cat(context)
    real = is_real.nonzero().squeeze(1)
    if len(real) < len(is_real):
        embedded, h, z = (part.index_select(0, real) for part in (embedded, h, z))
        targets, numbers = targets[real], numbers[real]
    logits = decoder.logits(embedded, h, z, memory)
    # Back to the order of the arguments.
    coverage_BKL = coverage_BKL[order.argsort()]
    coverage_BKL = coverage_BKL.gather(1, within.argsort(1).unsqueeze(2).expand_as(coverage_BKL))
    return Forced(logits, targets, numbers, coverage_BKL)


def _alive(lengths_BK: torch.Tensor) -> list[tuple[int, int]]:
    """Return, for each step, the size of the leading block that holds all active captions.

    Args:
        lengths_BK: Lengths, sorted along both axes, longest first.
    """
    steps = torch.arange(int(lengths_BK.max()), device=lengths_BK.device).view(-1, 1, 1)
    alive_TBK = lengths_BK > steps
    alive_TB, alive_TK = alive_TBK[:, :, 0].sum(1).tolist(), alive_TBK.any(1).sum(1).tolist()
    # Rounded up to a multiple of 4, so that the CPU can reuse kernels prepared for few shapes.
    rounded = (min(-(-b // 4) * 4, len(lengths_BK)) for b in alive_TB)
    return list(zip(rounded, alive_TK, strict=True))
