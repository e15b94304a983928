"""The cost of a decoder: parameters, and time and memory of a training step and of search.

It is measured on random annotations, so that only the computation of attention and decoder counts,
not photographs or disks. Times depend on the machine and its load: compare only times from one run.
Parameters and memory do not.
"""

from __future__ import annotations

import gc
import statistics
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from showattend.decoding.beam import search
from showattend.model.search_options import SearchOptions
from showattend.text.vocabulary import Vocabulary
from showattend.training.losses import captioning_loss

IMAGES, CAPTIONS, WORDS, BEAMS = 16, 5, 12, 5
REPEATS = 3


class Cost(NamedTuple):
    """The cost of a decoder in float32 on this machine.

    Attributes:
        parameters: The number of the decoder's parameters.
        step: Seconds per training step: forward and backward for `IMAGES` images with `CAPTIONS`
            captions of `WORDS` words each. The median of `REPEATS`.
        search: Seconds per image of a beam search with `BEAMS` hypotheses for `IMAGES` images,
            until all captions have `WORDS` words.
        memory: Megabytes of the tensors of a training step, at the moment when they are most.
    """

    parameters: int
    step: float
    search: float
    memory: float


class Work(NamedTuple):
    """The work that is timed.

    Attributes:
        step: A training step, forward and backward; it leaves no gradients.
        search: A beam search for all images.
    """

    step: Callable[[], None]
    search: Callable[[], None]


def work_of(decoder: Any, grid: tuple[int, int], images: int = IMAGES) -> Work:
    """Prepare random annotations and captions, and return the work on them.

    Args:
        decoder: Any, on the CPU or a GPU.
        grid: Rows and columns of the annotations.
        images: The number of images.
    """
    weight = decoder.output.weight
    vocabulary_size, device = weight.shape[0], weight.device
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(images, *grid, decoder.feature_dim, generator=generator).to(device)
    captions = torch.randint(
        Vocabulary.UNK + 1, vocabulary_size, (images, CAPTIONS, WORDS + 2), generator=generator
    )
    captions[..., 0], captions[..., -1] = Vocabulary.START, Vocabulary.END
    captions = captions.to(device)
    lengths = torch.full((images, CAPTIONS), WORDS + 1, device=device)
    options = SearchOptions(beam_size=BEAMS, min_length=WORDS, max_length=WORDS)

    def step() -> None:
        decoder.train()
        loss = captioning_loss(decoder(features, captions, lengths), lengths)
        loss.total.backward()
        for parameter in decoder.parameters():
            parameter.grad = None

    def find() -> None:
        decoder.eval()
        search(decoder, features, options)

    return Work(step, find)


def measure_cost(decoder: Any, grid: tuple[int, int]) -> Cost:
    """Measure the cost of a decoder, without changing its weights, gradients or mode.

    Args:
        decoder: Any decoder, on the CPU or a GPU.
        grid: Rows and columns of the annotations.
    """
    work, device = work_of(decoder, grid), decoder.output.weight.device
    training, gradients = decoder.training, [p.grad for p in decoder.parameters()]
    try:
        memory = added_memory(work.step, device)
        seconds = _median(work.step, device)
        searching = _median(work.search, device) / IMAGES
    finally:
        decoder.train(training)
        for parameter, gradient in zip(decoder.parameters(), gradients, strict=True):
            parameter.grad = gradient
    count = sum(parameter.numel() for parameter in decoder.parameters())
    return Cost(count, seconds, searching, memory)


def _median(work: Callable[[], None], device: torch.device) -> float:
    times = []
    for _ in range(REPEATS + 1):  # the first is a warm-up
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def added_memory(work: Callable[[], None], device: torch.device) -> float:
    """Measure the most memory that some work needs for tensors at any one time, in megabytes.

    On the CPU the bytes of tensors are counted (`LiveBytes`). The size of the process would say
    little: once `keep_freed_memory` has been called, a step fits into what earlier ones freed.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    with LiveBytes() as counted:
        work()
    return counted.peak / 2**20


class LiveBytes(TorchDispatchMode):
    """Counts the memory of the tensors that are made while it is active, until they are freed.

    Tensors that existed before, and views, do not count; nor does what an operation allocates and
    frees by itself. The result is the same in every run.

    Attributes:
        now: Bytes of the tensors made so far that still exist.
        peak: The largest value of ``now`` so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = WeakIdKeyDictionary()  # all memory that was seen, counted or not

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count the memory of what it returns."""
        for given, _ in _memory((args, kwargs)):
            self._known[given] = True
        found = func(*args, **(kwargs or {}))
        for made, size in _memory(found):
            if made not in self._known:
                self._known[made] = True
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(made, self._forget, size)
        return found

    def _forget(self, size: int) -> None:
        self.now -= size


def _memory(values: Any) -> Iterator[tuple[Any, int]]:
    """Find what holds the memory of all tensors in nested lists, tuples and dicts, and its bytes.

    Views share a storage. The formats that oneDNN packs weights into have none that can be seen.
    """
    for value in tree_leaves(values):
        if isinstance(value, torch.Tensor):
            if value.layout == torch.strided:
                storage = value.untyped_storage()
                yield storage, storage.nbytes()
            else:
                yield value, value.numel() * value.element_size()
