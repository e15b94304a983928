"""Captions that search did not find: given sentences, and captions drawn at random."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from showattend.caption import Caption, Photo
from showattend.caption_forms import Gap, SelfAttention
from showattend.decoding.explaining import KINDS, NAMES, explain, has_maps, maps_of
from showattend.decoding.filling import fill
from showattend.decoding.forced import force_all
from showattend.decoding.hypotheses import Hypothesis
from showattend.decoding.sampling import sample_ranked
from showattend.exceptions import UserError
from showattend.images.preprocessing import Fitted
from showattend.images.sources import ImageSource, lasting
from showattend.model.decoders.refined import innermost
from showattend.model.pretrained import Model
from showattend.system.checks import whole_number
from showattend.system.device import exact_float32
from showattend.text.tokenizer import tokenize
from showattend.text.vocabulary import Vocabulary


class Looked(NamedTuple):
    """A photograph after the encoder: all that captioning needs, without its pixels.

    Attributes:
        features: Its annotations [1, H, W, D], on the model's device.
        photo: The data that its captions share.
    """

    features: torch.Tensor
    photo: Photo


_GAP = re.compile("_{2,}")


def has_gaps(text: str) -> bool:
    """Whether a sentence has gaps for `Captioner.fill`."""
    return bool(_GAP.search(text))


class Given(Model):
    """What a `showattend.captioner.Captioner` does besides searching."""

    def look(self, image: ImageSource | Looked) -> Looked:
        """Encode an image once, for several calls of the other methods, which accept the result.

        Raises:
            ImageError: The image cannot be opened.

        Example:
            >>> looked = captioner.look("photo.jpg")
            >>> captioner.caption(looked), captioner.attend(looked, "a dog runs")
        """
        if isinstance(image, Looked):
            return image
        with torch.inference_mode(), exact_float32():
            features, (photo,) = self._look([self._load(image)])
        return Looked(features, photo)

    def attend(self, image: ImageSource | Looked, text: str | Sequence[str]) -> Caption:
        """Force a given sentence on the model, and record where it looks for each word.

        Words that the model does not know are read as ``<unk>``, and keep their map. A caption of
        the model has the same log-probabilities here, and the same score if it was not cut off and
        the length penalty was the model's own.

        Args:
            image: An image, as for `caption`; or the result of `look`.
            text: A sentence, or the words of a caption.

        Raises:
            ImageError: The image cannot be opened.
            UserError: The sentence has no words.
        """
        return self.attend_all(image, [text])[0]

    def attend_all(
        self, image: ImageSource | Looked, texts: Sequence[str | Sequence[str]]
    ) -> list[Caption]:
        """`attend` for several sentences about one image, which is encoded once.

        Raises:
            ImageError: The image cannot be opened.
            UserError: A sentence has no words.
        """
        said = [tuple(tokenize(text)) if isinstance(text, str) else tuple(text) for text in texts]
        if () in said:
            text = texts[said.index(())]
            raise UserError(f"the caption {text!r} has no words; give a sentence")
        with torch.inference_mode(), exact_float32():
            features, photo = self.look(image)
            numbers = [self.vocabulary.encode(words) for words in said]
            found = force_all(self.decoder, features, numbers, self.search.length_penalty)
        return [self._to_caption(each, w, photo) for each, w in zip(found, said, strict=True)]

    def explain(self, caption: Caption, by: str = "grad") -> Caption:
        """The same caption with another kind of map: the evidence for each word.

        Args:
            caption: A caption that this model wrote or was given (`attend`), with its image.
            by: "attention", "grad" (gradient × input), "gradcam" (Grad-CAM), "occlusion" or
                "integrated" (integrated gradients); see `showattend.decoding.explaining`.

        Returns:
            The caption, without alternatives and parts. Its ``attention`` holds the evidence for
            each word, as a map that sums to one; an even map if there was none.

        Raises:
            UserError: There is no such explanation, the model has no attention to explain by, or
                the caption does not know its image.
            ImageError: The image cannot be opened (any more).
        """
        return self.explain_all(caption, [by])[0]

    def explain_all(self, caption: Caption, kinds: Sequence[str] | None = None) -> list[Caption]:
        """`explain` in several ways, None for all available; the photo is encoded once.

        Raises:
            UserError: See `explain`.
            ImageError: The image cannot be opened (any more).
        """
        if caption.image is None:
            raise UserError("the caption does not know its image, and cannot be explained")
        features = self.look(caption.image).features
        _, H, W, _ = features.shape
        numbers = self._numbers(caption.words)
        found = []
        if kinds is None:
            without = () if has_maps(self.decoder, features) else ("attention",)
            kinds = [kind for kind in KINDS if kind not in without]
        for kind in kinds:
            with exact_float32():
                maps = maps_of(explain(self.decoder, features, numbers, kind))
            found.append(
                replace(
                    caption,
                    attention=maps.view(-1, H, W).numpy(),
                    explanation=NAMES[kind],
                    alternatives=(),
                    parts=None,
                    part_names=(),
                    sentinel=None,
                )
            )
        return found

    def fill(self, image: ImageSource | Looked, text: str, *, candidates: int = 5) -> Caption:
        """Fill the gaps in a sentence about a photo: ``a ___ catches a ___``.

        Two or more underscores stand for one word. A masked model (``decoder.kind: masked``)
        predicts each word given all the others; any other model searches for the likeliest
        sentences with these words (`showattend.decoding.filling`).

        Args:
            image: An image, as for `caption`; or the result of `look`.
            text: The sentence.
            candidates: The most words to list for a gap.

        Returns:
            The likeliest sentence found, with its maps, and in `Caption.gaps` the candidates for
            each gap, with probabilities. Words that the model does not know are read as ``<unk>``,
            as in `attend`.

        Raises:
            ImageError: The image cannot be opened.
            UserError: The sentence has no gap.
            ConfigError: ``candidates`` is invalid.
        """
        candidates = whole_number("candidates", candidates, 1, 1000)
        words: list[str | None] = []
        for number, part in enumerate(_GAP.split(text)):
            words += ([None] if number else []) + [*tokenize(part)]
        gaps = [t for t, word in enumerate(words) if word is None]
        if not gaps:
            raise UserError(f"the sentence {text!r} has no gap; write ___ where a word is missing")
        with torch.inference_mode(), exact_float32():
            features, photo = self.look(image)
            numbers = [None if w is None else self._numbers([w])[0] for w in words]
            filled = fill(
                self.decoder, features, numbers, candidates=candidates,
                length_penalty=self.search.length_penalty,
            )  # fmt: skip
        said = self.vocabulary.decode(filled.found.words)
        whole = tuple(given or found for given, found in zip(words, said, strict=True))
        found = [
            Gap(t, tuple((self.vocabulary.decode([word])[0], p) for word, p in each))
            for t, each in zip(gaps, filled.candidates, strict=True)
        ]
        return replace(self._to_caption(filled.found, whole, photo), gaps=tuple(found))

    def sample(
        self,
        image: ImageSource | Looked,
        *,
        samples: int = 5,
        temperature: float = 1.0,
        seed: int | None = None,
        max_length: int | None = None,
        prefix: str = "",
        banned: Iterable[str] = (),
    ) -> Caption:
        """Sample captions from the model's distribution instead of searching for the likeliest.

        Args:
            image: An image, as for `caption`; or the result of `look`.
            samples: The number to draw; duplicates are returned once.
            temperature: Below 1, likely words become likelier; above 1, the others.
            seed: The same seed draws the same captions; None draws others every time.
            max_length: The most words of a caption; the default is that of `search`.
            prefix: The captions' first words, as for `stream`.
            banned: Words not to use after the prefix.

        Returns:
            The one that search would rank best, with the others as its alternatives.

        Raises:
            ImageError: The image cannot be opened.
            ConfigError: An option has an invalid value.
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
            features, photo = self.look(image)
            found = sample_ranked(
                self.decoder, features, length_penalty=self.search.length_penalty,
                samples=samples, temperature=temperature, max_length=most, prefix=numbers,
                banned=without, generator=generator,
            )  # fmt: skip
        return self._ranked(found, first, photo)

    def self_attention(
        self, image: ImageSource | Looked, text: str | Sequence[str] | None = None
    ) -> SelfAttention:
        """The attention among words and among cells of the grid, if the model has such layers.

        Args:
            image: An image, as for `caption`; or the result of `look`.
            text: A sentence about it, or its words; None: the model's own caption.

        Raises:
            ImageError: The image cannot be opened.
            UserError: The model has no self-attention, or the sentence has no words.
        """
        decoder = self.decoder
        inner, over_grid = innermost(decoder), decoder is not innermost(decoder)
        if not self.has_self_attention:
            raise UserError(
                "this model has no self-attention; decoder.kind transformer and masked have it, "
                "and encoder.self_attention gives it to any"
            )
        said = self.caption(image).words if text is None else text
        words = tuple(tokenize(said) if isinstance(said, str) else said)
        if not words:
            raise UserError(f"the caption {text!r} has no words; give a sentence")
        among = grid = None
        with torch.inference_mode(), exact_float32():
            features, _ = self.look(image)
            if over_grid:
                maps = decoder.refine.look(features)[1][0]
                grid = maps.unflatten(0, (-1, decoder.refine.heads)).float().cpu().numpy()
            if hasattr(inner, "among_words"):
                numbers = [Vocabulary.START, *self._numbers(words)]
                given = torch.tensor([[numbers]], device=self.device)
                weights = inner.among_words(given, decoder.memory(features))
                among = weights[0, 0].float().cpu().numpy()
        return SelfAttention((Vocabulary.SPECIALS[Vocabulary.START], *words), among, grid)

    @property
    def has_self_attention(self) -> bool:
        """Whether the decoder has self-attention among words, or the encoder over the grid."""
        inner = innermost(self.decoder)
        return self.decoder is not inner or hasattr(inner, "among_words")

    def with_self_attention(self, caption: Caption) -> Caption:
        """Return the caption with its `Caption.self_attention`, to be drawn or saved.

        Raises:
            ImageError: The caption's image cannot be opened.
            UserError: The caption has no image or no words, or the model no self-attention.
        """
        if caption.image is None:
            raise UserError("this caption does not know its image")
        return replace(caption, self_attention=self.self_attention(caption.image, caption.words))

    def _load(self, image: ImageSource) -> tuple[ImageSource, Fitted]:
        """An image at the network's size, and its source, from which it can be drawn."""
        image = lasting(image)
        return image, self.preprocessing.load_pixels(image)

    def _numbers(self, words: Iterable[str]) -> tuple[int, ...]:
        return tuple(self.vocabulary.encode(list(words)))

    def _banned(self, words: Iterable[str]) -> tuple[int, ...]:
        """The numbers of banned words; words unknown to the model need no ban."""
        texts = [words] if isinstance(words, str) else words
        tokens = [token for text in texts for token in tokenize(text)]
        return self._numbers(dict.fromkeys(t for t in tokens if t in self.vocabulary))

    # What the captioner provides (`showattend.captioner`).

    def caption(self, images: Any, **options: Any) -> Any:
        """See `showattend.captioner.Captioner`."""
        raise NotImplementedError

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
