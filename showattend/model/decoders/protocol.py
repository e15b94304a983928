"""The protocol of decoders, the registry of their kinds, and functions for any decoder.

Search, sampling, forcing, self-critical training, export and checkpoints use only this protocol.

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
"""A NamedTuple of everything that depends only on the images: tensors [B, ...], tuples of such
tensors, and objects that belong to no image (weights prepared for the steps), which are kept as
they are."""

State = Any
"""A NamedTuple of tensors [B, K, ...] and tuples of such tensors. Each step returns a new state and
never modifies the old one. One further axis of a tensor may grow from step to step (a cache of the
words read so far); search and exports support that."""


class Step(NamedTuple):
    """The result of reading one word.

    Attributes:
        log_probs: The log-probabilities of the next word, [B, K, V], at least float32.
        state: The state after the step.
        alpha: Where the decoder looked, [B, K, L], at least float32; None for a decoder without
            maps.
        gate: The gate on the context, [B, K], from 0 to 1; None for a decoder without a gate.
        parts: The maps of each head, hop or level, [B, K, P, L]; each sums to one. None if there is
            only alpha. `Decoder.part_names` names them.
        sentinel: The sentinel's share of the attention, [B, K], from 0 to 1; None for a decoder
            without a sentinel.
        aside: Tensors [B, K, ...] that ``decoder.attention.loss`` needs from the step
            (`Attended.aside`); None if the attention has no loss of its own, and in eval mode.
    """

    log_probs: torch.Tensor
    state: State
    alpha: torch.Tensor | None
    gate: torch.Tensor | None
    parts: torch.Tensor | None = None
    sentinel: torch.Tensor | None = None
    aside: tuple[torch.Tensor, ...] | None = None


class Forced(NamedTuple):
    """The result of teacher forcing, for the N real tokens of a batch, in any order.

    Attributes:
        logits: Unnormalised log-probabilities of the words, [N, V]; normalised ones are also valid.
        targets: The words of the reference captions, [N].
        captions: The caption of each token, [N], as an index into the flattened [B, K].
        coverage: The sum of a caption's maps over its real time steps, [B, K, L]; None for a
            decoder without maps.
        penalty: The attention's contribution to the loss of each caption, [B, K], summed over its
            words and weighted by its config: the Frobenius penalty of several hops, or REINFORCE's
            terms for sampled locations. None if it has none.
        figures: Numbers of the attention to log, by name: detached scalars; None without a penalty.
    """

    logits: torch.Tensor
    targets: torch.Tensor
    captions: torch.Tensor
    coverage: torch.Tensor | None
    penalty: torch.Tensor | None = None
    figures: Mapping[str, torch.Tensor] | None = None


class Decoder(Protocol):
    """The interface that a decoder must have, besides being an `nn.Module`.

    The options of its config section are keyword arguments of its constructor
    (`showattend.model.kinds`). It may have three class attributes:

    * ``summary``: a text for ``showattend info`` in which options are in braces, as in
      ``{hidden_dim}``; also ``{kind}`` and ``{attention}``. By default the sizes are listed.
    * ``scores_captions``: whether its training step scores whole captions, as self-critical
      training needs. True by default.
    * ``compiles``: whether ``train.compile`` has a step for it. False by default.

    Example:
        >>> memory = decoder.memory(features)  # once per image
        >>> state = decoder.start(memory)
        >>> step = decoder.step(torch.full((len(features), 1), Vocabulary.START), state, memory)
        >>> step.log_probs.argmax(-1)  # the most probable first word of each caption, [B, 1]
    """

    training: bool

    @property
    def attention(self) -> Attention:
        """The attention module; required only if steps have an aside."""

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names of the maps in `Step.parts`, if any, or of the samples of hard attention."""

    @property
    def embedding(self) -> nn.Embedding:
        """The word embeddings, which must be extended when the vocabulary grows."""

    @property
    def output(self) -> nn.Linear:
        """The layer that scores the words; `sharpen`, `favour_rare_words` and init_from use it."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The keys of the config's decoder section from which the decoder can be built again.

        ``attention`` holds the attention's section.
        """

    @property
    def sizes(self) -> Mapping[str, Any]:
        """The options that the weights depend on, by their names in the config."""

    @property
    def feature_dim(self) -> int:
        """The encoder's D."""

    @staticmethod
    def with_more_features(
        weights: Mapping[str, torch.Tensor], more: int
    ) -> dict[str, torch.Tensor] | None:
        """Extend a state dict to annotations with more features, without changing the result.

        Args:
            weights: The state dict.
            more: The number of features to add at the end: [..., D] becomes [..., D + more].

        Returns:
            The weights, with zeros for the new features; None if this kind cannot be extended so.
        """

    @staticmethod
    def feature_dim_of(weights: Mapping[str, torch.Tensor]) -> int:
        """Return D, the size of the annotations [..., D] that a state dict's decoder takes.

        Raises:
            KeyError: The weights are not from this kind of decoder.
        """

    def memory(self, features: torch.Tensor) -> Memory:
        """Compute everything that depends only on the images.

        Args:
            features: Annotations [B, H, W, D], in the precision of the computation. `flat` returns
                them as [B, L, D] with their grid, which the attention's keys need.
        """

    def start(self, memory: Memory) -> State:
        """Return the state before the first word, with K = 1."""

    def step(self, words_BK: torch.Tensor, state: State, memory: Memory) -> Step:
        """Read a word of each caption [B, K], and predict the next."""

    def __call__(
        self, features: torch.Tensor, captions_BKT: torch.Tensor, lengths_BK: torch.Tensor
    ) -> Forced:
        """Run teacher forcing; see `teacher_forcing` for arguments and result."""


Kind = TypeVar("Kind", bound=type)
DECODERS: dict[str, Any] = {}
"""The classes, by the value of ``decoder.kind``."""


def register(kind: str) -> Callable[[Kind], Kind]:
    """Register a class under a value of ``decoder.kind``."""

    def add(cls: Kind) -> Kind:
        DECODERS[kind] = cls
        return cls

    return add


# For any decoder ---------------------------------------------------------------------------------


def flat(features: torch.Tensor) -> tuple[torch.Tensor, Grid]:
    """Flatten annotations [B, H, W, D] to [B, L, D]; return them and their grid (H, W).

    Annotations given as [B, L, D] are taken as a square grid if L is a square number, and as a
    single row otherwise.
    """
    if features.ndim == 4:
        return features.flatten(1, 2), (features.shape[1], features.shape[2])
    L = features.shape[1]
    side = math.isqrt(L)
    return features, (side, side) if side * side == L else (1, L)


def choose_images(memory: Memory, images: torch.Tensor) -> Memory:
    """Select images from a memory or a state.

    Args:
        memory: A memory or state of B images.
        images: The indices to keep, in the new order, [B'].

    Returns:
        The same structure with tensors [B', ...].
    """
    if isinstance(memory, torch.Tensor):
        return memory[images]
    if isinstance(memory, tuple):
        return _rebuild(memory, (choose_images(part, images) for part in memory))
    return memory


def map_state(state: State, change: Callable[..., torch.Tensor], *others: Any) -> State:
    """Apply ``change(tensor, *others)`` to every tensor [B, K, ...] of a state."""
    if isinstance(state, torch.Tensor):
        return change(state, *others)
    return _rebuild(state, (map_state(part, change, *others) for part in state))


def repeat(state: State, K: int) -> State:
    """Expand a state with K = 1 to K equal hypotheses per image, without a copy."""
    return map_state(state, lambda part: part.expand(-1, K, *part.shape[2:]))


def _rebuild(old: Any, parts: Any) -> Any:
    return type(old)(*parts) if hasattr(old, "_fields") else type(old)(parts)


def teacher_forcing(
    decoder: Decoder,
    features: torch.Tensor,
    captions_BKT: torch.Tensor,
    lengths_BK: torch.Tensor,
) -> Forced:
    """Read given captions word by word, regardless of the model's own predictions.

    Args:
        decoder: Any decoder.
        features: Annotations [B, H, W, D] in the precision of the computation.
        captions_BKT: ``<start> y_1 .. y_C <end>``, padded with ``<pad>``.
        lengths_BK: The number of targets of each caption (its words and ``<end>``); 0 if an image
            has fewer than K captions.

    Returns:
        The log-probabilities [N, V] and targets [N] of the N real tokens, the coverage [B, K, L],
        and the attention's own loss if it has one.
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
    """Divide the logits by a temperature, by changing the weights: softmax(x / temperature)."""
    decoder.output.weight.div_(temperature)
    decoder.output.bias.div_(temperature)


@torch.no_grad()
def favour_rare_words(decoder: Decoder, counts_V: torch.Tensor, tau: float) -> None:
    """Subtract tau times the log frequency of each word from its logit, by changing the weights.

    This is logit adjustment (Menon et al. 2021, "Long-tail learning via logit adjustment"). Search
    looks for the single most probable caption, and therefore uses common words even more often than
    people do.

    Args:
        decoder: Any decoder.
        counts_V: How often each word was a target in training; a count of 0 is taken as 1.
        tau: The strength of the adjustment.
    """
    counts = counts_V.clamp(min=1).to(decoder.output.bias)
    decoder.output.bias.sub_(tau * (counts / counts.sum()).log())
