"""Compare ways to sum the gradients of several processes: the time of a training step.

torchrun --nproc-per-node 2 scripts/benchmark/messages.py [--steps N] [--output FILE]

``alone`` sends nothing, ``one message`` sends all gradients after the backward pass, and
``overlapping`` is what training does (`showattend.training.gradients`). They take turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from showattend.config import Config
from showattend.data.loader import Batch
from showattend.model.build import build_decoder
from showattend.system.device import choose_device, choose_dtype, keep_freed_memory
from showattend.system.files import write_json
from showattend.system.processes import ALONE, join, leave
from showattend.system.provenance import portable, remember_command, stamp
from showattend.training.gradients import SharedGradients
from showattend.training.losses import batch_loss

IMAGES, CAPTIONS, WORDS, GRID, DIM, VOCABULARY = 16, 5, 15, 7, 1280, 9490


@contextmanager
def _timed(found: list[float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    found.append(time.perf_counter() - start)


def main() -> None:
    """Measure, and print the medians of the first process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--output", type=Path, help="file for the record")
    given = parser.parse_args()
    config = Config()
    processes, device = join(choose_device("auto"))
    dtype = choose_dtype("auto", device)
    keep_freed_memory()
    torch.manual_seed(processes.rank)
    decoder = build_decoder(
        config.decoder, config.attention, config.encoder,
        vocabulary_size=VOCABULARY, feature_dim=DIM,
    ).to(device).train()  # fmt: skip
    annotations = torch.randn(IMAGES, GRID, GRID, DIM, device=device).to(dtype)
    captions = torch.randint(4, VOCABULARY, (IMAGES, CAPTIONS, WORDS + 2))
    lengths = torch.full((IMAGES, CAPTIONS), WORDS + 1)
    batch = Batch(annotations, captions, lengths, list(range(IMAGES)))
    parameters = list(decoder.parameters())

    def backward(gradients: SharedGradients) -> None:
        gradients.backward(
            [decoder],
            lambda: batch_loss(decoder, annotations, batch, config.train),
            lambda loss: loss.total,
            last=True,
        )

    def one_message() -> None:
        backward(alone)
        grads = [p.grad for p in parameters if p.grad is not None]
        together = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(together)
        for grad, part in zip(grads, together.split([g.numel() for g in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    alone, overlapping = SharedGradients(ALONE), SharedGradients(processes)
    ways: dict[str, Callable[[], None]] = {
        "alone": lambda: backward(alone),
        "one message": one_message,
        "overlapping": lambda: backward(overlapping),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(given.steps + 3):
        for name, way in ways.items():
            for parameter in parameters:
                parameter.grad = None
            processes.wait()
            with _timed(found[name]):
                way()
            if number < 3:  # buckets are laid out, memory is allocated
                found[name].clear()
    if processes.first:
        size = 4 * sum(parameter.numel() for parameter in parameters) / 1e6
        print(f"{processes.count} processes, {size:.0f} MB of gradients, {dtype} on {device.type}")
        for name, times in found.items():
            middle, low, high = (
                1000 * each for each in (statistics.median(times), min(times), max(times))
            )
            print(f"{name}: {middle:.0f} ms ({low:.0f} to {high:.0f})")
        if given.output:
            started = ["--nproc-per-node", str(processes.count), "scripts/benchmark/messages.py"]
            remember_command([*started, *sys.argv[1:]], "torchrun")
            record = {
                "processes": processes.count,
                "megabytes": size,
                "precision": str(dtype).removeprefix("torch."),
                "seconds": found,
                "provenance": stamp(device),
            }
            write_json(given.output, portable(record))
    leave()


if __name__ == "__main__":
    main()
