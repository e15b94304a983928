"""Captioner: from photographs to captions, and where the model looked for each word.

docs/design.md lists the files that a photograph passes through, in the order to read them in.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image

from showattend.caption import Caption, Photo
from showattend.caption_forms import Captions, sampled_maps
from showattend.decoding.beam import search
from showattend.decoding.hypotheses import Hypothesis
from showattend.exceptions import ImageError
from showattend.given import Given
from showattend.images.image_files import ImageSource
from showattend.images.preprocessing import Fitted
from showattend.model.encoder import encode
from showattend.model.search_options import SearchOptions
from showattend.system.checks import whole_number
from showattend.system.device import exact_float32
from showattend.system.notebook_bars import counted
from showattend.system.threads import in_order
from showattend.text.tokenizer import tokenize


class Captioner(Given):
    """Captions photographs, and says for every word where it looked.

    Its parts (`encoder`, `decoder`, `vocabulary`, `preprocessing` and more), loading and saving are
    those of `showattend.model.pretrained.Model`; `attend` and `sample` those of `Given`.

    Example:
        >>> Captioner.from_pretrained().caption("photo.jpg").text
    """

    @overload
    def caption(self, images: ImageSource, **options: Any) -> Caption: ...
    @overload
    def caption(self, images: Sequence[ImageSource], **options: Any) -> list[Caption]: ...
    def caption(
        self, images: ImageSource | Sequence[ImageSource], **options: Any
    ) -> Caption | list[Caption]:
        """Caption one image or a list of them.

        Args:
            images: A path, a PIL image or an array [H, W] or [H, W, 3 or 4]; or a list of these.
            **options: ``beam_size``, ``n_best``, ``max_length``, ``min_length``,
                ``length_penalty``, ``block_ngrams`` (`SearchOptions`), ``batch_size``; to steer,
                ``prefix`` (the caption's first words, as a text) and ``banned`` (a list of words
                that do not come after them).

        Returns:
            A `Caption`, or a list of them for a list. A notebook shows them as the interactive
            viewer and as a gallery, and a bar while it captions many.

        Raises:
            ImageError: An image cannot be opened.
            ConfigError: An option has an invalid value.
        """
        if isinstance(images, (str, Path, Image.Image, np.ndarray)):
            return self.caption([images], **options)[0]
        results = Captions()
        for _, result in counted(self.stream(images, **options), images, "Captioning"):
            if isinstance(result, ImageError):
                raise result
            results.append(result)
        return results

    def stream(
        self,
        images: Iterable[ImageSource],
        *,
        batch_size: int = 32,
        prefix: str = "",
        banned: Iterable[str] = (),
        **options: Any,
    ) -> Iterator[tuple[ImageSource, Caption | ImageError]]:
        """Caption any number of images, in their order, with an error in place of a bad one.

        Files are opened ahead of the model by threads; memory does not grow with the number.

        Args:
            images: Image sources.
            batch_size: Images the model sees at once.
            prefix: The captions' first words; one that the model does not know is read as
                ``<unk>``, and keeps its map.
            banned: Words that do not come after the prefix.
            **options: See `caption`.

        Returns:
            An iterator over each source with its caption, or with what is wrong with it.

        Raises:
            ConfigError: An option has an invalid value; raised by the call itself,
                before any image is asked for.
        """
        batch_size = whole_number("batch_size", batch_size, 1, 100_000)
        first = tuple(tokenize(prefix))
        numbers, without = self._numbers(first), self._banned(banned)
        chosen = replace(self.search, prefix=numbers, banned=without, **options)
        return self._stream(images, batch_size, chosen, first)

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
            good = [(source, each) for source, each in batch if not isinstance(each, ImageError)]
            captions = iter(self._caption_batch(good, options, first) if good else [])
            for source, result in batch:
                yield source, result if isinstance(result, ImageError) else next(captions)

    def _open(self, source: ImageSource) -> Fitted | ImageError:
        try:
            return self.preprocessing.load_pixels(source)
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
        """The annotations [B, H, W, D] of photographs, and what their captions will share."""
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
        """The best of an image's hypotheses, with the others; the first words as they were given.

        An unknown one among those is <unk> to the model, and itself to the reader.
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
