"""The protocol of decoders, the registry of their kinds, and what works with any of them.

Search, sampling, forcing, self-critical training, export and checkpoints know a decoder by this
protocol alone.

Shape suffixes: B images, K captions or beams of an image, L locations of an H x W grid, D feature,
P parts of an attention (heads, hops, levels), T time, V vocabulary, N real tokens of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import nn

from showattend.model.attention.contract import Attention, Grid

Memory = Any
"""A NamedTuple of what depends on the images alone: tensors [B, ...], tuples of such tensors, and
objects that belong to no image (weights prepared for the steps), which are passed on."""

State = Any
"""A NamedTuple of tensors [B, K, ...] and tuples of such tensors; a step makes a new one and never
writes into it. One further axis of a tensor may be longer in every new state (a cache of what was
read): search and exports take it as it comes."""


class Step(NamedTuple):
    """One word read.

    Attributes:
        log_probs: Of the next word, [B, K, V], float32 at least.
        state: The state afterwards.
        alpha: Where the decoder looked, [B, K, L] float32 at least; None for one without maps.
        gate: How much the image counted, [B, K], 0 to 1; None for one without a gate.
        parts: The maps of each head, hop or level, [B, K, P, L], each sums to one; None where
            alpha is all there is. `Decoder.part_names` names them.
        sentinel: The share of the attention that went to the sentinel, [B, K], 0 to 1; None for a
            decoder without one.
        aside: What ``decoder.attention.loss`` needs of the step (`Attended.aside`); None where the
            attention has no loss of its own, as in eval mode.
    """

    log_probs: torch.Tensor
    state: State
    alpha: torch.Tensor | None
    gate: torch.Tensor | None
    parts: torch.Tensor | None = None
    sentinel: torch.Tensor | None = None
    aside: tuple[torch.Tensor, ...] | None = None


class Forced(NamedTuple):
    """What teacher forcing yields, for the N real tokens of a batch, in any order.

    Attributes:
        logits: Scores of the words, [N, V]; log-probabilities are such scores too.
        targets: The words that people wrote, [N].
        captions: Which caption each token is of, counted through [B, K], [N].
        coverage: The sum of a caption's maps over its real time steps, [B, K, L]; None for a
            decoder without maps.
        penalty: What the attention adds to the loss of each caption, [B, K], summed over its words
            and weighted as its config says: the Frobenius penalty of several hops, the terms of
            REINFORCE for sampled locations. None where it adds nothing.
        figures: Numbers of the attention's to log, by name: scalars, detached. None likewise.
    """

    logits: torch.Tensor
    targets: torch.Tensor
    captions: torch.Tensor
    coverage: torch.Tensor | None
    penalty: torch.Tensor | None = None
    figures: Mapping[str, torch.Tensor] | None = None


class Decoder(Protocol):
    """What everything that drives a decoder asks of it, besides being an `nn.Module`.

    Example:
        >>> memory = decoder.memory(features)  # once for each image
        >>> state = decoder.start(memory)
        >>> step = decoder.step(torch.full((len(features), 1), Vocabulary.START), state, memory)
        >>> step.log_probs.argmax(-1)  # the likeliest first word of each caption, [B, 1]
    """

    training: bool

    @property
    def attention(self) -> Attention:
        """What it looks with, where a step has an aside; others need not have it."""

    @property
    def part_names(self) -> tuple[str, ...]:
        """What the maps of `Step.parts` are; a decoder whose steps have none need not have it."""

    @property
    def embedding(self) -> nn.Embedding:
        """The words on their way in: what a vocabulary that grows must extend."""

    @property
    def output(self) -> nn.Linear:
        """The layer that scores the words: sharpening, rare words and init_from act on it."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Keys of the config's decoder section that build it again; ``attention`` its section."""

    @property
    def sizes(self) -> Mapping[str, Any]:
        """The options that weights depend on, by the names that the config gives them."""

    @property
    def feature_dim(self) -> int:
        """D, the encoder's."""

    @staticmethod
    def with_more_features(
        weights: Mapping[str, torch.Tensor], more: int
    ) -> dict[str, torch.Tensor] | None:
        """A state dict for annotations with more features, at their end, that change nothing yet.

        Returns:
            The weights, those of the new features zero; None where this kind cannot have it so.
        """

    @staticmethod
    def feature_dim_of(weights: Mapping[str, torch.Tensor]) -> int:
        """The D of the encoder that these weights (a state dict) belong to.

        Raises:
            KeyError: They are not of this kind of decoder.
        """

    def memory(self, features: torch.Tensor) -> Memory:
        """All that depends on the images alone.

        Args:
            features: Annotations [B, H, W, D], in the precision to run in; `flat` makes them
                [B, L, D] and says what their grid is, which attention's keys are made with.
        """

    def start(self, memory: Memory) -> State:
        """The state before the first word, with K = 1."""

    def step(self, words_BK: torch.Tensor, state: State, memory: Memory) -> Step:
        """Read a word of each caption, and say what may come next."""

    def __call__(
        self, features: torch.Tensor, captions_BKT: torch.Tensor, lengths_BK: torch.Tensor
    ) -> Forced:
        """Teacher forcing; see `teacher_forcing` for arguments and result."""


Kind = TypeVar("Kind", bound=type)
DECODERS: dict[str, Any] = {}
"""The classes by ``decoder.kind``."""


def register(kind: str) -> Callable[[Kind], Kind]:
    """Make a class known as ``decoder.kind``."""

    def add(cls: Kind) -> Kind:
        DECODERS[kind] = cls
        return cls

    return add


# For any decoder ---------------------------------------------------------------------------------


def flat(features: torch.Tensor) -> tuple[torch.Tensor, Grid]:
    """Annotations [B, H, W, D] as [B, L, D], and their grid (H, W).

    Those that are given as [B, L, D] lie on a square grid if L is a square number, and otherwise
    in one row.
    """
    if features.ndim == 4:
        return features.flatten(1, 2), (features.shape[1], features.shape[2])
    L = features.shape[1]
    side = math.isqrt(L)
    return features, (side, side) if side * side == L else (1, L)


def choose_images(memory: Memory, images: torch.Tensor) -> Memory:
    """The memory, or the state, of these images alone, in this order."""
    if isinstance(memory, torch.Tensor):
        return memory[images]
    if isinstance(memory, tuple):
        return _rebuild(memory, (choose_images(part, images) for part in memory))
    return memory


def map_state(state: State, change: Callable[..., torch.Tensor], *others: Any) -> State:
    """The state with every tensor of it changed, by a function of it and of what else is given."""
    if isinstance(state, torch.Tensor):
        return change(state, *others)
    return _rebuild(state, (map_state(part, change, *others) for part in state))


def repeat(state: State, K: int) -> State:
    """The state of one hypothesis an image as that of K alike; nothing is copied."""
    return map_state(state, lambda part: part.expand(-1, K, *part.shape[2:]))


def _rebuild(old: Any, parts: Any) -> Any:
    return type(old)(*parts) if hasattr(old, "_fields") else type(old)(parts)


def teacher_forcing(
    decoder: Decoder,
    features: torch.Tensor,
    captions_BKT: torch.Tensor,
    lengths_BK: torch.Tensor,
) -> Forced:
    """Read captions word by word, whatever the model would have said itself.

    Args:
        decoder: Any.
        features: Annotations [B, H, W, D] in the precision to run in.
        captions_BKT: ``<start> y_1 .. y_C <end>`` padded with ``<pad>``.
        lengths_BK: The number of targets of each caption (its words and ``<end>``); 0 where an
            image has fewer than K captions.

    Returns:
        The log-probabilities and targets of the N real tokens, the coverage, and where the
        attention has a loss of its own, that.
    """
    memory = decoder.memory(features)
    state = repeat(decoder.start(memory), captions_BKT.shape[1])
    number_BK = torch.arange(lengths_BK.numel(), device=lengths_BK.device).view_as(lengths_BK)
    scores, targets, numbers = [], [], []
    asides, said = [], []
    coverage: torch.Tensor | None = None
    for t in range(int(lengths_BK.max())):
        real_BK = lengths_BK > t
        step = decoder.step(captions_BKT[:, :, t], state, memory)
        state = step.state
        scores.append(step.log_probs[real_BK])
        targets.append(captions_BKT[:, :, t + 1][real_BK])
        numbers.append(number_BK[real_BK])
        if step.alpha is not None:
            looked = step.alpha * real_BK.unsqueeze(2)
            coverage = looked if coverage is None else coverage + looked
        if step.aside is not None:
            asides.append(step.aside)
            target = captions_BKT[:, :, t + 1].unsqueeze(2)
            said.append(step.log_probs.detach().gather(2, target).squeeze(2))
    forced = Forced(torch.cat(scores), torch.cat(targets), torch.cat(numbers), coverage)
    if not asides:
        return forced
    steps = torch.arange(len(asides), device=lengths_BK.device)
    real_BKT = steps < lengths_BK.unsqueeze(2)
    penalty, figures = decoder.attention.loss(asides, torch.stack(said, 2), real_BKT)
    return forced._replace(penalty=penalty, figures=figures)


@torch.no_grad()
def sharpen(decoder: Decoder, temperature: float) -> None:
    """Divide the scores of words by a temperature, for good: softmax(x / temperature)."""
    decoder.output.weight.div_(temperature)
    decoder.output.bias.div_(temperature)


@torch.no_grad()
def favour_rare_words(decoder: Decoder, counts_V: torch.Tensor, tau: float) -> None:
    """Subtract tau times the log frequency of each word from its score, for good.

    Logit adjustment (Menon et al. 2021, "Long-tail learning via logit adjustment"): search looks
    for the single most probable caption, and so says common words more often still than people do.

    Args:
        decoder: Any.
        counts_V: How often each word was a target in training; words never seen count as seen
            once.
        tau: How much.
    """
    counts = counts_V.clamp(min=1).to(decoder.output.bias)
    decoder.output.bias.sub_(tau * (counts / counts.sum()).log())
