"""AdamW with warm-up and decay."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

SCHEDULES = ("cosine", "constant")
FINAL_SHARE = 0.02  # of the peak rate, at the end of the cosine


def build_optimizer(
    decoder: nn.Module,
    encoder_parameters: Iterable[nn.Parameter],
    *,
    weight_decay: float,
) -> torch.optim.AdamW:
    """AdamW over the decoder and the opened encoder stages.

    A group's ``part``, "decoder" or "encoder", says whose learning rate it is to be given. Weight
    decay is on matrices; biases, scales and word embeddings (most of whose rows see no gradient
    in a step) are free of it.
    """
    embeddings = {
        id(module.weight) for module in decoder.modules() if isinstance(module, nn.Embedding)
    }
    groups = []
    parts = (("decoder", list(decoder.parameters())), ("encoder", list(encoder_parameters)))
    for part, parameters in parts:
        matrices = [p for p in parameters if p.ndim > 1 and id(p) not in embeddings]
        others = [p for p in parameters if p.ndim <= 1 or id(p) in embeddings]
        groups += [
            {"params": members, "part": part, "weight_decay": decay}
            for members, decay in ((matrices, weight_decay), (others, 0.0))
            if members
        ]
    fused = all(p.device.type in ("cpu", "cuda") for p in decoder.parameters())
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=fused)


def rate_share(step: int, steps: int, *, warmup: float, schedule: str) -> float:
    """The share of the peak learning rate at a step (counted from 0) of ``steps``."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    if schedule == "constant":
        return 1.0
    done = (step - rising) / max(1, steps - rising)
    return FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * done))
