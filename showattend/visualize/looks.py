"""Where a model looked when it named an object, and where the object is: hits and misses."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from showattend.caption import Caption
from showattend.visualize.gallery import Card
from showattend.visualize.heat import light_up, photo_of

OUTLINE, PEAK = (64, 200, 255), (255, 64, 64)
SIDE = 480  # pixels of the longer side


class Looks:
    """Keeps the clearest hits and the worst misses of many words.

    A hit has its peak inside the object, a miss outside. The hits with the most attention inside
    and the misses with the least are kept, at most one of each per image.

    Args:
        count: The number of each to keep.
        sigma: The standard deviation of the Gaussian blur before locating peaks.
    """

    def __init__(self, count: int, sigma: float = 0.0) -> None:
        self.count, self.sigma = count, sigma
        self._kept: dict[bool, list[tuple[float, int, Card]]] = {True: [], False: []}
        self._seen = 0

    def __call__(
        self, caption: Caption, words: Sequence[dict[str, Any]], masks: Mapping[str, np.ndarray]
    ) -> None:
        """Consider the words of one caption, as measured by `showattend.evaluation.grounding`."""
        for hit in (True, False):
            mine = [word for word in words if (word["pointing"]["model"] >= 0.5) == hit]
            sign = 1 if hit else -1
            ranked = sorted(mine, key=lambda word: sign * word["mass"]["model"])
            for word in ranked[-1:]:
                self._offer(hit, sign * word["mass"]["model"], caption, word, masks)

    def _offer(
        self,
        hit: bool,
        rank: float,
        caption: Caption,
        word: dict[str, Any],
        masks: Mapping[str, np.ndarray],
    ) -> None:
        kept = self._kept[hit]
        self._seen += 1
        if len(kept) == self.count and rank <= kept[0][0]:
            return
        inside = np.logical_or.reduce([masks[name] for name in word["categories"]])
        share = f"{100 * word['mass']['model']:.0f} % of its map on the {word['categories'][0]}"
        told = f"“{word['word']}”: {'peak inside' if hit else 'peak outside'}, {share}"
        card = Card(
            image=draw_look(
                caption, word["position"], len(word["word"].split()), inside, self.sigma
            ),
            caption=caption.text,
            tags=() if hit else (told,),
            score=told if hit else "",
        )
        # Of equals, the first comes first: cards cannot be compared.
        heapq.heappush(kept, (rank, -self._seen, card))
        if len(kept) > self.count:
            heapq.heappop(kept)

    def cards(self) -> list[Card]:
        """The hits, the clearest first; then the misses, the worst first."""
        return [
            card
            for hit in (True, False)
            for *_, card in sorted(self._kept[hit], key=lambda each: each[:2], reverse=True)
        ]


def draw_look(
    caption: Caption, position: int, words: int, inside: np.ndarray, sigma: float = 0.0
) -> Image.Image:
    """The photo lit where the model looked, the object outlined, the map's peak marked.

    Args:
        caption: The caption, which knows its image.
        position: The first word that names the object.
        words: The number of words that name it; their maps are averaged.
        inside: The mask of the object [height, width] bool.
        sigma: The standard deviation of a Gaussian blur, as `Geometry.upsample` takes it.

    Raises:
        UserError, ImageError: As `photo_of`.
    """
    photo = photo_of(caption)
    steps = range(position, position + words)
    heat = np.mean([caption.heatmap(t, sigma) for t in steps], axis=0)
    # At an edge of the photo the peak is a plateau: mark its middle.
    y, x = (places.mean() for places in np.nonzero(heat >= heat.max() * (1 - 1e-6)))
    scale = SIDE / max(photo.size)
    width, height = (max(round(side * scale), 1) for side in photo.size)
    lit = light_up(np.asarray(photo), heat / heat.max())
    picture = Image.fromarray(lit).resize((width, height), Image.Resampling.BICUBIC)
    mask = np.asarray(Image.fromarray(inside).resize((width, height), Image.Resampling.NEAREST))
    pixels = np.asarray(picture).copy()
    pixels[_rim(mask)] = OUTLINE
    picture = Image.fromarray(pixels)
    centre = (x + 0.5) * scale, (y + 0.5) * scale
    radius = SIDE / 60
    box = [centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius]
    ImageDraw.Draw(picture).ellipse(box, outline=PEAK, width=4)
    return picture


def _rim(mask: np.ndarray, thick: int = 2) -> np.ndarray:
    """The pixels of a mask that lie next to one outside it."""
    core = mask.copy()
    for _ in range(thick):
        padded = np.pad(core, 1, constant_values=True)
        core = (
            core
            & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        )  # fmt: skip
    return mask & ~core
