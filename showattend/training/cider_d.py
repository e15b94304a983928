"""CIDEr-D as a reward, for many captions at once and with references prepared in advance.

The score is that of Vedantam et al. 2015, "CIDEr: Consensus-based Image Description Evaluation",
section 5 (CIDEr-D: clipped counts, a Gaussian penalty on the difference in length), as implemented
by pycocoevalcap. Every n-gram of the references has a number, and its statistics are in sorted
arrays. A batch of captions is scored with a few array operations, and the references of COCO's
120,000 images take some hundreds of megabytes.

Shape suffixes: N captions, R references of an image, P flat positions of n-grams, U distinct
n-grams of each caption.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from showattend.exceptions import DataError

ORDERS = 4
SIGMA = 6.0


class _Order(NamedTuple):
    """The n-grams of one order; all arrays have one axis."""

    codes: np.ndarray  # sorted; codes[i] identifies n-gram i
    idf: np.ndarray  # log(images / images with the n-gram in a reference)
    keys: np.ndarray  # image * len(codes) + n-gram, sorted; one entry per reference with it
    references: np.ndarray  # the reference of each entry
    values: np.ndarray  # tf-idf of the n-gram in that reference
    norms: np.ndarray  # the norm of each reference's tf-idf vector


class CiderD:
    """CIDEr-D against a fixed set of references.

    Args:
        references: For each image, its human captions as lists of words. A word may be any hashable
            object. To reward ``<end>``, include it as a word in references and captions.

    Raises:
        DataError: There are no images, or an image has no reference.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[Hashable]]]) -> None:
        if not references or not all(references):
            raise DataError("CIDEr-D needs a reference caption for every image")
        flat = [caption for image in references for caption in image]
        self._words: dict[Hashable, int] = {}
        for caption in flat:
            for word in caption:
                self._words.setdefault(word, len(self._words))
        counts = np.array([len(image) for image in references])
        self._images = len(references)
        self._first = np.concatenate([[0], counts.cumsum()])  # first reference of each image
        self._orders: list[_Order] = []
        image_of = np.repeat(np.arange(self._images), counts)
        words, self._lengths = _flatten([[self._words[w] for w in each] for each in flat])
        grams = np.zeros(len(words), np.int64)
        for n in range(1, ORDERS + 1):
            places, rows = _places(self._lengths, n)
            codes, index = np.unique(
                grams[places] * len(self._words) + words[places + n - 1], return_inverse=True
            )
            grams = np.full(len(words), -1)
            grams[places] = index
            counted, times = np.unique(rows * len(codes) + index, return_counts=True)
            rows, index = counted // max(len(codes), 1), counted % max(len(codes), 1)
            keys = image_of[rows] * len(codes) + index
            holding = np.bincount(np.unique(keys) % max(len(codes), 1), minlength=len(codes))
            idf = np.log(self._images) - np.log(holding)
            values = times * idf[index]
            order = np.argsort(keys, kind="stable")
            self._orders.append(
                _Order(
                    codes,
                    idf,
                    keys[order],
                    rows[order],
                    values[order],
                    np.sqrt(np.bincount(rows, values**2, len(flat))),
                )
            )

    def score(
        self, images: Sequence[int] | np.ndarray, captions: Sequence[Sequence[Hashable]]
    ) -> np.ndarray:
        """Score each caption against the references of its image.

        Args:
            images: The index of the image of each of the N captions.
            captions: N lists of words. Words that are in no reference match nothing.

        Returns:
            The scores, [N] float64, scaled as in pycocoevalcap: 10 for a caption that is equal to
            all its references.
        """
        image_N = np.asarray(images, np.int64)
        unknown: dict[Hashable, int] = {}
        words, lengths = _flatten([[self._number(w, unknown) for w in each] for each in captions])
        N, known = len(image_N), len(self._words)
        count_N = self._first[image_N + 1] - self._first[image_N]
        R = int(count_N.max(initial=1))
        there_NR = np.arange(R) < count_N[:, None]
        reference_NR = np.where(there_NR, self._first[image_N][:, None] + np.arange(R), 0)
        # pycocoevalcap measures the length of a caption in bigrams.
        difference = (
            np.maximum(lengths - 1, 0)[:, None] - np.maximum(self._lengths - 1, 0)[reference_NR]
        )
        similarity_NR = np.zeros((N, R))
        # Two numbers for the (n-1)-gram at each position: `within` identifies it within its
        # caption, to count repetitions; `grams` within the references, -1 if it is not in them.
        within, grams = np.repeat(np.arange(N), lengths), np.zeros(len(words), np.int64)
        for n, order in enumerate(self._orders, 1):
            places, rows_P = _places(lengths, n)
            last = words[places + n - 1]
            _, first, inverse, times = np.unique(
                within[places] * (known + len(unknown)) + last,
                return_index=True,
                return_inverse=True,
                return_counts=True,
            )
            code_U = grams[places[first]] * known + last[first]
            code_U[(grams[places[first]] < 0) | (last[first] >= known)] = -1
            gram_U, rows_U = _find(order.codes, code_U), rows_P[first]
            within, grams = np.zeros_like(within), np.full(len(words), -1)
            within[places], grams[places] = inverse, gram_U[inverse]
            idf_U = np.full(len(first), np.log(self._images))
            idf_U[gram_U >= 0] = order.idf[gram_U[gram_U >= 0]]
            value_U = times * idf_U
            norm_N = np.sqrt(np.bincount(rows_U, value_U**2, N))

            # Add up the dot products with the references of the image that have the n-gram.
            key_U = image_N[rows_U] * len(order.codes) + gram_U
            key_U[gram_U < 0] = -1
            start_U = np.searchsorted(order.keys, key_U, "left")
            held_U = np.searchsorted(order.keys, key_U, "right") - start_U
            mine = np.repeat(np.arange(len(first)), held_U)
            entry = np.arange(len(mine)) + np.repeat(start_U - held_U.cumsum() + held_U, held_U)
            theirs = order.values[entry]
            product = np.minimum(value_U[mine], theirs) * theirs
            column = order.references[entry] - self._first[image_N[rows_U[mine]]]
            dot = np.bincount(rows_U[mine] * R + column, product, N * R).reshape(N, R)
            norms_NR = norm_N[:, None] * order.norms[reference_NR]
            similarity_NR += np.divide(dot, norms_NR, out=np.zeros((N, R)), where=norms_NR > 0)
        similarity_NR *= np.exp(-(difference**2) / (2 * SIGMA**2)) * there_NR
        return similarity_NR.sum(1) / count_N / ORDERS * 10

    def _number(self, word: Hashable, unknown: dict[Hashable, int]) -> int:
        number = self._words.get(word, -1)
        return number if number >= 0 else len(self._words) + unknown.setdefault(word, len(unknown))


def _flatten(captions: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate the words of all captions; return them and the length of each caption [N]."""
    lengths = np.array([len(caption) for caption in captions], np.int64)
    return np.array([word for caption in captions for word in caption], np.int64), lengths


def _places(lengths: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where n-grams begin among the flat words, [P], and the caption of each, [P]."""
    grams = np.maximum(lengths - n + 1, 0)
    rows = np.repeat(np.arange(len(lengths)), grams)
    starts = lengths.cumsum() - lengths
    return np.arange(len(rows)) + np.repeat(starts - grams.cumsum() + grams, grams), rows


def _find(table: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the index of each wanted value in a sorted table; -1 if it is missing."""
    if not len(table):
        return np.full(len(wanted), -1)
    index = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    return np.where(table[index] == wanted, index, -1)
