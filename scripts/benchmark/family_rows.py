"""The cost of each kind of attention and decoder, next to additive attention in the same run."""

from __future__ import annotations

from typing import Any

import torch
from measuring import Row, Spread, alternate, row
from rows import Setting

from showattend.config import AttentionConfig, DecoderConfig
from showattend.exceptions import ConfigError
from showattend.model.attention import ATTENTIONS
from showattend.model.build import build_decoder
from showattend.model.decoders import DECODERS
from showattend.model.kinds import options_of
from showattend.training.decoder_cost import added_memory, work_of

GRID, QUICK_GRID = (14, 14), (4, 4)
FIRST = "lstm, additive"


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
    decoders: dict[str, Any] = {}
    for name, (decoder, attention) in members(sizes).items():
        torch.manual_seed(0)
        try:
            decoders[name] = build_decoder(
                decoder, attention, vocabulary_size=vocabulary_size, feature_dim=feature_dim
            )
        except ConfigError as error:
            print(f"{name}: {error}")
    work = {name: work_of(decoder, grid, images) for name, decoder in decoders.items()}
    repeats = min(setting.repeats, 3)
    steps = alternate({name: each.step for name, each in work.items()}, repeats)
    searches = alternate({name: each.search for name, each in work.items()}, repeats)
    found = []
    for name, decoder in decoders.items():
        millions = sum(parameter.numel() for parameter in decoder.parameters()) / 1e6
        memory = added_memory(work[name].step, torch.device("cpu"))
        seconds = {"ours": steps[name], "usual": steps[FIRST]}
        per_photo = Spread.of([1000 * each / images for each in searches[name]])
        note = f"search {per_photo} ms per photo, {millions:.1f} million parameters"
        note += "" if memory is None else f", {memory:.0f} MB per step"
        found.append(row(f"training step, {name}; ratio to {FIRST}", seconds, note=note))
    return found
