"""Validation: the loss per token, and the scores of captions found by search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from showattend.data.loader import Batch, CaptionLoader
from showattend.decoding.beam import search
from showattend.evaluation.scores.map_statistics import describe_maps
from showattend.evaluation.scores.metrics import CiderValidator
from showattend.evaluation.scores.wording import wording
from showattend.model.decoders.protocol import Decoder, Forced
from showattend.model.search_options import SearchOptions
from showattend.system.processes import Processes
from showattend.text.vocabulary import Vocabulary
from showattend.training.losses import captioning_loss
from showattend.training.reporter import Reporter


class Validation:
    """Captions and scores the validation split after every epoch.

    Args:
        loader: The images with their captions.
        vocabulary: The model's vocabulary.
        options: The options of the search.
        reporter: Receives the progress.
        processes: The processes among which the images are divided.
        sets: The name of the data set of each image, [N]; None if there is only one.
    """

    def __init__(
        self,
        loader: CaptionLoader,
        vocabulary: Vocabulary,
        options: SearchOptions,
        reporter: Reporter,
        processes: Processes,
        sets: Sequence[str] | None = None,
    ) -> None:
        self.loader, self.vocabulary = loader, vocabulary
        self.options, self.reporter, self.processes = options, reporter, processes
        self.set_of = list(sets or [""] * len(loader.records))
        references: dict[str, dict[int, list[list[str]]]] = {}
        for row, name in enumerate(self.set_of):
            references.setdefault(name, {})[row] = loader.spoken[row]
        self.scorers = {name: CiderValidator(each) for name, each in references.items()}

    @torch.no_grad()
    def __call__(
        self, decoder: Decoder, annotate: Callable[[Batch], torch.Tensor]
    ) -> dict[str, Any]:
        """Caption and score every image.

        Args:
            decoder: The decoder, in eval mode.
            annotate: A function from a batch to its annotations [B, H, W, D].

        Returns:
            val_loss (with teacher forcing, without smoothing), BLEU-4, CIDEr, and the figures of
            the wording and of the maps. With several data sets, the first three are the means over
            the data sets, and ``sets`` holds those of each data set by name.
        """
        captions: dict[int, list[str]] = {}
        maps: list[torch.Tensor] = []
        losses = {name: [0.0, 0.0] for name in self.scorers}  # sum over tokens, number of tokens
        for number, batch in enumerate(self.loader.batches()):
            if not batch.of_images:  # fewer images than processes
                continue
            annotations = annotate(batch)
            lengths = batch.lengths.to(annotations.device)
            forced = decoder(annotations, batch.captions.to(annotations.device), lengths)
            for name, summed, tokens in self._losses(forced, lengths, batch.rows):
                losses[name][0] += summed
                losses[name][1] += tokens
            found = search(decoder, annotations, self.options)
            for row, hypotheses in zip(batch.rows, found, strict=True):
                captions[row] = self.vocabulary.decode(hypotheses[0].words)
                if hypotheses[0].alpha is not None:
                    maps.append(hypotheses[0].alpha)
            self.reporter.task("Validation", number + 1, len(self.loader))
        parts = self.processes.gather((captions, maps, losses))
        captions = {k: v for part in parts for k, v in part[0].items()}
        figures: dict[str, dict[str, float]] = {}
        for name, scorer in self.scorers.items():
            total, count = (sum(part[2][name][i] for part in parts) for i in (0, 1))
            mine = {row: words for row, words in captions.items() if self.set_of[row] == name}
            figures[name] = {"val_loss": total / count, **scorer.score(mine)}
        keys = next(iter(figures.values()))
        return {
            **{key: sum(each[key] for each in figures.values()) / len(figures) for key in keys},
            **({"sets": figures} if len(figures) > 1 else {}),
            **wording(list(captions.values())),
            **describe_maps(each for part in parts for each in part[1]),
        }

    def _losses(
        self, forced: Forced, lengths: torch.Tensor, rows: Sequence[int]
    ) -> Iterator[tuple[str, float, int]]:
        """Yield each data set's name, the sum of its cross-entropy, and its number of tokens."""
        names = [self.set_of[row] for row in rows]
        if len(set(names)) == 1:
            count = int(lengths.sum())
            yield names[0], captioning_loss(forced, lengths).cross_entropy.item() * count, count
            return
        logits = forced.logits.to(torch.promote_types(forced.logits.dtype, torch.float32))
        each = cross_entropy(logits, forced.targets, reduction="none")
        images = (forced.captions // lengths.shape[1]).tolist()  # from indices into [B, K]
        for name in dict.fromkeys(names):
            here = torch.tensor([names[image] == name for image in images], device=each.device)
            yield name, float(each[here].sum()), int(here.sum())
