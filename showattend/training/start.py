"""Starting a run from an existing model: its weights and its vocabulary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from showattend.captioner import Captioner
from showattend.config import Config, EncoderConfig
from showattend.data.records import Record
from showattend.exceptions import ConfigError, ImageError
from showattend.model.encoder import Encoder, encode
from showattend.text.tokenizer import tokenize
from showattend.text.vocabulary import Vocabulary
from showattend.training.phases import ADJUSTED, SELF_CRITICAL

_FEATURES = "an encoder with features of size"


def take_encoder(source: Captioner, encoder: Encoder, config: EncoderConfig, where: str) -> bool:
    """Copy the weights of the source's encoder.

    The input size may differ, since the weights do not depend on it. The config may also add an
    earlier stage (``encoder.beside``) if the source has none and its decoder can be extended
    (`take_decoder`).

    Args:
        source: The model to start from.
        encoder: The encoder built from the config.
        config: The config's encoder section.
        where: The path or name of the source, for messages.

    Returns:
        Whether a model with this encoder must include the encoder's weights, as the source does.

    Raises:
        ConfigError: The source has another encoder than the config.
    """
    kept = [
        ("name", encoder.backbone, source.encoder.backbone),
        ("fit", config.fit, source.preprocessing.fit),
    ]
    grows = source.decoder.with_more_features(source.decoder.state_dict(), 0) is not None
    if source.encoder.beside is not None or not grows:
        kept.insert(1, ("beside", encoder.beside or "", source.encoder.beside or ""))
    for key, wanted, theirs in kept:
        if wanted != theirs:
            raise ConfigError(
                f"train.init_from: {where} has encoder.{key} {theirs or None}, the config "
                f"{wanted or None}; they must be the same"
            )
    encoder.load_state_dict(source.encoder.state_dict())
    encoder.delivered = source.encoder.delivered
    return source.carries_encoder


def done_before(source: Captioner | None, config: Config) -> list[str]:
    """Return a warning for each adjustment of the words' scores that the source already had."""
    history = source.record.get("history") if source is not None else None
    entries = history if isinstance(history, list) else []
    phases = {str(entry.get("phase")) for entry in entries if isinstance(entry, dict)}
    critical = config.self_critical
    warnings = []
    if SELF_CRITICAL in phases and critical.epochs and critical.temperature != 1:
        warnings.append(
            f"warning: {config.train.init_from} was already trained with a reward; its scores are "
            f"divided by self_critical.temperature ({critical.temperature:g}) again; 1 leaves "
            "them unchanged"
        )
    if ADJUSTED in phases and config.train.rare_words:
        warnings.append(
            f"warning: {config.train.init_from} already favours rare words; train.rare_words "
            f"({config.train.rare_words:g}) is added to that; 0 leaves it unchanged"
        )
    return warnings


def merge_words(known: Vocabulary, vocabulary: Vocabulary) -> Vocabulary:
    """Extend a model's vocabulary: its words keep their numbers, and new words follow."""
    return Vocabulary([*known.words, *(word for word in vocabulary.words if word not in known)])


def take_decoder(source: Captioner, decoder: Any, where: str) -> None:
    """Copy the weights of the source's decoder.

    New words start with the mean embedding of the known words (Hewitt 2021, "Initializing New Word
    Embeddings for Pretrained Language Models"), and with the lowest of their biases. If the config
    adds an earlier encoder stage, the weights for its features start at zero: at first the model
    captions as before, on a finer grid, and then learns to use them.

    Args:
        source: The model to start from.
        decoder: The decoder built from the config, for the vocabulary from `merge_words`.
        where: The path or name of the source, for messages.

    Raises:
        ConfigError: The source's decoder has another shape.
    """
    theirs, wanted = _make(source.decoder), _make(decoder)
    weights = source.decoder.state_dict()
    if source.encoder.beside is None and theirs[_FEATURES] < wanted[_FEATURES]:
        more = wanted[_FEATURES] - theirs[_FEATURES]
        if wider := source.decoder.with_more_features(weights, more):
            weights, theirs = wider, theirs | {_FEATURES: wanted[_FEATURES]}
    if other := [key for key in {**wanted, **theirs} if theirs.get(key) != wanted.get(key)]:
        told = "; ".join(f"{key} {theirs.get(key)}, the config {wanted.get(key)}" for key in other)
        raise ConfigError(f"train.init_from: {where} has {told}; they must be the same")
    names = {id(parameter): name for name, parameter in decoder.named_parameters()}
    first, known = len(Vocabulary.SPECIALS), len(source.vocabulary)
    new = decoder.output.out_features - known
    for tensor in (decoder.embedding.weight, decoder.output.weight):
        key = names[id(tensor)]
        mean = weights[key][first:].mean(0, keepdim=True)
        weights[key] = torch.cat([weights[key], mean.expand(new, -1)])
    key = names[id(decoder.output.bias)]
    weights[key] = torch.cat([weights[key], weights[key][first:].min().expand(new)])
    try:
        decoder.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(
            f"train.init_from: {where} has another decoder than the config ({reason})"
        ) from error


@torch.inference_mode()
def fit_temperature(source: Captioner, records: Sequence[Record], images: int = 64) -> float:
    """Find the temperature that makes human captions most probable when it divides the logits.

    Self-critical training leaves a model far too confident. Cross-entropy training would spend its
    first epochs on correcting that, and forget much in the process.

    Args:
        source: The model.
        records: Images with captions. Images that cannot be opened are skipped.
        images: About how many of them to use.

    Returns:
        A temperature from 0.25 to 8 with two decimals; 1 if no image can be opened.
    """
    logits, targets = [], []
    for record in records[:: max(1, len(records) // images)]:
        try:
            pixels, _ = source.preprocessing.load_pixels(record.path)
        except ImageError:
            continue
        said = [source.vocabulary.encode(tokenize(text)) for text in record.captions]
        rows = [torch.tensor([Vocabulary.START, *words, Vocabulary.END]) for words in said if words]
        if not rows:
            continue
        captions = torch.nn.utils.rnn.pad_sequence(rows, True, Vocabulary.PAD).unsqueeze(0)
        lengths = torch.tensor([[len(row) - 1 for row in rows]])
        batch = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).to(source.device)
        features = encode(source.encoder, batch, source.preprocessing, source.dtype)
        forced = source.decoder(features, captions.to(source.device), lengths.to(source.device))
        known = forced.targets != Vocabulary.UNK  # never produced by search
        logits.append(forced.logits[known].float())
        targets.append(forced.targets[known])
    if not targets:
        return 1.0
    scores, wanted = torch.cat(logits), torch.cat(targets)

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(scores / math.exp(log_temperature), wanted))

    low, high = math.log(0.25), math.log(8)
    while high - low > 0.01:  # ternary search: the loss has one minimum
        third = (high - low) / 3
        if loss(low + third) < loss(high - third):
            high -= third
        else:
            low += third
    return round(math.exp((low + high) / 2), 2)


def _make(decoder: Any) -> dict[str, Any]:
    """Return the options that must agree for weights to fit; shapes do not reveal all of them."""
    return {**decoder.sizes, _FEATURES: decoder.feature_dim}
