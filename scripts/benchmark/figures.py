"""Time every output format for a caption of twelve words, without the model.

python scripts/benchmark/figures.py [PHOTO]

Prints one line per format: seconds for the first and the best of five runs, and the file size. The
first includes the import of matplotlib.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from showattend.caption import Caption
from showattend.images.preprocessing import Preprocessing
from showattend.visualize import FORMS

WORDS = ["a", "woman", "in", "an", "orange", "suit", "stands", "in", "front", "of", "a", "flag"]
PHOTO = Path(__file__).parents[2] / "assets/photos/astronaut.jpg"


def main() -> None:
    """Print the table."""
    photo = Path(sys.argv[1]) if len(sys.argv) > 1 else PHOTO
    _, geometry = Preprocessing(224).load_pixels(photo)
    maps = np.random.default_rng(0).dirichlet(np.full(49, 0.3), len(WORDS))
    caption = Caption(
        words=tuple(WORDS),
        log_probs=(-1.0,) * (len(WORDS) + 1),
        attention=maps.reshape(-1, 7, 7).astype(np.float32),
        betas=np.full(len(WORDS), 0.5, np.float32),
        geometry=geometry,
        score=-1.0,
        image=photo,
    )
    print(f"{photo.name}, {len(WORDS)} words")
    print("form     first    best      kB")
    for suffix, make in FORMS.items():
        took = []
        for _ in range(5):
            start = time.perf_counter()
            content = make(caption, suffix)
            took.append(time.perf_counter() - start)
        print(f"{suffix:6} {took[0]:6.2f} s {min(took):5.2f} s {len(content) // 1000:7}")


if __name__ == "__main__":
    main()
