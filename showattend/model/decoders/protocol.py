"""The protocol of decoders, the registry of their kinds, and what works with any of them.

Search, sampling, forcing, self-critical training, export and checkpoints know a decoder by this
protocol alone.

Shape suffixes: B images, K captions or beams of an image, L locations, D feature, T time,
V vocabulary, N real tokens of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import nn

Memory = Any
"""A NamedTuple of what depends on the images alone: tensors [B, ...], tuples of such tensors, and
objects that belong to no image (weights prepared for the steps), which are passed on."""

State = Any
"""A NamedTuple of tensors [B, K, ...]; a step makes a new one and never writes into it."""


class Step(NamedTuple):
    """One word read.

    Attributes:
        log_probs: Of the next word, [B, K, V], float32 at least.
        state: The state afterwards.
        alpha: Where the decoder looked, [B, K, L] float32 at least; None for one without maps.
        gate: How much the image counted, [B, K], 0 to 1; None for one without a gate.
    """

    log_probs: torch.Tensor
    state: State
    alpha: torch.Tensor | None
    gate: torch.Tensor | None


class Forced(NamedTuple):
    """What teacher forcing yields, for the N real tokens of a batch, in any order.

    Attributes:
        logits: Scores of the words, [N, V]; log-probabilities are such scores too.
        targets: The words that people wrote, [N].
        captions: Which caption each token is of, counted through [B, K], [N].
        coverage: The sum of a caption's maps over its real time steps, [B, K, L]; None for a
            decoder without maps.
    """

    logits: torch.Tensor
    targets: torch.Tensor
    captions: torch.Tensor
    coverage: torch.Tensor | None


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
    def embedding(self) -> nn.Embedding:
        """The words on their way in: what a vocabulary that grows must extend."""

    @property
    def output(self) -> nn.Linear:
        """The layer that scores the words: sharpening, rare words and init_from act on it."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Keys of the config's decoder section, and the kind of attention, that build it again."""

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
            features: Annotations [B, L, D] or [B, H, W, D], in the precision to run in.
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


def choose_images(memory: Memory, images: torch.Tensor) -> Memory:
    """The memory, or the state, of these images alone, in this order."""
    if isinstance(memory, torch.Tensor):
        return memory[images]
    if isinstance(memory, tuple):
        return _rebuild(memory, (choose_images(part, images) for part in memory))
    return memory


def map_state(state: State, change: Callable[..., torch.Tensor], *others: Any) -> State:
    """The state with every tensor of it changed, by a function of it and of what else is given."""
    return _rebuild(state, (change(part, *others) for part in state))


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
        features: Annotations [B, L, D] in the precision to run in.
        captions_BKT: ``<start> y_1 .. y_C <end>`` padded with ``<pad>``.
        lengths_BK: The number of targets of each caption (its words and ``<end>``); 0 where an
            image has fewer than K captions.

    Returns:
        The log-probabilities and targets of the N real tokens, and the coverage.
    """
    memory = decoder.memory(features)
    state = repeat(decoder.start(memory), captions_BKT.shape[1])
    number_BK = torch.arange(lengths_BK.numel(), device=lengths_BK.device).view_as(lengths_BK)
    scores, targets, numbers = [], [], []
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
    return Forced(torch.cat(scores), torch.cat(targets), torch.cat(numbers), coverage)


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
