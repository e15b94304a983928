"""Captions sampled from the model's distribution, for self-critical training and for users.

Shape suffixes: B images, K captions of an image, V vocabulary, T time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from showattend.decoding.forced import force_all
from showattend.decoding.hypotheses import Hypothesis, as_numbers, score_of
from showattend.model.decoders.protocol import Decoder, choose_images, repeat
from showattend.model.search_options import check_prefix, check_words, word_numbers
from showattend.system.checks import real_number, whole_number
from showattend.text.vocabulary import Vocabulary


class Samples(NamedTuple):
    """Captions sampled from the model, in the form that teacher forcing takes."""

    captions: torch.Tensor  # [B, K, T + 2]: <start>, words, <end>, padded with <pad>
    lengths: torch.Tensor  # [B, K]: words and <end>; only the words if the caption was cut off

    def distinct(self, image: int) -> list[tuple[int, ...]]:
        """Return the distinct captions of an image in the order drawn, as word ids with <end>."""
        lines = zip(self.captions[image].tolist(), self.lengths[image].tolist(), strict=True)
        return list(dict.fromkeys(tuple(line[1 : length + 1]) for line, length in lines))


@torch.inference_mode()
def sample(
    decoder: Decoder,
    features: torch.Tensor,
    *,
    samples: int,
    max_length: int = 30,
    temperature: float = 1.0,
    prefix: tuple[int, ...] = (),
    banned: tuple[int, ...] = (),
    generator: torch.Generator | None = None,
) -> Samples:
    """Sample captions word by word from the model's distribution.

    Special words other than ``<end>`` are never sampled.

    Args:
        decoder: Any decoder, in eval mode.
        features: Annotations [B, H, W, D].
        samples: K, the number of captions per image.
        max_length: The most words of a caption.
        temperature: Divides the log-probabilities: below 1, probable words become more probable.
        prefix: Words that every caption begins with, ``<unk>`` allowed.
        banned: Words that are not sampled after the prefix.
        generator: The source of random numbers; None for PyTorch's default.

    Returns:
        The captions [B, K, T + 2] and their lengths [B, K].

    Raises:
        ConfigError: A number is out of range, the prefix holds a special word or leaves no room
            for another word, or a word is not in the decoder's vocabulary.
    """
    samples = whole_number("samples", samples, 1, 100_000)
    max_length = whole_number("max_length", max_length, 1, 1000)
    temperature = real_number("temperature", temperature, 1e-4, 1e4)
    prefix, banned = word_numbers("prefix", prefix), word_numbers("banned", banned)
    check_prefix(prefix, max_length)
    memory = decoder.memory(features)
    state = repeat(decoder.start(memory), samples)
    B, device = features.shape[0], features.device
    END, PAD = Vocabulary.END, Vocabulary.PAD
    words = torch.full((B, samples), Vocabulary.START, device=device)
    captions = torch.full((B, samples, max_length + 2), PAD, device=device)
    captions[:, :, 0] = Vocabulary.START
    done = torch.zeros_like(words, dtype=torch.bool)
    images = torch.arange(B, device=device)  # the image of each row; finished images leave
    never = torch.tensor([PAD, Vocabulary.START, Vocabulary.UNK, *banned], device=device)
    for t in range(max_length):
        step = decoder.step(words, state, memory)
        if t == 0:
            check_words((*prefix, *banned), step.log_probs.shape[-1])
        state, log_probs = step.state, as_numbers(step.log_probs.float()) / temperature
        log_probs[:, :, never] = -torch.inf  # below BANNED, which a broken model may leave
        # One random number per word: torch.multinomial would draw one per vocabulary entry.
        cumulated = log_probs.softmax(-1).cumsum(-1)
        total = cumulated[:, :, -1:]
        # Stay below the total despite rounding, so that the word found has a probability above 0.
        random = (
            torch.rand_like(total)
            if generator is None
            else torch.rand(total.shape, generator=generator, dtype=total.dtype, device=device)
        )
        level = random * total * (1 - 1e-6)
        drawn = torch.searchsorted(cumulated, level, right=True).squeeze(2)
        if t < len(prefix):
            drawn = torch.full_like(drawn, prefix[t])
        words = torch.where(done, PAD, drawn)
        captions[images, :, t + 1] = words
        done = done | (words == END)
        over = done.all(1)
        if (count := int(over.sum())) == len(over):
            break
        if count * 4 >= len(over):
            left = (~over).nonzero().squeeze(1)
            images, words, done = images[left], words[left], done[left]
            state = choose_images(state, left)
            memory = choose_images(memory, left)
    captions = captions[:, :, : t + 3]
    return Samples(captions, (captions[:, :, 1:] != PAD).sum(2))


@torch.inference_mode()
def sample_ranked(
    decoder: Decoder, features: torch.Tensor, *, length_penalty: float, **options: Any
) -> list[Hypothesis]:
    """Sample captions of one image, and rank them as search would.

    Args:
        decoder: Any decoder, in eval mode.
        features: Annotations [1, H, W, D].
        length_penalty: The length penalty of the scores (`score_of`).
        **options: Options of `sample`.

    Returns:
        The distinct captions with their maps, best first.

    Raises:
        ConfigError: See `sample`.
    """
    said = sample(decoder, features, **options).distinct(0)
    words = [[word for word in each if word != Vocabulary.END] for each in said]
    found = []
    for each, hypothesis in zip(said, force_all(decoder, features, words), strict=True):
        log_probs = hypothesis.log_probs[: len(each)]  # without <end> if it was cut off
        score = score_of(log_probs, length_penalty)
        found.append(hypothesis._replace(log_probs=log_probs, score=score))
    return sorted(found, key=lambda each: -each.score)
