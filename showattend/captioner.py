"""Captioner: encoder, decoder, vocabulary and preprocessing as one object that captions photos."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from PIL import Image

from showattend.caption import Caption, Gap, Photo
from showattend.checks import whole_number
from showattend.decoding.beam import Hypothesis, search
from showattend.decoding.filling import fill
from showattend.decoding.forced import force_all
from showattend.decoding.sampling import sample_ranked
from showattend.exceptions import ConfigError, ImageError, UserError
from showattend.images.geometry import Geometry
from showattend.images.image_files import ImageSource
from showattend.images.preprocessing import Preprocessing
from showattend.model import checkpoint as checkpoints
from showattend.model.build import decoder_sections, encoder_section, parts_of
from showattend.model.calibration import Calibration
from showattend.model.checkpoint import Checkpoint
from showattend.model.decoders.refined import innermost
from showattend.model.encoder import Encoder, encode
from showattend.model.search_options import SearchOptions
from showattend.system.device import choose_device, choose_dtype, exact_float32
from showattend.system.threads import in_order
from showattend.text.tokenizer import tokenize
from showattend.text.vocabulary import Vocabulary


class SelfAttention(NamedTuple):
    """Where the words of a sentence look among each other, and the cells of the grid.

    Attributes:
        tokens: ``<start>`` and the T words.
        words: By layer and head, from each token (rows) to each (columns), [layers, heads, T + 1,
            T + 1]; rows sum to one. None where the decoder has no self-attention.
        grid: By layer and head, from each cell to each, [layers, heads, L, L]. None where the
            encoder has none.
    """

    tokens: tuple[str, ...]
    words: np.ndarray | None
    grid: np.ndarray | None


_GAP = re.compile("_{2,}")


def has_gaps(text: str) -> bool:
    """Whether words are missing in a sentence, for `Captioner.fill`."""
    return bool(_GAP.search(text))


class Captioner:
    """Captions photographs, and says for every word where it looked.

    Example:
        >>> Captioner.from_pretrained().caption("photo.jpg").text

    Attributes:
        encoder: The backbone.
        decoder: A module that follows `showattend.model.decoders.protocol.Decoder`.
        vocabulary: Its words.
        preprocessing: From a photograph to the network's input.
        search: Search defaults. They may be replaced, and are saved with the model.
        record: How the model was trained, and its figures.
        calibration: What it knows of its own limits.
        name: What the model was loaded from.
    """

    def __init__(
        self,
        *,
        encoder: Encoder,
        decoder: Any,
        vocabulary: Vocabulary,
        preprocessing: Preprocessing,
        search: SearchOptions | None = None,
        config: dict[str, Any] | None = None,
        record: dict[str, Any] | None = None,
        name: str = "",
        device: str | torch.device = "cpu",
        precision: str = "fp32",
        calibration: Calibration | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.dtype = choose_dtype(precision, self.device)
        self.encoder = encoder.to(self.device, torch.float32).eval()
        self.decoder = decoder.to(self.device, self.dtype).eval()
        self.vocabulary, self.preprocessing = vocabulary, preprocessing
        self.search = search or SearchOptions()  # checked by the property below
        self.calibration = calibration or Calibration()
        self.config, self.record, self.name = config or {}, record or {}, name

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        device: str = "auto",
        precision: str = "fp32",
        size: int | None = None,
    ) -> Captioner:
        """Load a model.

        Args:
            model: A shipped model's name, a directory or a file; None is the shipped default.
            device: auto, cpu, cuda, mps.
            precision: fp32, with which a photograph has the same caption on every device;
                bf16 or fp16, which round, and are faster where the processor has them; auto
                (bf16 where the processor has it, else fp32).
            size: As of `resize`; None is the model's.

        Raises:
            CheckpointError: There is no such model, or it is damaged.
            ConfigError: The device or precision does not exist, the encoder's weights are
                not installed, or it does not take this size.
        """
        chosen = choose_device(device)
        found = checkpoints.load(checkpoints.find_model(model))
        name = str(model or checkpoints.DEFAULT_MODEL)
        captioner = cls.from_checkpoint(found, name=name, device=chosen, precision=precision)
        if size is not None:
            captioner.resize(size)
        return captioner

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        *,
        name: str = "",
        device: str | torch.device = "cpu",
        precision: str = "fp32",
    ) -> Captioner:
        """Build the model that a checkpoint describes.

        Raises:
            CheckpointError: Its parts do not fit together.
        """
        return cls(
            **parts_of(checkpoint, name)._asdict(),
            config=checkpoint.config,
            record=checkpoint.record,
            name=name,
            device=device,
            precision=precision,
        )

    @property
    def search(self) -> SearchOptions:
        """Search defaults, of which each call may override some."""
        return self._search

    @search.setter
    def search(self, options: SearchOptions) -> None:
        if options.prefix or options.banned:
            raise ConfigError(
                "prefix and banned are no defaults of a model; give them to caption() each time"
            )
        self._search = options

    def resize(self, size: int) -> None:
        """Look at photos at another size from now on: a larger one makes a finer grid.

        Convolutional encoders take other sizes than they were trained at, and a little more than
        in training can help (Touvron et al. 2019, "Fixing the train-test resolution discrepancy").

        Args:
            size: Pixels a side of the network's input.

        Raises:
            ConfigError: The encoder does not take this size.
        """
        size = whole_number("size", size, 1, 10_000)
        if size != self.preprocessing.size:
            self.encoder.measure(size)
            self.preprocessing = replace(self.preprocessing, size=size)
            encoder = {**self.config.get("encoder", {}), "size": size}
            self.config = {**self.config, "encoder": encoder}

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
            A `Caption`, or a list of them for a list.

        Raises:
            ImageError: An image cannot be opened.
            ConfigError: An option has a value that means nothing.
        """
        if isinstance(images, (str, Path, Image.Image, np.ndarray)):
            return self.caption([images], **options)[0]
        results = []
        for _, result in self.stream(images, **options):
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
            **options: As for `caption`.

        Returns:
            An iterator over each source with its caption, or with what is wrong with it.

        Raises:
            ConfigError: An option has a value that means nothing; raised by the call itself,
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
            good = [
                (source, *result) for source, result in batch if not isinstance(result, ImageError)
            ]
            captions = iter(self._caption_batch(good, options, first) if good else [])
            for source, result in batch:
                yield source, result if isinstance(result, ImageError) else next(captions)

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
        pixels, geometry = self.preprocessing.load_pixels(image)
        with torch.inference_mode(), exact_float32():
            features = self._features([pixels])
            numbers = [self.vocabulary.encode(words) for words in said]
            found = force_all(self.decoder, features, numbers, self.search.length_penalty)
        (photo,) = self._photos([(image, pixels, geometry)], features)
        return [self._to_caption(each, w, photo) for each, w in zip(found, said, strict=True)]

    def fill(self, image: ImageSource, text: str, *, candidates: int = 5) -> Caption:
        """Say the words that are missing in a sentence about a photo: ``a ___ catches a ___``.

        Two or more underscores stand for one word. A masked model (``decoder.kind: masked``) is
        asked for each word given all the others; any other model searches for the likeliest
        sentences with these words (`showattend.decoding.filling`).

        Args:
            image: A path, a PIL image or an array.
            text: The sentence.
            candidates: Most words to name for a gap.

        Returns:
            The likeliest sentence found, with its maps, and in `Caption.gaps` what else each gap
            may hold, with probabilities. Words that the model does not know are read as
            ``<unk>``, as in `attend`.

        Raises:
            ImageError: The image cannot be opened.
            UserError: Nothing is missing in the sentence.
            ConfigError: ``candidates`` means nothing.
        """
        candidates = whole_number("candidates", candidates, 1, 1000)
        words: list[str | None] = []
        for number, part in enumerate(_GAP.split(text)):
            words += ([None] if number else []) + [*tokenize(part)]
        gaps = [t for t, word in enumerate(words) if word is None]
        if not gaps:
            raise UserError(f"the sentence {text!r} has no gap; write ___ where a word is missing")
        pixels, geometry = self.preprocessing.load_pixels(image)
        with torch.inference_mode(), exact_float32():
            features = self._features([pixels])
            numbers = [None if w is None else self._numbers([w])[0] for w in words]
            filled = fill(
                self.decoder, features, numbers, candidates=candidates,
                length_penalty=self.search.length_penalty,
            )  # fmt: skip
        (photo,) = self._photos([(image, pixels, geometry)], features)
        said = self.vocabulary.decode(filled.found.words)
        whole = tuple(given or found for given, found in zip(words, said, strict=True))
        found = [
            Gap(t, tuple((self.vocabulary.decode([word])[0], p) for word, p in each))
            for t, each in zip(gaps, filled.candidates, strict=True)
        ]
        return replace(self._to_caption(filled.found, whole, photo), gaps=tuple(found))

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
        pixels, geometry = self.preprocessing.load_pixels(image)
        generator = torch.Generator(self.device)
        generator.manual_seed(generator.seed() if seed is None else seed)
        with torch.inference_mode(), exact_float32():
            features = self._features([pixels])
            found = sample_ranked(
                self.decoder, features, length_penalty=self.search.length_penalty,
                samples=samples, temperature=temperature, max_length=most, prefix=numbers,
                banned=without, generator=generator,
            )  # fmt: skip
        (photo,) = self._photos([(image, pixels, geometry)], features)
        return self._ranked(found, first, photo)

    def self_attention(
        self, image: ImageSource, text: str | Sequence[str] | None = None
    ) -> SelfAttention:
        """Where words look among each other, and cells of the grid: models that have such layers.

        Args:
            image: A path, a PIL image or an array.
            text: A sentence about it, or its words; None: the model's own caption.

        Raises:
            ImageError: The image cannot be opened.
            UserError: The model has no self-attention, or the sentence holds no word.
        """
        decoder = self.decoder
        inner, over_grid = innermost(decoder), decoder is not innermost(decoder)
        if not over_grid and not hasattr(inner, "among_words"):
            raise UserError(
                "this model has no self-attention; decoder.kind transformer and masked have it, "
                "and encoder.self_attention gives it to any"
            )
        said = self.caption(image).words if text is None else text
        words = tuple(tokenize(said) if isinstance(said, str) else said)
        if not words:
            raise UserError(f"the caption {text!r} holds no word; give a sentence")
        pixels, _ = self.preprocessing.load_pixels(image)
        among = grid = None
        with torch.inference_mode(), exact_float32():
            features = self._features([pixels])
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
    def carries_encoder(self) -> bool:
        """Whether a checkpoint holds the encoder: its weights are not those that are installed."""
        encoder = self.config.get("encoder", {})
        delivered = encoder.get("pretrained", True) and not encoder.get("finetune_from")
        return not delivered or self.encoder.fingerprint() != self.encoder.delivered

    def to_checkpoint(self, *, half: bool = False) -> Checkpoint:
        """The model as a `Checkpoint`, whose config describes the parts as they are now.

        A model that was loaded with precision bf16 has rounded weights: load it with fp32 first.

        Args:
            half: Store weights as float16.

        Raises:
            ConfigError: The encoder is not one that a name builds (`build_encoder`).
        """
        encoder_config = self.config.get("encoder", {}) | encoder_section(
            self.encoder, self.preprocessing, self.decoder
        )
        fingerprint = self.encoder.fingerprint()
        models: dict[str, torch.nn.Module] = {"decoder": self.decoder}
        if self.carries_encoder:
            models["encoder"] = self.encoder
        dtype = torch.float16 if half else torch.float32
        weights = {
            key: value.to(dtype) if value.is_floating_point() else value
            for key, value in checkpoints.flatten(models).items()
        }
        if (known := self.calibration.familiarity) is not None:
            weights["familiarity.basis"] = torch.from_numpy(known.basis).half()
        return Checkpoint(
            weights=weights,
            config=self.config
            | {
                "encoder": encoder_config,
                "search": self.search.to_section(),
                **decoder_sections(self.decoder),
            },
            vocabulary=self.vocabulary.to_list(),
            preprocessing=self.preprocessing.to_dict(),
            encoder_fingerprint=fingerprint,
            record=self.record,
            calibration=self.calibration.to_dict(),
        )

    # -----------------------------------------------------------------------------------------

    def _open(self, source: ImageSource) -> tuple[np.ndarray, Geometry] | ImageError:
        try:
            return self.preprocessing.load_pixels(source)
        except ImageError as error:
            return error

    def _features(self, pixels: list[np.ndarray]) -> torch.Tensor:
        batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).to(self.device)
        return encode(self.encoder, batch, self.preprocessing, self.dtype)

    def _photos(
        self, batch: list[tuple[ImageSource, np.ndarray, Geometry]], features: torch.Tensor
    ) -> list[Photo]:
        """The images with what their annotations [B, H, W, D] say of them."""
        means = features.flatten(1, 2).float().mean(1).cpu().numpy()
        familiar = self.calibration.familiar(means, self.preprocessing.size)
        return [
            Photo(image, geometry, tuple(features.shape[1:3]), each)
            for (image, _, geometry), each in zip(batch, familiar, strict=True)
        ]

    def _numbers(self, words: Iterable[str]) -> tuple[int, ...]:
        return tuple(self.vocabulary.encode(list(words)))

    def _banned(self, words: Iterable[str]) -> tuple[int, ...]:
        """The numbers of words not to say; those that the model cannot say need no ban."""
        texts = [words] if isinstance(words, str) else words
        tokens = [token for text in texts for token in tokenize(text)]
        return self._numbers(dict.fromkeys(t for t in tokens if t in self.vocabulary))

    @torch.inference_mode()
    def _caption_batch(
        self,
        batch: list[tuple[ImageSource, np.ndarray, Geometry]],
        options: SearchOptions,
        first: tuple[str, ...],
    ) -> list[Caption]:
        with exact_float32():
            features = self._features([pixels for _, pixels, _ in batch])
            found = search(self.decoder, features, options)
        return [
            self._ranked(hypotheses, first, photo)
            for photo, hypotheses in zip(self._photos(batch, features), found, strict=True)
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
        return Caption(
            words=words,
            log_probs=tuple(found.log_probs),
            attention=alpha.numpy().reshape(-1, *photo.grid),
            betas=None if found.beta is None else found.beta.numpy(),
            geometry=photo.geometry,
            score=found.score,
            image=photo.image,
            unsure_below=self.calibration.unsure_below,
            familiarity=photo.familiarity,
            parts=None if found.parts is None else found.parts.unflatten(2, (H, W)).numpy(),
            part_names=() if found.parts is None else self.decoder.part_names,
            sentinel=None if found.sentinel is None else found.sentinel.numpy(),
        )
