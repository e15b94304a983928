"""From a config's sections to the parts of a captioner, which take plain arguments themselves."""

from __future__ import annotations

from showattend.backbones import parse_name
from showattend.config import DecoderConfig, EncoderConfig, to_dict
from showattend.decoders.lstm import LSTMDecoder
from showattend.encoders import Encoder, build_encoder
from showattend.images import Preprocessing


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


def build_decoder(config: DecoderConfig, *, vocabulary_size: int, feature_dim: int) -> LSTMDecoder:
    """The decoder that a config describes."""
    return LSTMDecoder(vocabulary_size=vocabulary_size, feature_dim=feature_dim, **to_dict(config))
