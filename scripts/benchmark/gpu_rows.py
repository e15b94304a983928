"""The benchmark's table on a GPU: eager, compiled, CUDA graphs; a part of gpu.py.

Rows are printed one by one. A row that cannot be measured has the reason instead of figures. The
device is synchronized before and after each round.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rows import QUICK, Sizes, our_step, usual_step
from usual import UsualDecoder

from showattend.decoding.beam import search
from showattend.model.build import build_encoder
from showattend.model.fast import compile_step
from showattend.model.search_options import SearchOptions
from showattend.system.device import exact_float32

Work = Callable[[], Any]


class NotMeasuredError(Exception):
    """Why a row has no figures."""


def sizes_of(quick: bool) -> Sizes:
    """The sizes of the computation."""
    return QUICK if quick else Sizes()


def training_step(device: str, quick: bool, dtype: torch.dtype, how: str) -> Work:
    """A training step: loss, gradients, AdamW.

    Raises:
        NotMeasuredError: There is no compiler.
    """
    sizes = sizes_of(quick)
    decoder = sizes.decoder().to(device).train()
    features, captions, lengths = (each.to(device) for each in sizes.batch())
    batch = (features.to(dtype), captions, lengths)
    if how == "usual":
        return usual_step(UsualDecoder.like(decoder).to(device), batch)
    if how == "compiled" and (trouble := compile_step(decoder, dtype)):
        raise NotMeasuredError(trouble)
    return our_step(decoder, batch)


@torch.no_grad()
def beam_search(device: str, quick: bool, dtype: torch.dtype) -> Work:
    """A search for the captions of all images at once."""
    sizes = sizes_of(quick)
    decoder = sizes.decoder().to(device, dtype).eval()
    shape = (sizes.searched, sizes.locations, sizes.feature)
    features = torch.rand(shape, generator=torch.Generator().manual_seed(2)).to(device, dtype)
    options = SearchOptions(beam_size=sizes.beams, max_length=sizes.longest)
    return lambda: search(decoder, features, options)


@torch.no_grad()
def encoder_pass(device: str, quick: bool, dtype: torch.dtype, how: str) -> Work:
    """Normalised images to annotations by EfficientNet-Lite2."""
    encoder = build_encoder(name="efficientnet_lite2", pretrained=False).to(device)
    size, count = (64, 2) if quick else (288, 64)
    images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(3))
    images = images.to(device, memory_format=torch.channels_last)
    low = dtype != torch.float32

    def encoded() -> torch.Tensor:
        # A cast cached by autocast would not be part of a captured graph.
        with torch.autocast(images.device.type, dtype, enabled=low, cache_enabled=False):
            annotations: torch.Tensor = encoder(images)
        return annotations

    return _perhaps_graphed(encoded, device, how)


@torch.no_grad()
def decoder_steps(device: str, quick: bool, dtype: torch.dtype, how: str) -> Work:
    """The steps of a caption's words, of five captions of each of 64 images, without search."""
    sizes = sizes_of(quick)
    decoder = sizes.decoder().to(device, dtype).eval()
    shape = (sizes.searched, 1, sizes.locations, sizes.feature)
    memory = decoder.memory(torch.rand(shape, device=device, dtype=dtype))
    words = torch.ones(sizes.searched, sizes.beams, dtype=torch.long, device=device)
    start = decoder.start(memory)
    state = type(start)(*(each.expand(-1, sizes.beams, *each.shape[2:]) for each in start))

    def steps() -> torch.Tensor:
        now, taken = state, words
        for _ in range(sizes.longest):
            step = decoder.step(taken, now, memory)
            now, taken = step.state, step.log_probs.argmax(-1)
        return taken

    return _perhaps_graphed(steps, device, how)


def _perhaps_graphed(work: Work, device: str, how: str) -> Work:
    """The same work, replayed as one CUDA graph if requested.

    Raises:
        NotMeasuredError: There is no CUDA, or the work cannot be captured.
    """
    work = torch.no_grad()(work)
    if how != "graph":
        return work
    if not device.startswith("cuda"):
        raise NotMeasuredError(f"CUDA graphs are not for {device}")
    graph = torch.cuda.CUDAGraph()
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            wanted = work()
    torch.cuda.current_stream().wait_stream(aside)
    with torch.cuda.graph(graph):
        found = work()
    graph.replay()
    torch.cuda.synchronize()
    if not torch.allclose(found.float(), wanted.float(), atol=1e-2, rtol=1e-2):
        raise NotMeasuredError("the captured graph gives other results")
    return graph.replay


FP32, BF16 = torch.float32, torch.bfloat16
ROWS: dict[str, Callable[[str, bool], Work]] = {
    "training step, usual, fp32": partial(training_step, dtype=FP32, how="usual"),
    "training step, fp32": partial(training_step, dtype=FP32, how="eager"),
    "training step, bf16": partial(training_step, dtype=BF16, how="eager"),
    "search, fp32": partial(beam_search, dtype=FP32),
    "search, bf16": partial(beam_search, dtype=BF16),
    "20 steps of 320 captions, fp32": partial(decoder_steps, dtype=FP32, how="eager"),
    "20 steps of 320 captions, bf16": partial(decoder_steps, dtype=BF16, how="eager"),
    "encoder, 64 images, fp32": partial(encoder_pass, dtype=FP32, how="eager"),
    "encoder, 64 images, bf16": partial(encoder_pass, dtype=BF16, how="eager"),
    # Last: compilation takes long, and a failed capture may take CUDA with it.
    "training step, bf16, compiled": partial(training_step, dtype=BF16, how="compiled"),
    "encoder, 64 images, fp32, CUDA graph": partial(encoder_pass, dtype=FP32, how="graph"),
    "encoder, 64 images, bf16, CUDA graph": partial(encoder_pass, dtype=BF16, how="graph"),
    "20 steps of 320 captions, fp32, CUDA graph": partial(decoder_steps, dtype=FP32, how="graph"),
    "20 steps of 320 captions, bf16, CUDA graph": partial(decoder_steps, dtype=BF16, how="graph"),
}
"""A training step is in no CUDA graph: it reads the number of time steps from the lengths."""


def measured(work: Work, device: str, repeats: int) -> dict[str, Any]:
    """Median, lowest and highest time of a round, after two warm-up rounds."""

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    times = []
    for number in range(repeats + 2):
        wait()
        begun = time.perf_counter()
        work()
        wait()
        if number >= 2:
            times.append(1000 * (time.perf_counter() - begun))
    return {"median": statistics.median(times), "low": min(times), "high": max(times), "unit": "ms"}


def main() -> None:
    """Measure row by row."""
    settings = json.loads(sys.argv[1])
    end = time.monotonic() + settings["seconds"]
    device, quick = settings["device"], settings["quick"]
    rows: list[dict[str, Any]] = []
    for name, build in ROWS.items():
        if time.monotonic() > end:
            rows.append({"name": name, "note": "no time was left"})
            continue
        try:
            with exact_float32():
                figures = measured(build(device, quick), device, 2 if quick else 10)
            rows.append({"name": name, **figures, "note": "tiny sizes" if quick else ""})
        except Exception as error:  # the next row may still be measured
            reason = " ".join(str(error).split())[:160]
            rows.append({"name": name, "note": f"not measured: {reason or type(error).__name__}"})
        print(json.dumps({"rows": rows}), flush=True)
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
    print(json.dumps({"rows": rows}), flush=True)


if __name__ == "__main__":
    main()
