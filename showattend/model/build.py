"""From a config's sections to the parts of a captioner, which take plain arguments themselves.

The ``*_section`` functions go the other way: from a part to the section that builds it again.
"""

from __future__ import annotations

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
from showattend.model.backbones import parse_name
from showattend.model.calibration import Calibration
from showattend.model.checkpoint import Checkpoint, unflatten
from showattend.model.decoders import DECODERS
from showattend.model.encoder import Encoder, build_encoder, float32_by_default
from showattend.model.fast import fast_twin
from showattend.model.search_options import SearchOptions
from showattend.text.vocabulary import Vocabulary


def encoder_of(config: EncoderConfig, *, pretrained: bool) -> Encoder:
    """The frozen encoder that a config describes.

    Args:
        config: Its name, and what stands beside its last stage.
        pretrained: Load ImageNet weights, whatever the config says.

    Raises:
        ConfigError: As of `build_encoder`.
        CheckpointError: As of `build_encoder`.
    """
    return build_encoder(name=config.name, pretrained=pretrained, beside=config.beside)


def build_preprocessing(config: EncoderConfig) -> Preprocessing:
    """The preprocessing that the encoder's weights expect, at the config's size and fit."""
    recipe = parse_name(config.name)
    return Preprocessing(
        size=config.size or recipe.size, fit=config.fit, mean=recipe.mean, std=recipe.std
    )


def build_decoder(
    config: DecoderConfig,
    attention: AttentionConfig | None = None,
    *,
    vocabulary_size: int,
    feature_dim: int,
) -> Any:
    """The decoder that a config describes, in its fast form where there is one, in float32.

    Returns:
        A module that follows `showattend.model.decoders.protocol.Decoder`.

    Raises:
        ConfigError: There is no such kind of decoder or attention, or they do not go together.
    """
    options = to_dict(config)
    kind, looking = options.pop("kind"), to_dict(attention or AttentionConfig())
    if kind not in DECODERS:
        raise ConfigError(f"decoder.kind is {kind!r}; it must be one of {', '.join(DECODERS)}")
    with float32_by_default():
        return fast_twin(DECODERS[kind], looking)(
            vocabulary_size=vocabulary_size, feature_dim=feature_dim, attention=looking, **options
        )


def encoder_section(encoder: Encoder, preprocessing: Preprocessing) -> dict[str, Any]:
    """The keys of a config's encoder section that build this encoder again.

    Raises:
        ConfigError: No recipe has the encoder's name, so it could not be built again.
    """
    parse_name(encoder.backbone)
    return {
        "name": encoder.backbone,
        "beside": encoder.beside,
        "size": preprocessing.size,
        "fit": preprocessing.fit,
    }


def decoder_sections(decoder: Any) -> dict[str, dict[str, Any]]:
    """A config's attention and decoder sections that build this decoder again.

    Args:
        decoder: Of a kind in the registry.

    Raises:
        ConfigError: It is of no such kind.
    """
    kind = next((kind for kind, cls in DECODERS.items() if isinstance(decoder, cls)), None)
    if kind is None:
        raise ConfigError(
            f"{type(decoder).__name__} is no registered kind of decoder, so it could not be built "
            f"again; known: {', '.join(DECODERS)}"
        )
    options = {"kind": kind, **decoder.options}
    looking = options.pop("attention", {"kind": AttentionConfig().kind})
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
        checkpoint: As it was loaded.
        name: What it was loaded from, for messages.

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
    encoder = encoder_of(encoder_config, pretrained=not weights["encoder"])
    try:
        if weights["encoder"]:
            encoder.load_state_dict(weights["encoder"])
        if decoder_config.kind not in DECODERS:
            raise CheckpointError(
                f"{name}: decoder.kind is {decoder_config.kind!r}; this version knows "
                + ", ".join(DECODERS)
            )
        feature_dim = DECODERS[decoder_config.kind].feature_dim_of(weights["decoder"])
        with torch.device("meta"):  # no random numbers for weights that are there already
            decoder = build_decoder(
                decoder_config,
                attention_config,
                vocabulary_size=len(vocabulary),
                feature_dim=feature_dim,
            )
        if basis is not None and len(basis) != feature_dim:
            raise CheckpointError(f"{name}: its calibration is of another model")
        decoder.load_state_dict(weights["decoder"], assign=True)
    except (RuntimeError, KeyError, IndexError, OverflowError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{name}: weights do not fit the model ({reason})") from error
    # Weights that the checkpoint carries need no check, and as float16 they are not the same.
    if not weights["encoder"] and encoder.fingerprint() != checkpoint.encoder_fingerprint:
        raise CheckpointError(
            f"{name}: was trained with other weights of {encoder_config.name} than are "
            "installed here; install the version of its model card"
        )
    return Parts(encoder, decoder, vocabulary, preprocessing, search, calibration)
