"""Captions that search did not find: given sentences, and captions drawn at random."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from showattend.caption import Caption, Photo
from showattend.decoding.forced import force_all
from showattend.decoding.hypotheses import Hypothesis
from showattend.decoding.sampling import sample_ranked
from showattend.exceptions import UserError
from showattend.images.image_files import ImageSource
from showattend.images.preprocessing import Fitted
from showattend.model.pretrained import Model
from showattend.system.checks import whole_number
from showattend.system.device import exact_float32
from showattend.text.tokenizer import tokenize


class Given(Model):
    """What a `showattend.captioner.Captioner` does besides searching."""

    def attend(self, image: ImageSource, text: str | Sequence[str]) -> Caption:
        """Make the model say a given sentence, and record where it looks for each word.

        Words that the model does not know are read as ``<unk>``; they keep their map. The words
        of a caption that the model made have here the log-probabilities that they had there, and
        the caption has the same score, if it came to its end and the length penalty was the
        model's own.

        Args:
            image: A path, a PIL image or an array.
            text: A sentence, or the words of a caption as they are.

        Raises:
            ImageError: The image cannot be opened.
            UserError: The sentence holds no word.
        """
        return self.attend_all(image, [text])[0]

    def attend_all(self, image: ImageSource, texts: Sequence[str | Sequence[str]]) -> list[Caption]:
        """`attend` for several sentences about one image, which is encoded once."""
        said = [tuple(tokenize(text)) if isinstance(text, str) else tuple(text) for text in texts]
        if () in said:
            text = texts[said.index(())]
            raise UserError(f"the caption {text!r} holds no word; give a sentence")
        with torch.inference_mode(), exact_float32():
            features, (photo,) = self._look([(image, self.preprocessing.load_pixels(image))])
            numbers = [self.vocabulary.encode(words) for words in said]
            found = force_all(self.decoder, features, numbers, self.search.length_penalty)
        return [self._to_caption(each, w, photo) for each, w in zip(found, said, strict=True)]

    def sample(
        self,
        image: ImageSource,
        *,
        samples: int = 5,
        temperature: float = 1.0,
        seed: int | None = None,
        max_length: int | None = None,
        prefix: str = "",
        banned: Iterable[str] = (),
    ) -> Caption:
        """Draw captions from the model's distribution instead of searching for the likeliest.

        Args:
            image: A path, a PIL image or an array.
            samples: How many to draw; those that turn out alike are returned once.
            temperature: Under 1 the likely words become likelier, over 1 the others.
            seed: The same seed draws the same captions; None draws others every time.
            max_length: Most words of a caption, by default that of `search`.
            prefix: The captions' first words, as for `stream`.
            banned: Words that do not come after the prefix.

        Returns:
            The one that search would rank best, with the others as its alternatives.

        Raises:
            ImageError: The image cannot be opened.
            ConfigError: An option has a value that means nothing.
        """
        samples = whole_number("samples", samples, 1, 10_000)
        most = self.search.max_length if max_length is None else max_length
        if seed is not None:
            seed = whole_number("seed", seed, -(2**63), 2**63 - 1)
        first = tuple(tokenize(prefix))
        numbers, without = self._numbers(first), self._banned(banned)
        generator = torch.Generator(self.device)
        generator.manual_seed(generator.seed() if seed is None else seed)
        with torch.inference_mode(), exact_float32():
            features, (photo,) = self._look([(image, self.preprocessing.load_pixels(image))])
            found = sample_ranked(
                self.decoder, features, length_penalty=self.search.length_penalty,
                samples=samples, temperature=temperature, max_length=most, prefix=numbers,
                banned=without, generator=generator,
            )  # fmt: skip
        return self._ranked(found, first, photo)

    def _numbers(self, words: Iterable[str]) -> tuple[int, ...]:
        return tuple(self.vocabulary.encode(list(words)))

    def _banned(self, words: Iterable[str]) -> tuple[int, ...]:
        """The numbers of words not to say; those that the model cannot say need no ban."""
        texts = [words] if isinstance(words, str) else words
        tokens = [token for text in texts for token in tokenize(text)]
        return self._numbers(dict.fromkeys(t for t in tokens if t in self.vocabulary))

    # What the captioner has for all of its ways (`showattend.captioner`).

    def _look(
        self, photos: Sequence[tuple[ImageSource, Fitted]]
    ) -> tuple[torch.Tensor, list[Photo]]:
        raise NotImplementedError

    def _to_caption(self, found: Hypothesis, words: tuple[str, ...], photo: Photo) -> Caption:
        raise NotImplementedError

    def _ranked(
        self, hypotheses: list[Hypothesis], first: tuple[str, ...], photo: Photo
    ) -> Caption:
        raise NotImplementedError
