"""The captions of a data set as words, tokenized once for all uses."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from showattend.data.records import Record
from showattend.text.tokenizer import tokenize


class Spoken:
    """The words of the captions of N records.

    They are stored in a few flat arrays, which subsets (`take`) share: a list per caption would be
    ten times their size.

    Args:
        records: Records with their captions as written.

    Attributes:
        words: The distinct words, in the order of their numbers.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        numbers: dict[str, int] = {}
        tokens, ends, images = array("i"), array("Q", [0]), array("Q", [0])
        for record in records:
            for text in record.captions:
                tokens.extend(numbers.setdefault(word, len(numbers)) for word in tokenize(text))
                ends.append(len(tokens))
            images.append(len(ends) - 1)
        self.words = tuple(numbers)
        self._tokens, self._ends = np.asarray(tokens, np.int32), np.asarray(ends)
        self._images = np.asarray(images)
        self._rows = np.arange(len(images) - 1)

    def take(self, rows: Sequence[int] | np.ndarray) -> Spoken:
        """Those of these records, in this order; the words and their numbers stay the same.

        Args:
            rows: The records, [N].
        """
        taken = object.__new__(Spoken)
        taken.__dict__ |= self.__dict__
        taken._rows = self._rows[np.asarray(rows, np.intp)]
        return taken

    def __len__(self) -> int:
        """The number of records."""
        return len(self._rows)

    def numbers(self, row: int) -> list[np.ndarray]:
        """A record's captions as numbers of `words`, [T] each; T is 0 if it has no words."""
        first, last = self._images[self._rows[row] : self._rows[row] + 2].tolist()
        ends = self._ends[first : last + 1].tolist()
        return [self._tokens[begin:end] for begin, end in pairwise(ends)]

    def __getitem__(self, row: int) -> list[list[str]]:
        """A record's captions as words."""
        return [[self.words[i] for i in caption.tolist()] for caption in self.numbers(row)]

    def __iter__(self) -> Iterator[list[list[str]]]:
        """Iterate over the records."""
        return map(self.__getitem__, range(len(self)))

    def counts(self) -> Counter[str]:
        """How often each word occurs."""
        bounds = zip(self._images[self._rows], self._images[self._rows + 1], strict=True)
        spans = [self._tokens[self._ends[first] : self._ends[last]] for first, last in bounds]
        joined = np.concatenate(spans) if spans else self._tokens[:0]
        total = np.bincount(joined, minlength=len(self.words))
        return Counter({w: n for w, n in zip(self.words, total.tolist(), strict=True) if n})
