"""Greedy and beam search over a batch of images, attention maps included; and forced sentences.

Search knows decoders only by a protocol (`Decoder`), and keeps one record a time step: the word
of each hypothesis, the hypothesis it continues, and where the model looked. A caption and its maps
are read back along those links, so a map always belongs to the word beside it.

Log-probabilities and scores are the same whether a caption was searched, sampled or forced. A
word's log-probability is the model's own, over all of the vocabulary: special and banned words are
left out of the choice, but what is left is not scaled up to one, so that steering the search does
not change what the model thinks of a word. A caption's score is `score_of` them.

Shape suffixes: B images, K hypotheses (beams) of an image, L locations, V vocabulary, T time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol

import torch

from showattend.checks import real_number, whole_number
from showattend.config import SearchConfig, from_dict, to_dict
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
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, Any]:
        """Read words [B, K]: log-probabilities [B, K, V], alpha [B, K, L], beta [B, K], state.

        A decoder without a gate has None for beta.
        """


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
        checked: dict[str, Any] = {
            "beam_size": whole_number("beam_size", self.beam_size, 1, 1000),
            "n_best": whole_number("n_best", self.n_best, 1, 1000),
            "max_length": whole_number("max_length", self.max_length, 1, 1000),
            "min_length": whole_number("min_length", self.min_length, 0, 1000),
            "length_penalty": real_number("length_penalty", self.length_penalty, 0, 10),
            "block_ngrams": whole_number("block_ngrams", self.block_ngrams, 0, 1000),
            "prefix": word_numbers("prefix", self.prefix),
            "banned": word_numbers("banned", self.banned),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # NumPy's numbers become Python's
        if self.min_length > self.max_length:
            raise ConfigError(f"min_length {self.min_length} is over max_length {self.max_length}")
        if self.n_best > self.beam_size:
            raise ConfigError(
                f"n_best {self.n_best} is over beam_size {self.beam_size}; raise the beam size"
            )
        check_prefix(self.prefix, self.max_length)

    @classmethod
    def from_section(cls, section: Mapping[str, Any], where: str) -> SearchOptions:
        """The options that a model's search section holds.

        Args:
            section: Keys of the config's search section, and ``n_best``.
            where: What holds them, for messages.

        Raises:
            ConfigError: A key is unknown, or a value means nothing.
        """
        values = dict(section)
        n_best = values.pop("n_best", 1)
        given = to_dict(from_dict(SearchConfig, values, where, "search."))
        try:
            return cls(**given, n_best=n_best)
        except ConfigError as error:
            raise ConfigError(f"{where}: search.{error}") from error

    def to_section(self) -> dict[str, Any]:
        """What `from_section` reads; ``prefix`` and ``banned`` are of one call, not of a model."""
        section = {each.name: getattr(self, each.name) for each in fields(SearchConfig)}
        return section | ({} if self.n_best == 1 else {"n_best": self.n_best})


def word_numbers(name: str, words: Iterable[int]) -> tuple[int, ...]:
    """Word numbers as a tuple.

    Raises:
        ConfigError: They are something else.
    """
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise ConfigError(f"{name} is {words!r}; it must be a list of word numbers")
    return tuple(whole_number(f"{name}[{i}]", each, 0, 2**31) for i, each in enumerate(words))


def check_words(words: Iterable[int], vocabulary_size: int) -> None:
    """Refuse numbers of words that the decoder does not have.

    Raises:
        ConfigError: Names the first.
    """
    for word in words:
        if not 0 <= word < vocabulary_size:
            raise ConfigError(f"word number {word} is not in a vocabulary of {vocabulary_size:,}")


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
    beta: torch.Tensor | None  # [T]; None without a gate
    score: float  # `score_of` the log-probabilities


def score_of(log_probs: Sequence[float], length_penalty: float) -> float:
    """What captions are ranked by: log p / length ** length_penalty.

    Args:
        log_probs: One a word and, unless the caption was cut off, ``<end>``'s; their number is
            the length.
        length_penalty: 0 ranks by probability, 1 by the mean.
    """
    return sum(log_probs) / max(len(log_probs), 1) ** length_penalty


class _Trace(NamedTuple):
    """What happened at one time step, [B, K] each, alpha [B, K, L] for the *source* beams."""

    images: torch.Tensor  # [B]: which images the rows are of; those that are done are left out
    words: torch.Tensor
    parents: torch.Tensor
    log_probs: torch.Tensor
    alpha: torch.Tensor
    beta: torch.Tensor | None


@torch.inference_mode()
def search(
    decoder: Decoder, features: torch.Tensor, options: SearchOptions | None = None
) -> list[list[Hypothesis]]:
    """Find the best captions of a batch of images.

    All hypotheses of an image, finished or not, compete in one pool of ``beam_size``, by their
    length-normalised log-probability. An image is done when everything in its pool has ended or
    the maximum length is reached; what has not ended by then is returned as it stands. Images
    that are done leave the batch. Special words other than ``<end>`` are never produced, nor are
    words that `options` ban: where nothing else may be said before the minimum length, the
    caption is cut off there, and may have no words at all.

    Args:
        decoder: Follows the `Decoder` protocol; put it in eval mode first.
        features: Annotations [B, L, D] or [B, H, W, D].
        options: How to search.

    Returns:
        For each image ``n_best`` hypotheses, best first; fewer where so few exist, never none.

    Raises:
        ConfigError: The prefix or the banned words are not all of the decoder's vocabulary.
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
    never = dict.fromkeys([PAD, Vocabulary.START, Vocabulary.UNK, *options.banned])
    banned = torch.tensor([*never, END], device=device)  # <end> before the minimum length only

    for t in range(options.max_length):
        log_probs, alpha, beta, state = decoder.advance(words, state, memory)
        if t == 0:
            check_words((*options.prefix, *options.banned), log_probs.shape[-1])
        now = banned if t < options.min_length else banned[:-1]
        next_BKC, log_probs_BKC = _ways_on(log_probs.float(), history, t, now, options)
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
        if (count := int(over.sum())) * 4 >= len(over):
            ended = (total / length.clamp(min=1) ** options.length_penalty)[over]
            scores |= zip(images[over].tolist(), ended.tolist(), strict=True)
            if count == len(over):
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
    return _read_back(trace, ranks, options)


def _ways_on(
    log_probs_BKV: torch.Tensor,
    history_BKT: torch.Tensor,
    t: int,
    banned: torch.Tensor,
    options: SearchOptions,
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
        return words, as_numbers(log_probs_BKV.gather(2, words))
    said = _completing(history_BKT, options.block_ngrams)
    count = min(options.beam_size + len(banned) + said.shape[2], V)
    best, words = log_probs_BKV.topk(count, dim=2)
    if (best.isnan() | best.isposinf()).any():  # they count as greatest
        best, words = as_numbers(log_probs_BKV).topk(count, dim=2)
    ban = torch.isin(words, banned)
    if said.shape[2]:
        ban |= (words.unsqueeze(3) == said.unsqueeze(2)).any(3)
    return words, as_numbers(best.masked_fill(ban, BANNED))


def as_numbers(log_probs: torch.Tensor) -> torch.Tensor:
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
    trace: list[_Trace], scores: list[list[float]], options: SearchOptions
) -> list[list[Hypothesis]]:
    """Follow the links from the last time step to the first."""
    steps, forced = _Steps(trace), len(options.prefix)
    results = []
    for image, ranks in enumerate(scores):
        found: list[Hypothesis] = []
        cut: list[Hypothesis] = []
        order = sorted(range(len(ranks)), key=lambda beam: -ranks[beam])
        for beam in order:
            each = steps.hypothesis(image, beam, ranks[beam], forced)
            # A beam that only a ban could fill (more beams than words, say) is no caption.
            allowed = _allowed(each, forced)
            if allowed == len(each.log_probs):
                found.append(each)
            elif not found:
                cut.append(_cut(each, allowed, options.length_penalty))
            if len(found) == options.n_best:
                break
        results.append(found or [max(cut, key=lambda each: len(each.words))])
    return results


def _allowed(found: Hypothesis, forced: int) -> int:
    """How many of the words (and ``<end>``) come before the first that is banned."""
    choices = enumerate(found.log_probs[forced:], forced)
    return next((t for t, each in choices if each < BANNED / 2), len(found.log_probs))


def _cut(found: Hypothesis, length: int, length_penalty: float) -> Hypothesis:
    """A hypothesis of its first words only."""
    words, log_probs = found.words[:length], found.log_probs[:length]
    score = score_of(log_probs, length_penalty)
    beta = None if found.beta is None else found.beta[:length]
    return Hypothesis(words, log_probs, found.alpha[:length], beta, score)


class _Steps:
    """A trace as Python's numbers, which are read one by one; its maps in one tensor."""

    def __init__(self, trace: list[_Trace]) -> None:
        self.rows = [{image: i for i, image in enumerate(s.images.tolist())} for s in trace]
        self.words, self.parents, self.log_probs = (
            [getattr(step, name).tolist() for step in trace]
            for name in ("words", "parents", "log_probs")
        )
        self.alpha = torch.cat([step.alpha.flatten(0, 1) for step in trace]).float().cpu()
        gates = [step.beta.flatten() for step in trace if step.beta is not None]
        self.beta = torch.cat(gates).float().cpu() if gates else None
        # Where in these a step begins, and how many maps an image has in it.
        self.first = [0, *itertools.accumulate(step.alpha.shape[:2].numel() for step in trace)]
        self.maps = [step.alpha.shape[1] for step in trace]

    def hypothesis(self, image: int, beam: int, score: float, forced: int) -> Hypothesis:
        """The hypothesis that ends in a beam of an image."""
        words: list[int] = []
        log_probs: list[float] = []
        looked: list[int] = []
        for t in reversed([t for t, rows in enumerate(self.rows) if image in rows]):
            row = self.rows[t][image]
            word, parent = self.words[t][row][beam], self.parents[t][row][beam]
            log_prob = self.log_probs[t][row][beam]
            if word != Vocabulary.PAD or log_prob:  # <pad> at no cost: it had ended before
                log_probs.append(log_prob)
            if word not in SPECIAL or t < forced:
                words.append(word)
                looked.append(self.first[t] + row * self.maps[t] + parent)
            beam = parent
        maps = torch.tensor(looked[::-1], dtype=torch.long)
        beta = None if self.beta is None else self.beta[maps]
        return Hypothesis(words[::-1], log_probs[::-1], self.alpha[maps], beta, score)


def force(
    decoder: Decoder,
    features: torch.Tensor,
    words: Sequence[int],
    length_penalty: float = SearchOptions.length_penalty,
) -> Hypothesis:
    """`force_all` for one sentence."""
    return force_all(decoder, features, [words], length_penalty)[0]


@torch.inference_mode()
def force_all(
    decoder: Decoder,
    features: torch.Tensor,
    sentences: Sequence[Sequence[int]],
    length_penalty: float = SearchOptions.length_penalty,
) -> list[Hypothesis]:
    """Make the model say the given sentences about one image, and record where it looks.

    Args:
        decoder: Follows the `Decoder` protocol; put it in eval mode first.
        features: Annotations of the image, [1, L, D] or [1, H, W, D].
        sentences: Word ids, ``<unk>`` allowed, no ``<start>`` or ``<end>``.
        length_penalty: For the scores.

    Returns:
        The words with their log-probabilities (of ``<unk>`` where that was given; T + 1, with
        ``<end>``'s), maps and score, as search returns them.
    """
    if not sentences:
        return []
    memory = decoder.memory(features)
    state = repeat(decoder.initial_state(memory), len(sentences))
    lengths = [len(words) + 1 for words in sentences]
    targets = torch.full((len(sentences), max(lengths)), Vocabulary.END)
    for row, words in zip(targets, sentences, strict=True):
        row[: len(words)] = torch.tensor(words, dtype=torch.long)
    targets = targets.to(features.device)
    previous = torch.full_like(targets[:, 0], Vocabulary.START)
    steps, gates = [], []
    for target in targets.T:
        scores, alpha, beta, state = decoder.advance(previous.unsqueeze(0), state, memory)
        steps.append((scores[0].gather(1, target.unsqueeze(1)).squeeze(1), alpha[0]))
        gates += [] if beta is None else [beta[0]]
        previous = target
    log_probs, maps = (torch.stack(part, 1).cpu() for part in zip(*steps, strict=True))
    betas = torch.stack(gates, 1).float().cpu() if gates else None
    found = []
    for k, (words, length) in enumerate(zip(sentences, lengths, strict=True)):
        likely, T = log_probs[k, :length].tolist(), len(words)
        alpha, beta = maps[k, :T].float(), None if betas is None else betas[k, :T]
        score = score_of(likely, length_penalty)
        found.append(Hypothesis(list(words), likely, alpha, beta, score))
    return found


def repeat(state: Any, K: int) -> Any:
    """The state of one hypothesis an image as that of K alike."""
    return type(state)(*(part.expand(-1, K, *part.shape[2:]) for part in state))
