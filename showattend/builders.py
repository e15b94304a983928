"""From a config's sections to the parts of a captioner, which take plain arguments themselves.

The ``*_section`` functions go the other way: from a part to the section that builds it again.
"""

from __future__ import annotations

from typing import Any

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


def decoder_section(decoder: LSTMDecoder) -> dict[str, Any]:
    """A config's decoder section that builds this decoder again."""
    projection = decoder.projection
    section = DecoderConfig(
        embedding_dim=decoder.embedding.embedding_dim,
        hidden_dim=decoder.hidden_dim,
        attention_dim=decoder.attention_dim,
        gate=decoder.gate,
        attend_with=decoder.attend_with,
        embedding_dropout=decoder.embedding_dropout,
        feature_dropout=decoder.feature_dropout,
        dropout=decoder.dropout,
        projection_dim=0 if projection is None else projection.out_features,
    )
    return to_dict(section)
