"""A model's parts as one object: built, loaded, resized, saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch

from showattend.exceptions import ConfigError
from showattend.images.preprocessing import Preprocessing
from showattend.model import checkpoint as checkpoints
from showattend.model.attention.fixed_context import FixedContext
from showattend.model.build import decoder_sections, encoder_section, parts_of
from showattend.model.calibration import Calibration
from showattend.model.checkpoint import Checkpoint
from showattend.model.decoders.refined import innermost
from showattend.model.encoder import Encoder
from showattend.model.search_options import SearchOptions
from showattend.system.checks import whole_number
from showattend.system.device import choose_device, choose_dtype
from showattend.system.forks import forks, outlive_fork
from showattend.text.vocabulary import Vocabulary


class Model:
    """Encoder, decoder, vocabulary and preprocessing, with their data.

    Attributes:
        encoder: The backbone.
        decoder: A module that follows `showattend.model.decoders.protocol.Decoder`.
        vocabulary: Its words.
        preprocessing: Converts a photograph to the network's input.
        search: Search defaults. They may be replaced, and are saved with the model.
        config: The config sections that rebuild the parts.
        record: How the model was trained, and its figures.
        calibration: The thresholds of its warnings.
        name: The name of the loaded model.
        file: The file that it was loaded from; None if it was not loaded.
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
        self.device, self._forks = torch.device(device), forks()
        self.dtype = choose_dtype(precision, self.device)
        self.encoder = encoder.to(self.device, torch.float32).eval()
        self.decoder = decoder.to(self.device, self.dtype).eval()
        self.vocabulary, self.preprocessing = vocabulary, preprocessing
        self.search = search or SearchOptions()  # checked by the property below
        self.calibration = calibration or Calibration()
        self.config, self.record, self.name = config or {}, record or {}, name
        self.file: Path | None = None

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        device: str = "auto",
        precision: str = "fp32",
        size: int | None = None,
    ) -> Self:
        """Load a model.

        Args:
            model: A shipped model's name, a directory, a file, or ``hf:user/name`` for a model of
                the Hugging Face Hub, which is downloaded once; None is the shipped default.
            device: auto, cpu, cuda, mps.
            precision: fp32, with which a photograph has the same caption on every device; bf16 or
                fp16, which round, and are faster if the processor supports them; auto (bf16 if
                supported, else fp32).
            size: Input size in pixels, see `resize`; None is the model's.

        Raises:
            CheckpointError: There is no such model, or it is damaged.
            ConfigError: The device or precision does not exist, the encoder's weights are
                not installed, or it does not take this size.
        """
        chosen = choose_device(device)
        file = checkpoints.find_model(model)
        found = checkpoints.load(file)
        name = str(model or checkpoints.DEFAULT_MODEL)
        captioner = cls.from_checkpoint(found, name=name, device=chosen, precision=precision)
        captioner.file = file
        if size is not None:
            captioner.resize(size)
        return captioner

    def digests(self) -> dict[str, Any]:
        """Identify the model for a record.

        Returns:
            name; weights, the digest of the model file's weights (`checkpoints.weights_digest`;
            None if it was not loaded from a file); encoder, the digest of the encoder's weights.
        """
        weights = None if self.file is None else checkpoints.weights_digest(self.file)
        return {"name": self.name, "weights": weights, "encoder": self.encoder.fingerprint()[:16]}

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        *,
        name: str = "",
        device: str | torch.device = "cpu",
        precision: str = "fp32",
    ) -> Self:
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
        """Search defaults, which each call may override."""
        return self._search

    @search.setter
    def search(self, options: SearchOptions) -> None:
        """Replace the search defaults.

        Raises:
            ConfigError: They hold a prefix or banned words, which belong to a single call.
        """
        if options.prefix or options.banned:
            raise ConfigError(
                "prefix and banned cannot be a model's defaults; pass them to caption() each time"
            )
        self._search = options

    def resize(self, size: int) -> None:
        """Change the input size: a larger one gives a finer grid.

        Convolutional encoders accept other sizes than in training, and a slightly larger one can
        help (Touvron et al. 2019, "Fixing the train-test resolution discrepancy").

        Args:
            size: The side of the network's input in pixels.

        Raises:
            ConfigError: The encoder does not accept this size.
        """
        size = whole_number("size", size, 1, 10_000)
        if size != self.preprocessing.size:
            self.encoder.measure(size)
            self.preprocessing = replace(self.preprocessing, size=size)
            encoder = {**self.config.get("encoder", {}), "size": size}
            self.config = {**self.config, "encoder": encoder}

    def outlive_fork(self) -> None:
        """Prepare for computing, if the process was forked since the model was loaded."""
        if self._forks != forks():
            outlive_fork(self.device)
            self._forks = forks()

    @property
    def looks(self) -> bool:
        """Whether the model attends; if not (``attention.kind: none``), all its maps are even."""
        return not isinstance(getattr(innermost(self.decoder), "attention", None), FixedContext)

    @property
    def carries_encoder(self) -> bool:
        """Whether a checkpoint includes the encoder: its weights differ from the installed ones."""
        encoder = self.config.get("encoder", {})
        delivered = encoder.get("pretrained", True) and not encoder.get("finetune_from")
        return not delivered or self.encoder.fingerprint() != self.encoder.delivered

    def to_checkpoint(self, *, half: bool = False) -> Checkpoint:
        """The model as a `Checkpoint`, whose config describes the current parts.

        A model that was loaded with precision bf16 has rounded weights: load it with fp32 first.

        Args:
            half: Store weights as float16.

        Raises:
            ConfigError: The encoder cannot be rebuilt from a name (`build_encoder`).
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
