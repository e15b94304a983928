"""Builds the parts of a captioner from a config's sections; the parts take plain arguments.

The ``*_section`` functions go the other way: from a part to the section that builds it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from showattend.config import (
    AttentionConfig,
    DecoderConfig,
    EncoderConfig,
    from_dict,
    to_dict,
)
from showattend.exceptions import CheckpointError, ConfigError, UserError
from showattend.images.preprocessing import Preprocessing
from showattend.model.backbones import build_backbone, parse_name
from showattend.model.calibration import Calibration
from showattend.model.checkpoint import Checkpoint, unflatten
from showattend.model.decoders import DECODERS, RefinedDecoder
from showattend.model.decoders.refined import GridSelfAttention, innermost
from showattend.model.encoder import Encoder
from showattend.model.fast import fast_twin, without_weights
from showattend.model.kinds import takes
from showattend.model.search_options import SearchOptions
from showattend.text.vocabulary import Vocabulary


@contextmanager
def float32_by_default() -> Iterator[None]:
    """Build modules in float32, regardless of `torch.set_default_dtype`."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def build_encoder(
    *, name: str, pretrained: bool = True, beside: str | None = None, draw: bool = True
) -> Encoder:
    """Build a frozen encoder.

    Args:
        name: One of `RECIPES`, or ``timm:MODEL`` or ``torchvision:MODEL``.
        pretrained: Load ImageNet weights; False leaves them random (a checkpoint that carries
            encoder weights fills them in). See `build_backbone`.
        beside: See `Encoder`.
        draw: False if a checkpoint's weights are assigned next; see `build_backbone`.

    Raises:
        ConfigError: The name is unknown, the weights are not available, or ``beside`` is invalid.
        CheckpointError: The weights file does not match the recipe.
    """
    with float32_by_default():
        body, stages = build_backbone(name, pretrained, draw)
    encoder = Encoder(body, stages, name, beside)
    if pretrained:
        encoder.delivered = encoder.fingerprint()
    return encoder


def encoder_of(config: EncoderConfig, *, pretrained: bool, draw: bool = True) -> Encoder:
    """The frozen encoder that a config describes.

    Args:
        config: The encoder's name, and the stage that is added to the last one.
        pretrained: Load ImageNet weights, regardless of the config.
        draw: See `build_encoder`.

    Raises:
        ConfigError: See `build_encoder`.
        CheckpointError: See `build_encoder`.
    """
    return build_encoder(name=config.name, pretrained=pretrained, beside=config.beside, draw=draw)


def build_preprocessing(config: EncoderConfig) -> Preprocessing:
    """The preprocessing that the encoder's weights expect, at the config's size and fit."""
    recipe = parse_name(config.name)
    return Preprocessing(
        size=config.size or recipe.size, fit=config.fit, mean=recipe.mean, std=recipe.std
    )


def build_decoder(
    config: DecoderConfig,
    attention: AttentionConfig | None = None,
    encoder: EncoderConfig | None = None,
    *,
    vocabulary_size: int,
    feature_dim: int,
) -> Any:
    """The decoder that a config describes, in float32 and in its fast form if there is one.

    Args:
        config: The decoder section.
        attention: The attention section.
        encoder: The encoder section, for its layers of self-attention over the grid.
        vocabulary_size: V.
        feature_dim: D of the encoder's annotations.

    Returns:
        A module that follows `showattend.model.decoders.protocol.Decoder`.

    Raises:
        ConfigError: The kinds of decoder and attention, or their options, cannot be combined.
    """
    cls, attention = DECODERS[config.kind], attention or AttentionConfig()
    options, looking = dict(config.options), to_dict(attention)
    if takes(cls, "attention"):
        options["attention"] = looking
    elif attention != AttentionConfig():
        raise ConfigError(_unused(looking, config.kind))
    with float32_by_default():
        refine = _refinement(encoder or EncoderConfig(), feature_dim)
        decoder = fast_twin(cls, looking)(
            vocabulary_size=vocabulary_size,
            feature_dim=feature_dim if refine is None else refine.width,
            **options,
        )
    return decoder if refine is None else RefinedDecoder(refine, decoder)


def _unused(looking: dict[str, Any], kind: str) -> str:
    """The message if a config sets attention for a kind of decoder that takes none."""
    usual = to_dict(AttentionConfig())
    name, value = next((k, v) for k, v in looking.items() if k not in usual or v != usual[k])
    users = ", ".join(other for other, cls in DECODERS.items() if takes(cls, "attention"))
    return (
        f"attention.{name} is {value!r}, which decoder.kind {kind} does not take: it attends in "
        f"its own way, or not at all; leave it out, or use one of {users}"
    )


def _refinement(encoder: EncoderConfig, feature_dim: int) -> GridSelfAttention | None:
    """The layers over the grid that a config requests.

    Raises:
        ConfigError: One of their options is invalid.
    """
    if encoder.self_attention:
        return GridSelfAttention(
            feature_dim=feature_dim,
            layers=encoder.self_attention,
            width=encoder.self_attention_dim,
            heads=encoder.self_attention_heads,
            dropout=encoder.self_attention_dropout,
        )
    for name in ("self_attention_dim", "self_attention_heads", "self_attention_dropout"):
        if (value := getattr(encoder, name)) != getattr(EncoderConfig, name):
            raise ConfigError(
                f"encoder.{name} is {value:g}, but encoder.self_attention is 0; leave it out, or "
                "set the number of layers"
            )
    return None


def encoder_section(
    encoder: Encoder, preprocessing: Preprocessing, decoder: Any = None
) -> dict[str, Any]:
    """The keys of a config's encoder section that build this encoder again.

    Args:
        encoder: The backbone.
        preprocessing: The preprocessing of its input.
        decoder: The decoder, which may begin with layers of self-attention over the grid.

    Raises:
        ConfigError: No recipe has the encoder's name, so it could not be built again.
    """
    parse_name(encoder.backbone)
    return {
        "name": encoder.backbone,
        "beside": encoder.beside,
        "size": preprocessing.size,
        "fit": preprocessing.fit,
        **(decoder.refine.section if isinstance(decoder, RefinedDecoder) else {}),
    }


def decoder_sections(decoder: Any) -> dict[str, dict[str, Any]]:
    """A config's attention and decoder sections that build this decoder again.

    Args:
        decoder: A registered kind, possibly behind self-attention over the grid.

    Raises:
        ConfigError: Its kind is not registered.
    """
    inner = innermost(decoder)
    kinds = {cls: kind for kind, cls in DECODERS.items()}
    kind = next((kinds[cls] for cls in type(inner).__mro__ if cls in kinds), None)
    if kind is None:
        raise ConfigError(
            f"{type(inner).__name__} is not a registered kind of decoder, so it could not be built "
            f"again; known: {', '.join(DECODERS)}"
        )
    options = {"kind": kind, **inner.options}
    looking = options.pop("attention", {"kind": AttentionConfig.default})
    return {"attention": dict(looking), "decoder": to_dict(DecoderConfig(**options))}


class Parts(NamedTuple):
    """The parts of a captioner."""

    encoder: Encoder
    decoder: Any
    vocabulary: Vocabulary
    preprocessing: Preprocessing
    search: SearchOptions
    calibration: Calibration


def parts_of(checkpoint: Checkpoint, name: str) -> Parts:
    """Build what a checkpoint describes.

    Args:
        checkpoint: The loaded checkpoint.
        name: Its source, for messages.

    Raises:
        CheckpointError: Its parts do not fit together.
    """
    try:
        encoder_config = from_dict(EncoderConfig, checkpoint.config["encoder"], name)
        attention = checkpoint.config.get("attention", {})  # additive, before it had a section
        attention_config = from_dict(AttentionConfig, attention, name)
        decoder_config = from_dict(DecoderConfig, checkpoint.config["decoder"], name)
        search = SearchOptions.from_section(checkpoint.config["search"], name)
        preprocessing = Preprocessing.from_dict(checkpoint.preprocessing)
        vocabulary = Vocabulary.from_list(checkpoint.vocabulary)
        basis = checkpoint.weights.get("familiarity.basis")
        calibration = Calibration.from_dict(
            checkpoint.calibration, None if basis is None else basis.float().numpy()
        )
    except (AttributeError, KeyError, TypeError, UserError) as error:
        reason = str(error).removeprefix(f"{name}: ")
        raise CheckpointError(f"{name}: its header cannot be read ({reason})") from error
    parts = unflatten(
        {k: v.float() if v.is_floating_point() else v for k, v in checkpoint.weights.items()}
    )
    weights = {name: parts.get(name, {}) for name in ("encoder", "decoder")}
    encoder = encoder_of(encoder_config, pretrained=not weights["encoder"], draw=False)
    try:
        if weights["encoder"]:
            encoder.load_state_dict(weights["encoder"], assign=True)
        cls = RefinedDecoder if encoder_config.self_attention else DECODERS[decoder_config.kind]
        feature_dim = cls.feature_dim_of(weights["decoder"])
        with without_weights():
            decoder = build_decoder(
                decoder_config,
                attention_config,
                encoder_config,
                vocabulary_size=len(vocabulary),
                feature_dim=feature_dim,
            )
        if basis is not None and len(basis) != feature_dim:
            raise CheckpointError(f"{name}: its calibration belongs to another model")
        decoder.load_state_dict(weights["decoder"], assign=True)
    except (RuntimeError, KeyError, IndexError, OverflowError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{name}: weights do not fit the model ({reason})") from error
    # Weights that the checkpoint carries need no check, and as float16 they are not the same.
    if not weights["encoder"] and encoder.delivered != checkpoint.encoder_fingerprint:
        raise CheckpointError(
            f"{name}: was trained with other weights of {encoder_config.name} than are "
            "installed here; install the version of its model card"
        )
    return Parts(encoder, decoder, vocabulary, preprocessing, search, calibration)
