"""Captioner: from photographs to captions, and where the model looked for each word.

docs/design.md lists the files that a photograph passes through, in reading order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np
import torch

from showattend.caption import Caption, Photo
from showattend.caption_forms import Captions, sampled_maps
from showattend.decoding.beam import search
from showattend.decoding.hypotheses import Hypothesis
from showattend.exceptions import ImageError
from showattend.given import Given, Looked
from showattend.images.preprocessing import Fitted
from showattend.images.sources import ImageSource, is_source, listed
from showattend.model.encoder import encode
from showattend.model.search_options import SearchOptions
from showattend.system.checks import whole_number
from showattend.system.device import exact_float32
from showattend.system.notebook_bars import counted
from showattend.system.threads import in_order
from showattend.text.tokenizer import tokenize


class Captioner(Given):
    """Captions photographs, and shows where it looked for each word.

    Its parts (`encoder`, `decoder`, `vocabulary`, `preprocessing` and more), loading and saving are
    those of `showattend.model.pretrained.Model`; `attend` and `sample` those of `Given`.

    Example:
        >>> Captioner.from_pretrained().caption("photo.jpg").text
    """

    @overload
    def caption(self, images: ImageSource | Looked, **options: Any) -> Caption: ...
    @overload
    def caption(self, images: Sequence[ImageSource], **options: Any) -> list[Caption]: ...
    def caption(
        self, images: ImageSource | Looked | Sequence[ImageSource], **options: Any
    ) -> Caption | list[Caption]:
        """Caption one image or a list of them.

        Args:
            images: A path, the bytes of a file, a file opened in binary mode, a PIL image, or an
                array or tensor [H, W], [H, W, 3 or 4] or [3, H, W]; or a list of these;
                or the result of `look`.
            **options: ``beam_size``, ``n_best``, ``max_length``, ``min_length``,
                ``length_penalty``, ``block_ngrams`` (`SearchOptions`), ``batch_size``; to steer,
                ``prefix`` (the caption's first words, as text) and ``banned`` (a list of words not
                to use after them).

        Returns:
            A `Caption`, or a list of them for a list. A notebook shows them as the interactive
            viewer and as a gallery, and a bar while it captions many.

        Raises:
            ImageError: An image cannot be opened, or has a type that is not an image's.
            ConfigError: An option has an invalid value.
        """
        if isinstance(images, Looked):
            with torch.inference_mode(), exact_float32():
                chosen, first = self._chosen(**options)
                found = search(self.decoder, images.features, chosen)
            return self._ranked(found[0], first, images.photo)
        alone, results = is_source(images), Captions()
        stream = self.stream(images, **options)
        for _, result in stream if alone else counted(stream, images, "Captioning"):
            if isinstance(result, ImageError):
                raise result
            results.append(result)
        return results[0] if alone else results

    def stream(
        self,
        images: ImageSource | Iterable[ImageSource],
        *,
        batch_size: int = 32,
        **options: Any,
    ) -> Iterator[tuple[ImageSource, Caption | ImageError]]:
        """Caption any number of images, in order, with an error in place of a bad one.

        Threads open files ahead of the model; memory does not grow with the number of images.

        Args:
            images: Images, as for `caption`.
            batch_size: Images the model sees at once.
            **options: See `caption`. A word of the prefix that the model does not know is read as
                ``<unk>``, and keeps its map.

        Returns:
            An iterator over each source with its caption, or with what is wrong with it.

        Raises:
            ConfigError: An option has an invalid value; raised by the call itself,
                before any image is asked for.
            ImageError: The argument is not a list of images; raised by the call, too.
        """
        batch_size = whole_number("batch_size", batch_size, 1, 100_000)
        return self._stream(listed(images), batch_size, *self._chosen(**options))

    def _chosen(
        self, prefix: str = "", banned: Iterable[str] = (), **options: Any
    ) -> tuple[SearchOptions, tuple[str, ...]]:
        """The options of a search, and the prefix."""
        first = tuple(tokenize(prefix))
        numbers, without = self._numbers(first), self._banned(banned)
        return replace(self.search, prefix=numbers, banned=without, **options), first

    def _stream(
        self,
        images: Iterable[ImageSource],
        batch_size: int,
        options: SearchOptions,
        first: tuple[str, ...],
    ) -> Iterator[tuple[ImageSource, Caption | ImageError]]:
        threads = max(1, min(8, torch.get_num_threads()))
        opened = in_order(self._open, images, threads=threads, ahead=2 * batch_size)
        while batch := list(itertools.islice(opened, batch_size)):
            good = [each for _, each in batch if not isinstance(each, ImageError)]
            captions = iter(self._caption_batch(good, options, first) if good else [])
            for source, result in batch:
                yield source, result if isinstance(result, ImageError) else next(captions)

    def _open(self, source: ImageSource) -> tuple[ImageSource, Fitted] | ImageError:
        try:
            return self._load(source)
        except ImageError as error:
            return error

    @torch.inference_mode()
    def _caption_batch(
        self,
        batch: Sequence[tuple[ImageSource, Fitted]],
        options: SearchOptions,
        first: tuple[str, ...],
    ) -> list[Caption]:
        with exact_float32():
            features, photos = self._look(batch)
            found = search(self.decoder, features, options)
        return [self._ranked(each, first, photo) for photo, each in zip(photos, found, strict=True)]

    def _look(
        self, photos: Sequence[tuple[ImageSource, Fitted]]
    ) -> tuple[torch.Tensor, list[Photo]]:
        """The annotations [B, H, W, D] of photographs, and what each one's captions share."""
        self.outlive_fork()
        pixels = torch.from_numpy(np.stack([fitted.pixels for _, fitted in photos]))
        pixels = pixels.permute(0, 3, 1, 2).to(self.device)
        features = encode(self.encoder, pixels, self.preprocessing, self.dtype)
        means = features.flatten(1, 2).float().mean(1).cpu().numpy()
        familiar = self.calibration.familiar(means, self.preprocessing.size)
        grid = tuple(features.shape[1:3])
        return features, [
            Photo(source, fitted.geometry, grid, each)
            for (source, fitted), each in zip(photos, familiar, strict=True)
        ]

    def _ranked(
        self, hypotheses: list[Hypothesis], first: tuple[str, ...], photo: Photo
    ) -> Caption:
        """The best of an image's hypotheses, with the others; the prefix words as given.

        The model reads an unknown one as <unk>; the caption shows it as given.
        """
        best, *rest = (
            self._to_caption(
                each, first + tuple(self.vocabulary.decode(each.words[len(first) :])), photo
            )
            for each in hypotheses
        )
        return replace(best, alternatives=tuple(rest))

    def _to_caption(self, found: Hypothesis, words: tuple[str, ...], photo: Photo) -> Caption:
        T, (H, W) = len(words), photo.grid
        # Without maps, a decoder sees the mean annotation: every cell weighs the same.
        alpha = torch.full((T, H * W), 1 / (H * W)) if found.alpha is None else found.alpha
        maps, names = alpha.numpy().reshape(-1, H, W), getattr(self.decoder, "part_names", ())
        parts = None if found.parts is None else found.parts.unflatten(2, (H, W)).numpy()
        if parts is None and names:  # hard attention
            parts = sampled_maps(maps, len(names))
        return Caption(
            words=words,
            log_probs=tuple(found.log_probs),
            attention=maps,
            betas=None if found.beta is None else found.beta.numpy(),
            geometry=photo.geometry,
            score=found.score,
            image=photo.image,
            unsure_below=self.calibration.unsure_below,
            familiarity=photo.familiarity,
            parts=parts,
            part_names=() if parts is None else names,
            sentinel=None if found.sentinel is None else found.sentinel.numpy(),
        )
