"""The cost of each kind of attention and decoder, in one run.

The LSTM with soft additive attention is measured twice: as it is trained, in its fast code, and in
plain code like the other kinds, which is what they are compared with.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from measuring import Row, Spread, alternate, row
from rows import Setting, in_plain_code

from showattend.config import AttentionConfig, DecoderConfig
from showattend.exceptions import ConfigError
from showattend.model.attention import ATTENTIONS
from showattend.model.build import build_decoder
from showattend.model.decoders import DECODERS
from showattend.model.kinds import options_of
from showattend.training.decoder_cost import added_memory, work_of

GRID, QUICK_GRID = (14, 14), (4, 4)
FIRST = "lstm, additive"
PLAIN = f"{FIRST}, plain code"
NOTE = (
    f"A training step of 16 images with 5 captions of 12 words each on {GRID[0]} × {GRID[1]} "
    "annotations, forward and backward, in float32; the peak of its tensors in MB; a search with 5 "
    f"beams for 12 words. Only `{FIRST}` has fast code; all others run plain code and "
    f"compare with `{PLAIN}`."
)


def members(sizes: dict[str, Any]) -> dict[str, tuple[DecoderConfig, AttentionConfig]]:
    """Return the configs of all kinds by name: each attention with the LSTM, then each decoder."""
    lstm = DecoderConfig(attend_with="current", **sizes)
    found = {FIRST: (lstm, AttentionConfig())}
    for kind in ATTENTIONS:
        found[f"lstm, {kind}"] = lstm, AttentionConfig(kind=kind)
    found["lstm, additive, hard"] = lstm, AttentionConfig(mode="hard")
    ungated = DecoderConfig(attend_with="current", gate="none", **sizes)
    found["lstm, additive, sentinel"] = ungated, AttentionConfig(sentinel=True)
    for kind in DECODERS:
        if kind != "lstm":
            found[kind] = DecoderConfig(kind=kind, **_fitting(kind, sizes)), AttentionConfig()
    return found


def _fitting(kind: str, sizes: dict[str, Any]) -> dict[str, Any]:
    """Leave out the sizes that a kind does not have, and give a small Transformer few heads."""
    small = {"heads": 2, "feedforward_dim": 16} if sizes.get("hidden_dim", 512) < 64 else {}
    options = options_of(DECODERS[kind])
    return {name: value for name, value in {**sizes, **small}.items() if name in options}


def family(setting: Setting) -> list[Row]:
    """Time a training step and a search of each kind, in turn."""
    quick = setting.quick
    names = ("embedding_dim", "hidden_dim", "attention_dim")
    sizes: dict[str, Any] = dict.fromkeys(names, 8) if quick else {}
    images, grid = (2, QUICK_GRID) if quick else (16, GRID)
    feature_dim, vocabulary_size = (12, 30) if quick else (1280, 2500)
    built: dict[str, Any] = {"vocabulary_size": vocabulary_size, "feature_dim": feature_dim}
    decoders: dict[str, Any] = {}
    for name, (decoder, attention) in members(sizes).items():
        torch.manual_seed(0)
        try:
            decoders[name] = build_decoder(decoder, attention, **built)
            if name == FIRST:
                plainly = in_plain_code(partial(build_decoder, decoder, attention, **built))
                decoders[PLAIN] = plainly()
        except ConfigError as error:
            print(f"{name}: {error}")
    work = {name: work_of(decoder, grid, images) for name, decoder in decoders.items()}
    repeats = min(setting.repeats, 3)
    steps = alternate({name: each.step for name, each in work.items()}, repeats)
    searches = alternate({name: each.search for name, each in work.items()}, repeats)
    found = []
    for name, decoder in decoders.items():
        extra = {
            "search": asdict(Spread.of([each / images for each in searches[name]])),
            "megabytes": added_memory(work[name].step, torch.device("cpu")),
            "parameters": sum(parameter.numel() for parameter in decoder.parameters()),
        }
        seconds = {"ours": steps[name], "usual": steps[PLAIN]}
        found.append(row(name, seconds, note="" if quick else NOTE, extra=extra))
    return found
