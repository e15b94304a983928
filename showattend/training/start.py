"""Starting a run from the weights of a model that is there already."""

from __future__ import annotations

from torch import nn

from showattend.captioner import Captioner
from showattend.config import EncoderConfig
from showattend.encoders import Encoder
from showattend.errors import ConfigError
from showattend.text import Vocabulary


def take_encoder(source: Captioner, encoder: Encoder, config: EncoderConfig, where: str) -> bool:
    """Give the encoder the weights of the source's.

    Args:
        source: The model to start from.
        encoder: Built as the config says.
        config: What the run wants.
        where: What the source was loaded from, for messages.

    Returns:
        Whether they were other weights than the encoder had.

    Raises:
        ConfigError: The source sees images through another encoder than the config's.
    """
    size, fit = source.preprocessing.size, source.preprocessing.fit
    for key, wanted, theirs in (
        ("name", encoder.name, source.encoder.name),
        ("size", config.size or size, size),
        ("fit", config.fit, fit),
    ):
        if wanted != theirs:
            raise ConfigError(
                f"train.init_from: {where} has encoder.{key} {theirs}, the config {wanted}; "
                "they must be the same"
            )
    before = encoder.fingerprint()
    encoder.load_state_dict(source.encoder.state_dict())
    return encoder.fingerprint() != before


def take_decoder(source: Captioner, decoder: nn.Module, vocabulary: Vocabulary, where: str) -> None:
    """Give the decoder the weights of the source's.

    Args:
        source: The model to start from.
        decoder: Built as the config says.
        vocabulary: The words of the run.
        where: What the source was loaded from, for messages.

    Raises:
        ConfigError: Its words are others, or its decoder is of another shape.
    """
    if source.vocabulary != vocabulary:
        raise ConfigError(
            f"train.init_from: {where} knows other words ({len(source.vocabulary):,}) than this "
            f"data set gives ({len(vocabulary):,})"
        )
    try:
        decoder.load_state_dict(source.decoder.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(
            f"train.init_from: {where} has another decoder than the config ({reason})"
        ) from error
