"""Starting a run from a model that is there already: its weights and its words."""

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
    """Give the encoder the weights of the source's.

    Args:
        source: The model to start from.
        encoder: Built as the config says.
        config: What the run wants.
        where: What the source was loaded from, for messages.

    Returns:
        Whether a model with this encoder has to carry its weights, as the source does.

    Raises:
        ConfigError: The source sees images through another encoder than the config's. Another
            size is no hindrance: the weights are the same. Nor is a stage beside the last one
            where the source has none and projects its annotations (`take_decoder`).
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
    """What a run would do to the scores of words although the source's have had it; a line each."""
    history = source.record.get("history", []) if source is not None else []
    phases, critical = {entry.get("phase") for entry in history}, config.self_critical
    warnings = []
    if SELF_CRITICAL in phases and critical.epochs and critical.temperature != 1:
        warnings.append(
            f"warning: {config.train.init_from} was trained by reward before; its scores are "
            f"divided by self_critical.temperature ({critical.temperature:g}) once more, 1 leaves "
            "them as they are"
        )
    if ADJUSTED in phases and config.train.rare_words:
        warnings.append(
            f"warning: {config.train.init_from} favours rare words already; train.rare_words "
            f"({config.train.rare_words:g}) is added to that, 0 leaves it as it is"
        )
    return warnings


def merge_words(known: Vocabulary, vocabulary: Vocabulary) -> Vocabulary:
    """The words of a model, each with the number it has there, then those it lacks."""
    return Vocabulary([*known.words, *(word for word in vocabulary.words if word not in known)])


def take_decoder(source: Captioner, decoder: Any, where: str) -> None:
    """Give the decoder the weights of the source's.

    Words that the source lacks begin as the mean of the words it knows (Hewitt 2021,
    "Initializing New Word Embeddings for Pretrained Language Models"), and as unlikely as the
    least likely of them. Where an earlier encoder stage has come to stand beside the last one, its
    features get weights of zero in the projection: the model begins by saying what it said, on a
    finer grid, and learns to use them.

    Args:
        source: The model to start from.
        decoder: Built as the config says, for the words of `merge_words`.
        where: What the source was loaded from, for messages.

    Raises:
        ConfigError: Its decoder is of another shape.
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
    """What to divide a model's word scores by, for people's captions to be likeliest.

    Self-critical training leaves a model far too sure of its words. Cross-entropy would spend its
    first epochs on that alone, and forget much meanwhile.

    Args:
        source: The model.
        records: Images with captions; some of them are looked at, and those that cannot be opened
            are passed over.
        images: How many.

    Returns:
        From 0.25 to 8, in two decimals; 1 where no image can be opened.
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
        known = forced.targets != Vocabulary.UNK  # a model says that never
        logits.append(forced.logits[known].float())
        targets.append(forced.targets[known])
    if not targets:
        return 1.0
    scores, wanted = torch.cat(logits), torch.cat(targets)

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(scores / math.exp(log_temperature), wanted))

    low, high = math.log(0.25), math.log(8)
    while high - low > 0.01:  # it has one minimum
        third = (high - low) / 3
        if loss(low + third) < loss(high - third):
            high -= third
        else:
            low += third
    return round(math.exp((low + high) / 2), 2)


def _make(decoder: Any) -> dict[str, Any]:
    """What is the same of decoders that weights fit; shapes alone would not tell all of it."""
    return {**decoder.sizes, _FEATURES: decoder.feature_dim}
