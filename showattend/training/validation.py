"""Validation: the loss a token, and the scores of captions searched freely."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch

from showattend.data.loader import Batch, CaptionLoader
from showattend.decoders.lstm import LSTMDecoder
from showattend.evaluation.maps import describe_maps
from showattend.evaluation.metrics import CiderValidator
from showattend.evaluation.wording import wording
from showattend.processes import Processes
from showattend.search import SearchOptions, search
from showattend.text import Vocabulary
from showattend.training.losses import captioning_loss
from showattend.training.reporter import Reporter


class Validation:
    """The validation split, ready to be captioned after every epoch.

    Args:
        loader: Its images with their captions.
        vocabulary: What the model's word numbers mean.
        options: How to search.
        reporter: Told how far it is.
        processes: Among which the images are divided.
    """

    def __init__(
        self,
        loader: CaptionLoader,
        vocabulary: Vocabulary,
        options: SearchOptions,
        reporter: Reporter,
        processes: Processes,
    ) -> None:
        self.loader, self.vocabulary = loader, vocabulary
        self.options, self.reporter, self.processes = options, reporter, processes
        self.scorer = CiderValidator({r.image_id: r.captions for r in loader.records})

    @torch.no_grad()
    def __call__(
        self, decoder: LSTMDecoder, annotate: Callable[[Batch], torch.Tensor]
    ) -> dict[str, float]:
        """Caption every image.

        Args:
            decoder: In eval mode.
            annotate: A batch to its annotations [B, L, D].

        Returns:
            val_loss (teacher forced, without smoothing), BLEU-4, CIDEr, and the figures of the
            wording and of the maps.
        """
        captions: dict[Hashable, list[str]] = {}
        maps: list[torch.Tensor] = []
        loss, tokens = 0.0, 0
        for number, batch in enumerate(self.loader.batches()):
            if not batch.of_images:  # there are fewer images than processes
                continue
            annotations = annotate(batch)
            lengths = batch.lengths.to(annotations.device)
            forced = decoder(annotations, batch.captions.to(annotations.device), lengths)
            count = int(lengths.sum())
            loss += captioning_loss(forced, lengths).cross_entropy.item() * count
            tokens += count
            found = search(decoder, annotations, self.options)
            for row, hypotheses in zip(batch.rows, found, strict=True):
                record = self.loader.records[row]
                captions[record.image_id] = self.vocabulary.decode(hypotheses[0].words)
                maps.append(hypotheses[0].alpha.cpu())
            self.reporter.task("Validation", number + 1, len(self.loader))
        parts = self.processes.gather((captions, maps, loss, tokens))
        captions = {k: v for part in parts for k, v in part[0].items()}
        return {
            "val_loss": sum(part[2] for part in parts) / sum(part[3] for part in parts),
            **self.scorer.score(captions),
            **wording(list(captions.values())),
            **describe_maps(each for part in parts for each in part[1]),
        }
