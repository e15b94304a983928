"""The cost of a decoder: parameters, and time and memory of a training step and of search.

It is measured on random annotations, so that only the computation of attention and decoder counts,
not photographs or disks. Times depend on the machine and its load: compare only times from one run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

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
        memory: Megabytes that a training step adds to the process; None if the system does not
            report it.
    """

    parameters: int
    step: float
    search: float
    memory: float | None


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


def added_memory(work: Callable[[], None], device: torch.device) -> float | None:
    """Measure the peak memory of some work, in megabytes; None if the system does not report it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    work()  # a warm-up, for memory that libraries allocate once
    try:
        reset.write_text("5")  # resets the peak to the current memory
        before = _kilobytes(status, "VmRSS")
        work()
        return (_kilobytes(status, "VmHWM") - before) / 1024
    except (OSError, StopIteration, ValueError):
        return None


def _kilobytes(status: Path, name: str) -> int:
    lines = status.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
