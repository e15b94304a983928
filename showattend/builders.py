"""From a config's sections to the parts of a captioner, which take plain arguments themselves."""

from __future__ import annotations

from typing import Any

from showattend.backbones import parse_name
from showattend.config import AttentionConfig, DecoderConfig, EncoderConfig, to_dict
from showattend.encoders import Encoder, build_encoder
from showattend.errors import ConfigError
from showattend.images import Preprocessing
from showattend.model.decoders import DECODERS
from showattend.model.fast import fast_twin


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
    """The decoder that a config describes, in its fast form where there is one.

    Returns:
        A module that follows `showattend.model.decoders.base.Decoder`.

    Raises:
        ConfigError: There is no such kind of decoder or attention.
    """
    options = to_dict(config)
    kind, scoring = options.pop("kind"), (attention or AttentionConfig()).kind
    if kind not in DECODERS:
        raise ConfigError(f"decoder.kind is {kind!r}; it must be one of {', '.join(DECODERS)}")
    return fast_twin(DECODERS[kind], scoring)(
        vocabulary_size=vocabulary_size, feature_dim=feature_dim, attention=scoring, **options
    )
