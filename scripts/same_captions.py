"""The same photograph, the same caption: alone and in batches, by PyTorch and by onnxruntime.

    python scripts/same_captions.py PHOTOS... [--model everyday] [--photos 500]

Captions photographs in fp32 in batches of 1, 7 and 64 with both engines, and prints how many
captions differ from PyTorch's one by one, and the differences of log-probabilities and maps. The
exit code is 1 if a caption differs. ``--engines torch`` needs no onnxruntime.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from showattend.caption import Caption
from showattend.captioner import Captioner
from showattend.exceptions import ImageError
from showattend.images.finding import find_images

ENGINES = ("torch", "onnx")
BATCHES = (1, 7, 64)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and print; 0 if all captions are the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--photos", type=int, default=500, help="maximum, evenly spaced")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    options = parser.parse_args(arguments)
    found, _ = find_images(options.paths, recursive=True)
    found = found[:: max(len(found) // options.photos, 1)][: options.photos]
    captioner = Captioner.from_pretrained(options.model, device="cpu", precision="fp32")
    print(f"{len(found)} photographs, model {captioner.name}, fp32", flush=True)
    first: list[Caption] | None = None
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        for engine in options.engines:
            made: Any = captioner if engine == "torch" else exported(captioner, Path(folder))
            for size in options.batches:
                began = time.perf_counter()
                results = [result for _, result in made.stream(found, batch_size=size)]
                seconds = time.perf_counter() - began
                captions = [each for each in results if not isinstance(each, ImageError)]
                first = first or captions
                different += report(f"{engine}, {size} at once", first, captions, seconds)
    return int(different > 0)


def exported(captioner: Captioner, folder: Path) -> Any:
    """The model run by onnxruntime."""
    from showattend.export.engine import OnnxCaptioner
    from showattend.export.folder import export

    export(captioner, folder / "exported")
    return OnnxCaptioner(folder / "exported")


def report(name: str, wanted: list[Caption], found: list[Caption], seconds: float) -> int:
    """Print the differences of a run from the first; the number of captions that differ."""
    pairs = list(zip(wanted, found, strict=True))
    same = [(one, other) for one, other in pairs if one.words == other.words]
    maps = max((float(np.abs(a.attention - b.attention).max()) for a, b in same), default=0)
    log_probs = max(
        (float(np.abs(np.subtract(a.log_probs, b.log_probs)).max()) for a, b in same), default=0
    )
    different = len(pairs) - len(same)
    print(
        f"{name:17} {different} of {len(pairs)} captions differ; maps by at most {maps:.1e}, "
        f"log-probabilities by {log_probs:.1e}; {seconds:.0f} s",
        flush=True,
    )
    for one, other in pairs:
        if one.words != other.words:
            print(f"  {one.image!s}: {one.raw!r}, now {other.raw!r}")
    return different


if __name__ == "__main__":
    sys.exit(main())
