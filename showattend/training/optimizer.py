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
    """Build AdamW for the decoder and the trainable encoder stages.

    The ``part`` of a parameter group, "decoder" or "encoder", selects its learning rate. Weight
    decay applies to matrices only, not to biases, scales or word embeddings (most rows of which
    receive no gradient in a step).

    Args:
        decoder: The decoder.
        encoder_parameters: The trainable parameters of the encoder.
        weight_decay: The weight decay of matrices.
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
    """Return the learning rate of a step as a share of the peak rate.

    Args:
        step: The step, from 0.
        steps: The number of steps.
        warmup: The share of the steps in which the rate rises linearly.
        schedule: "cosine" or "constant".
    """
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    if schedule == "constant":
        return 1.0
    done = (step - rising) / max(1, steps - rising)
    return FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * done))
