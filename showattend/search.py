"""Greedy and beam search over a batch of images, attention maps included; and sampling.

Search knows decoders only by a protocol (`Decoder`), and keeps one record a time step: the word
of each hypothesis, the hypothesis it continues, and where the model looked. A caption and its maps
are read back along those links, so a map always belongs to the word beside it.

Shape suffixes: B images, K hypotheses (beams) of an image, L locations, V vocabulary, T time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch

from showattend.errors import ConfigError
from showattend.text import Vocabulary

# Lower than any sum of log-probabilities, and finite: sums and comparisons stay ordinary numbers.
BANNED = -1e9
SPECIAL = (Vocabulary.PAD, Vocabulary.START, Vocabulary.END, Vocabulary.UNK)


class Decoder(Protocol):
    """What search asks of a decoder. A state is a tuple of tensors with leading axes [B, K]."""

    def memory(self, features: torch.Tensor) -> Any:
        """What depends on the images alone, from features [B, L, D]."""

    def initial_state(self, memory: Any) -> Any:
        """The state before the first word, with K = 1."""

    def select(self, memory: Any, images: torch.Tensor) -> Any:
        """The memory of these images alone, in this order."""

    def advance(
        self, words: torch.Tensor, state: Any, memory: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Any]:
        """Read words [B, K]: log-probabilities [B, K, V], alpha [B, K, L], beta [B, K], state."""


@dataclass(frozen=True)
class SearchOptions:
    """How captions are searched.

    Attributes:
        beam_size: Hypotheses kept an image; 1 is greedy search.
        n_best: How many of them to return.
        max_length: Most words of a caption.
        min_length: Fewest words of a caption.
        length_penalty: Hypotheses are ranked by log p / length ** this, the length counting
            ``<end>``. 0 ranks by probability (short captions win), 1 by the mean a word.
        block_ngrams: No n-gram of this many words occurs twice; 0 allows all.
        prefix: Words that every caption begins with, ``<unk>`` allowed; they keep their maps.
        banned: Words that do not occur after the prefix.
    """

    beam_size: int = 5
    n_best: int = 1
    max_length: int = 30
    min_length: int = 1
    length_penalty: float = 0.7
    block_ngrams: int = 0
    prefix: tuple[int, ...] = ()
    banned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            ConfigError: Names the value and what it must be.
        """
        for name, lowest in (("beam_size", 1), ("n_best", 1), ("max_length", 1)):
            if getattr(self, name) < lowest:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be {lowest} or more")
        for name in ("min_length", "length_penalty", "block_ngrams"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be negative")
        if self.min_length > self.max_length:
            raise ConfigError(f"min_length {self.min_length} is over max_length {self.max_length}")
        if self.n_best > self.beam_size:
            raise ConfigError(
                f"n_best {self.n_best} is over beam_size {self.beam_size}; raise the beam size"
            )
        check_prefix(self.prefix, self.max_length)


def check_prefix(prefix: tuple[int, ...], max_length: int) -> None:
    """Refuse first words that are none, or that leave no room for another.

    Raises:
        ConfigError: Says which.
    """
    if {Vocabulary.PAD, Vocabulary.START, Vocabulary.END} & set(prefix):
        raise ConfigError("the prefix must hold words only, no <pad>, <start> or <end>")
    if len(prefix) >= max_length:
        raise ConfigError(
            f"the prefix has {len(prefix)} words, and max_length is {max_length}; "
            "it must leave room for another word"
        )


class Hypothesis(NamedTuple):
    """One caption as search found it."""

    words: list[int]  # T word ids, no special ones
    log_probs: list[float]  # T + 1 with <end>'s, T when cut off at the maximum length
    alpha: torch.Tensor  # [T, L] float32
    beta: torch.Tensor  # [T]
    score: float  # log p / length ** length_penalty


class _Trace(NamedTuple):
    """What happened at one time step, [B, K] each, alpha [B, K, L] for the *source* beams."""

    images: torch.Tensor  # [B]: which images the rows are of; those that are done are left out
    words: torch.Tensor
    parents: torch.Tensor
    log_probs: torch.Tensor
    alpha: torch.Tensor
    beta: torch.Tensor


@torch.inference_mode()
def search(
    decoder: Decoder, features: torch.Tensor, options: SearchOptions | None = None
) -> list[list[Hypothesis]]:
    """Find the best captions of a batch of images.

    All hypotheses of an image, finished or not, compete in one pool of ``beam_size``, by their
    length-normalised log-probability. An image is done when everything in its pool has ended or
    the maximum length is reached; what has not ended by then is returned as it stands. Images
    that are done leave the batch. Special words other than ``<end>`` are never produced.

    Args:
        decoder: Follows the `Decoder` protocol; put it in eval mode first.
        features: Annotations [B, L, D] or [B, H, W, D].
        options: How to search.

    Returns:
        For each image ``n_best`` hypotheses, best first; fewer where so few exist, never none.
    """
    options = options or SearchOptions()
    memory = decoder.memory(features)
    state = decoder.initial_state(memory)
    B, K, device = features.shape[0], options.beam_size, features.device
    if B == 0:
        return []
    END, PAD = Vocabulary.END, Vocabulary.PAD

    words = torch.full((B, 1), Vocabulary.START, device=device)
    history = torch.empty((B, 1, 0), dtype=torch.long, device=device)
    total = torch.zeros((B, 1), device=device)  # sums of log-probabilities
    length = torch.zeros((B, 1), device=device)  # words and <end>
    done = torch.zeros((B, 1), dtype=torch.bool, device=device)
    images = torch.arange(B, device=device)  # which images the rows are of
    scores: dict[int, list[float]] = {}
    trace: list[_Trace] = []

    for t in range(options.max_length):
        log_probs, alpha, beta, state = decoder.advance(words, state, memory)
        next_BKC, log_probs_BKC = _ways_on(log_probs.float(), history, t, options)
        # A finished hypothesis has one continuation: itself, at no cost.
        log_probs_BKC.masked_fill_(done.unsqueeze(2), BANNED)
        next_BKC[:, :, 0].masked_fill_(done, PAD)
        log_probs_BKC[:, :, 0].masked_fill_(done, 0.0)
        grown = torch.where(done, length, length + 1)
        power = grown.unsqueeze(2) ** options.length_penalty
        ranked = ((total.unsqueeze(2) + log_probs_BKC) / power).flatten(1)
        _, index = ranked.topk(min(K, ranked.shape[1]), dim=1)
        parents, words = index // next_BKC.shape[2], next_BKC.flatten(1).gather(1, index)

        chosen = log_probs_BKC.flatten(1).gather(1, index)
        total, length = total.gather(1, parents) + chosen, grown.gather(1, parents)
        done = done.gather(1, parents) | (words == END)
        trace.append(_Trace(images, words, parents, chosen, alpha, beta))
        over = done.all(1)
        if t + 1 == options.max_length:
            over = torch.ones_like(over)
        # Taking rows out copies the others: only where it saves a good part of the work.
        if over.all() or over.sum() * 4 >= len(over):
            ended = (total / length.clamp(min=1) ** options.length_penalty)[over]
            scores |= zip(images[over].tolist(), ended.tolist(), strict=True)
            if over.all():
                break
            left = (~over).nonzero().squeeze(1)
            images, words, parents, history = (
                part[left] for part in (images, words, parents, history)
            )
            total, length, done = total[left], length[left], done[left]
            state = type(state)(*(part[left] for part in state))
            memory = decoder.select(memory, left)
        state = type(state)(*(_take(part, parents) for part in state))
        history = torch.cat([_take(history, parents), words.unsqueeze(2)], 2)

    ranks = [scores[image] for image in range(B)]
    return _read_back(trace, ranks, options.n_best, forced=len(options.prefix))


def _ways_on(
    log_probs_BKV: torch.Tensor, history_BKT: torch.Tensor, t: int, options: SearchOptions
) -> tuple[torch.Tensor, torch.Tensor]:
    """The words that may follow each hypothesis and lead into the pool: its ``beam_size`` best.

    The vocabulary is read once, here: of a row's words, the best are taken, so many more than the
    beam that enough are left when special words, early ends and repeated n-grams are banned. A
    broken model's NaN is a ban too. Up to the prefix's last word, the one that is forced is all
    there is.

    Returns:
        The words [B, K, C] and their log-probabilities, `BANNED` for what is banned.
    """
    V = log_probs_BKV.shape[-1]
    if t < len(options.prefix):
        shape = (*log_probs_BKV.shape[:2], 1)
        words = torch.full(shape, options.prefix[t], device=log_probs_BKV.device)
        return words, _numbers(log_probs_BKV.gather(2, words))
    banned = [Vocabulary.PAD, Vocabulary.START, Vocabulary.UNK, *options.banned]
    if t < options.min_length:
        banned.append(Vocabulary.END)
    said = _completing(history_BKT, options.block_ngrams)
    count = min(options.beam_size + len(set(banned)) + said.shape[2], V)
    best, words = log_probs_BKV.topk(count, dim=2)
    if (best.isnan() | best.isposinf()).any():  # they count as greatest
        best, words = _numbers(log_probs_BKV).topk(count, dim=2)
    ban = torch.isin(words, torch.tensor(banned, device=words.device))
    if said.shape[2]:
        ban |= (words.unsqueeze(3) == said.unsqueeze(2)).any(3)
    return words, _numbers(best.masked_fill(ban, BANNED))


def _numbers(log_probs: torch.Tensor) -> torch.Tensor:
    """Log-probabilities with `BANNED` for what is none, or lower."""
    return log_probs.nan_to_num(nan=BANNED, neginf=BANNED, posinf=BANNED).clamp(min=BANNED)


def _completing(history_BKT: torch.Tensor, n: int) -> torch.Tensor:
    """The words [B, K, N] that would complete an n-gram said before; ``<pad>`` where none would."""
    t = history_BKT.shape[2]
    if not n or t < n:
        return history_BKT[:, :, :0]
    windows = history_BKT.unfold(2, n, 1)  # every n-gram said so far
    last = history_BKT[:, :, t - n + 1 :]  # the n - 1 words that the next one would complete
    seen = (windows[..., : n - 1] == last.unsqueeze(2)).all(-1)
    return torch.where(seen, windows[..., -1], Vocabulary.PAD)


def _take(part_BK: torch.Tensor, parents_BK: torch.Tensor) -> torch.Tensor:
    """Rows of the K axis, image by image: [B, K, ...] to [B, K', ...]."""
    images = torch.arange(part_BK.shape[0], device=part_BK.device).unsqueeze(1)
    return part_BK[images, parents_BK]


def _read_back(
    trace: list[_Trace], scores: list[list[float]], n_best: int, forced: int
) -> list[list[Hypothesis]]:
    """Follow the links from the last time step to the first; the first ones were forced."""
    steps = [_Trace(*(part.cpu() for part in step)) for step in trace]
    rows = [{image: row for row, image in enumerate(step.images.tolist())} for step in steps]
    results = []
    for image, ranks in enumerate(scores):
        mine = [(step, at[image]) for step, at in zip(steps, rows, strict=True) if image in at]
        order = sorted(range(len(ranks)), key=lambda beam: -ranks[beam])
        found = [_hypothesis(mine, beam, ranks[beam], forced) for beam in order]
        # A beam that only a ban could fill (more beams than words, say) is no caption.
        possible = [each for each in found if min(each.log_probs, default=0.0) > BANNED / 2]
        results.append((possible or found[:1])[:n_best])
    return results


def _hypothesis(
    steps: list[tuple[_Trace, int]], beam: int, score: float, forced: int
) -> Hypothesis:
    """The hypothesis that ends in a beam, from the steps of its image and its row in each."""
    words: list[int] = []
    log_probs: list[float] = []
    alpha, beta = [], []
    for t, (step, row) in reversed(list(enumerate(steps))):
        word, parent = int(step.words[row, beam]), int(step.parents[row, beam])
        log_prob = float(step.log_probs[row, beam])
        if word != Vocabulary.PAD or log_prob:  # <pad> at no cost: it had ended before this step
            log_probs.append(log_prob)
        if word not in SPECIAL or t < forced:
            words.append(word)
            alpha.append(step.alpha[row, parent])
            beta.append(step.beta[row, parent])
        beam = parent
    L = steps[0][0].alpha.shape[-1]
    return Hypothesis(
        words[::-1],
        log_probs[::-1],
        torch.stack(alpha[::-1]).float() if alpha else torch.zeros(0, L),
        torch.stack(beta[::-1]).float() if beta else torch.zeros(0),
        score,
    )


class Samples(NamedTuple):
    """Captions drawn from the model, as teacher forcing takes them."""

    captions: torch.Tensor  # [B, K, T + 2]: <start>, words, <end>, padded with <pad>
    lengths: torch.Tensor  # [B, K]: words and <end>; the words alone where it was cut off


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
    """Draw captions word by word from the model's distribution.

    Special words other than ``<end>`` are never drawn.

    Args:
        decoder: Follows the `Decoder` protocol; put it in eval mode first.
        features: Annotations [B, L, D] or [B, H, W, D].
        samples: K, captions an image.
        max_length: Most words of a caption.
        temperature: The words' scores are divided by it: under 1 the likely become likelier.
        prefix: Words that every caption begins with, ``<unk>`` allowed.
        banned: Words that are not drawn after the prefix.
        generator: Of the random numbers; PyTorch's own when left out.

    Raises:
        ConfigError: The prefix holds what is no word, or leaves no room for another.
    """
    check_prefix(prefix, max_length)
    memory = decoder.memory(features)
    state = decoder.initial_state(memory)
    B, device = features.shape[0], features.device
    state = type(state)(*(part.expand(-1, samples, *part.shape[2:]) for part in state))
    END, PAD = Vocabulary.END, Vocabulary.PAD
    words = torch.full((B, samples), Vocabulary.START, device=device)
    captions = torch.full((B, samples, max_length + 2), PAD, device=device)
    captions[:, :, 0] = Vocabulary.START
    done = torch.zeros_like(words, dtype=torch.bool)
    images = torch.arange(B, device=device)  # those that are not done
    for t in range(max_length):
        log_probs, _, _, state = decoder.advance(words, state, memory)
        log_probs = log_probs.float() / temperature
        log_probs[:, :, [PAD, Vocabulary.START, Vocabulary.UNK, *banned]] = BANNED
        # One random number a word: torch.multinomial would draw one for all of the vocabulary.
        cumulated = log_probs.softmax(-1).cumsum(-1)
        total = cumulated[:, :, -1:]
        # Below the total, rounding or not: the word found is then one that has a probability.
        random = (
            torch.rand_like(total)
            if generator is None
            else torch.rand(total.shape, generator=generator, device=device)
        )
        level = random * total * (1 - 1e-6)
        drawn = torch.searchsorted(cumulated, level, right=True).squeeze(2)
        if t < len(prefix):
            drawn = torch.full_like(drawn, prefix[t])
        words = torch.where(done, PAD, drawn)
        captions[images, :, t + 1] = words
        done = done | (words == END)
        over = done.all(1)
        if over.all():
            break
        if over.sum() * 4 >= len(over):
            left = (~over).nonzero().squeeze(1)
            images, words, done = images[left], words[left], done[left]
            state = type(state)(*(part[left] for part in state))
            memory = decoder.select(memory, left)
    captions = captions[:, :, : t + 3]
    return Samples(captions, (captions[:, :, 1:] != PAD).sum(2))


@torch.inference_mode()
def force(decoder: Decoder, features: torch.Tensor, words: list[int]) -> Hypothesis:
    """Make the model say the given words, and record where it looks.

    Args:
        decoder: Follows the `Decoder` protocol; put it in eval mode first.
        features: Annotations of one image, [1, L, D] or [1, H, W, D].
        words: Word ids, ``<unk>`` allowed, no ``<start>`` or ``<end>``.

    Returns:
        The words with their log-probabilities (of ``<unk>`` where that was given) and maps; the
        score is log p / (T + 1), the mean of a word and ``<end>``.
    """
    memory = decoder.memory(features)
    state = decoder.initial_state(memory)
    log_probs, maps, betas = [], [], []
    for previous, word in zip([Vocabulary.START, *words], [*words, Vocabulary.END], strict=True):
        given = torch.full((1, 1), previous, device=features.device)
        scores, alpha, beta, state = decoder.advance(given, state, memory)
        log_probs.append(float(scores[0, 0, word]))
        maps.append(alpha[0, 0].float().cpu())
        betas.append(beta[0, 0].float().cpu())
    alphas, gates = torch.stack(maps)[:-1], torch.stack(betas)[:-1]
    return Hypothesis(list(words), log_probs, alphas, gates, sum(log_probs) / len(log_probs))
