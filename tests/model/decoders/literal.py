"""The paper's equations, transcribed literally: one caption at a time, loops, nothing shared.

Slow on purpose. It reads the weights of an `LSTMDecoder` by name and computes everything anew in
every step, so that it can be held against the equations line by line.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

from showattend.model.decoders.lstm import LSTMDecoder


def sigmoid(x: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + torch.exp(-x))


def softmax(x: torch.Tensor) -> torch.Tensor:
    powers = torch.exp(x - x.max())
    return powers / powers.sum()


def additive(
    p: dict[str, torch.Tensor], a: torch.Tensor, h: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Equations 4, 5 and 13: alpha [L] and the context z [D]."""
    e = []
    for a_i in a:
        projected = p["attention.W_a.weight"] @ a_i + p["attention.W_a.bias"]
        e.append(p["attention.v"] @ torch.tanh(projected + p["attention.W_h.weight"] @ h))
    alpha = softmax(torch.stack(e))
    z = torch.zeros_like(a[0])
    for alpha_i, a_i in zip(alpha, a, strict=True):
        z = z + alpha_i * a_i
    return alpha, z


def attend(
    p: dict[str, torch.Tensor], a: torch.Tensor, h: torch.Tensor, gate: str, look: Any
) -> tuple[Any, torch.Tensor]:
    """The weights, and the context times the gate (section 4.2.1)."""
    alpha, z = look(p, a, h)
    if gate != "none":
        z = sigmoid(p["f_beta.weight"] @ h + p["f_beta.bias"]) * z
    return alpha, z


def lstm(
    p: dict[str, torch.Tensor], e: torch.Tensor, h: torch.Tensor, c: torch.Tensor, z: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Equations 1 to 3."""
    T = p["lstm_word.weight"] @ e + p["lstm_word.bias"]
    T = T + p["lstm_hidden.weight"] @ h + p["lstm_context.weight"] @ z
    M = len(h)
    i, f, g, o = T[:M], T[M : 2 * M], T[2 * M : 3 * M], T[3 * M :]
    c = sigmoid(f) * c + sigmoid(i) * torch.tanh(g)
    return sigmoid(o) * torch.tanh(c), c


def caption_loss(
    decoder: LSTMDecoder, a: torch.Tensor, words: list[int], look: Any = additive
) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """-log p(words | a), every log-probability, and the maps [T, L].

    ``words`` begins with ``<start>`` and ends with ``<end>``; ``a`` is [L, D]. ``look`` is the
    attention; where it has no weights, there are no maps.
    """
    p = dict(decoder.named_parameters())
    if decoder.projection is not None:
        rows = [p["projection.weight"] @ a_i + p["projection.bias"] for a_i in a]
        a = torch.stack([row.clamp(min=0) for row in rows])
    mean = sum(a_i for a_i in a) / len(a)
    both = torch.tanh(p["initial.weight"] @ mean + p["initial.bias"])
    h, c = both[: decoder.hidden_dim], both[decoder.hidden_dim :]
    z = torch.zeros_like(mean)
    log_p, maps = [], []
    for previous, word in pairwise(words):
        Ey = p["embedding.weight"][previous]
        if decoder.attend_with == "previous":
            alpha, z = attend(p, a, h, decoder.gate, look)
            h, c = lstm(p, Ey, h, c, z)
        else:
            h, c = lstm(p, Ey, h, c, z)
            alpha, z = attend(p, a, h, decoder.gate, look)
        deep = Ey + p["L_h.weight"] @ h + p["L_h.bias"] + p["L_z.weight"] @ z
        logits = p["L_o.weight"] @ deep + p["L_o.bias"]
        log_p.append(torch.log(softmax(logits)[word]))
        maps.append(alpha)
    every = None if maps[0] is None else torch.stack(maps)
    return -torch.stack(log_p).sum(), torch.stack(log_p), every
