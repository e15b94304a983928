"""The training run: data, features, epochs, validation by free decoding, the best model kept."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import random
import time
from collections.abc import Hashable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from showattend import __version__
from showattend import checkpoint as checkpoints
from showattend.captioner import Captioner, build_decoder, build_preprocessing
from showattend.config import Config, to_dict
from showattend.data.cache import cache_features
from showattend.data.loader import Batch, CachedFeatures, CaptionLoader, Inputs, Pixels
from showattend.data.readers import read_dataset
from showattend.data.records import Record
from showattend.data.toy import write_toy
from showattend.device import choose_device, choose_dtype
from showattend.encoders import Encoder, build_encoder, encode
from showattend.errors import DataError
from showattend.evaluation.metrics import CiderValidator
from showattend.search import SearchOptions, search
from showattend.text import Vocabulary
from showattend.training.average import MovingAverage
from showattend.training.check import check
from showattend.training.losses import Loss, captioning_loss
from showattend.training.optimizer import build_optimizer, rate_share
from showattend.training.record import write_record
from showattend.training.reporter import Reporter, Silent
from showattend.training.state import FILE_NAME as STATE_NAME
from showattend.training.state import Progress, find_state, load_state, save_state


class Trainer:
    """One run of one config.

    Args:
        config: The whole configuration.
        reporter: Told how it goes.

    Raises:
        DataError: The data set cannot be read, or a split of it is empty.
        ConfigError: A value of the config means nothing.
    """

    def __init__(self, config: Config, reporter: Reporter | None = None) -> None:
        check(config)
        self.config, self.reporter = config, reporter or Silent()
        self.out = Path(config.train.out)
        self.device = choose_device(config.train.device)
        self.dtype = choose_dtype(config.train.precision, self.device)
        self.progress = Progress()
        self.started = time.perf_counter()
        torch.manual_seed(config.train.seed)
        self._build()

    # Building --------------------------------------------------------------------------------

    def _build(self) -> None:
        config = self.config
        records = [record for record in _read(config) if record.split in ("train", "val")]
        _splits(records, config.data.path)  # before an hour of feature extraction
        self.encoder = build_encoder(name=config.encoder.name, pretrained=config.encoder.pretrained)
        self.preprocessing = build_preprocessing(config.encoder)
        self.encoder.measure(self.preprocessing.size)
        opened = self.encoder.finetune_from(config.encoder.finetune_from)
        self.encoder.to(self.device)
        if opened:
            records, inputs = self._pixels(records)
        else:
            records, inputs = self._features(records)
        train, val = _splits(records, config.data.path)
        self.vocabulary = Vocabulary.from_captions(
            (text for i in train for text in records[i].captions), config.data.min_count
        )
        self.train_loader, self.val_loader = (
            CaptionLoader(
                [records[i] for i in rows],
                _Rows(inputs, rows),
                self.vocabulary,
                batch_size=config.train.batch_size,
                max_length=config.data.max_length,
                seed=config.train.seed,
                mirror=config.data.mirror,
            )
            for rows in (train, val)
        )
        self.validator = CiderValidator({r.image_id: r.captions for r in self.val_loader.records})
        self.decoder = build_decoder(
            config.decoder, vocabulary_size=len(self.vocabulary), feature_dim=self.encoder.dim
        ).to(self.device)
        self.optimizer = build_optimizer(
            self.decoder,
            opened,
            lr=config.train.lr,
            encoder_lr=config.train.encoder_lr,
            weight_decay=config.train.weight_decay,
        )
        self.averages = {
            name: MovingAverage(model, config.train.ema)
            for name, model in self._trained().items()
            if config.train.ema
        }
        self.steps = len(self.train_loader) * config.train.epochs
        # A run goes on only with the data that it was started with: word numbers depend on it.
        content = [(str(r.image_id), r.split, r.captions) for r in records]
        digest = hashlib.sha256(json.dumps([self.vocabulary.words, content]).encode())
        self.identity = to_dict(config) | {"data set": digest.hexdigest()[:12]}
        self.reporter.message(
            f"{len(train):,} training and {len(val):,} validation images, "
            f"{len(self.vocabulary):,} words; {config.encoder.name} at {self.preprocessing.size} "
            f"pixels ({'x'.join(map(str, self.encoder.grid(self.preprocessing.size)))} grid); "
            f"{str(self.dtype).removeprefix('torch.')} on {self.device.type}"
        )

    def _features(self, records: list[Record]) -> tuple[list[Record], Inputs]:
        cache, *mirrored = (
            cache_features(
                Path(self.config.data.cache),
                encoder=self.encoder,
                preprocessing=self.preprocessing,
                paths=[record.path for record in records],
                dtype=self.dtype,
                device=self.device,
                mirror=mirror,
                message=self.reporter.message,
                advance=lambda done, total: self.reporter.task("Features", done, total),
            )
            for mirror in ((False, True) if self.config.data.mirror else (False,))
        )
        failed = {row: why for each in (cache, *mirrored) for row, why in each.failed.items()}
        for reason in failed.values():
            self.reporter.message(f"skipped: {reason}")
        rows = [i for i in range(len(records)) if i not in failed]
        return [records[i] for i in rows], CachedFeatures(cache, rows, *mirrored)

    def _pixels(self, records: list[Record]) -> tuple[list[Record], Inputs]:
        present = []
        for record in records:
            if record.path.is_file():
                present.append(record)
            else:
                self.reporter.message(f"skipped: {record.path}: no such file")
        return present, Pixels(present, self.preprocessing, self.config.train.workers)

    # Running ---------------------------------------------------------------------------------

    def run(self, resume: bool = False) -> dict[str, Any]:
        """Train, and leave the best model, its record and curves in ``train.out``.

        Args:
            resume: Go on where the run in ``train.out`` stopped.

        Returns:
            The training record.

        Raises:
            CheckpointError: Nothing to resume, or the config or the data set has changed.
        """
        settings = self.config.train
        if resume:
            self.progress = load_state(self.out, self._models(), self.optimizer, self.identity)
            self.reporter.message(
                f"Resuming at epoch {self.progress.epoch + 1}, batch {self.progress.batch}"
            )
        self.started -= self.progress.seconds  # building, and what earlier sittings took
        # Numbers too small for float32's full precision cost a CPU a hundred times an ordinary one.
        torch.set_flush_denormal(True)
        try:
            while self.progress.epoch < settings.epochs and not self._out_of_patience():
                self._train_epoch()
                self._end_epoch()
        finally:
            torch.set_flush_denormal(False)
        write_record(self.out, self._record())
        return self._record()

    def _models(self) -> dict[str, torch.nn.Module]:
        """What the state of the run holds."""
        averages = {f"average_{name}": average for name, average in self.averages.items()}
        return self._trained() | averages

    def _kept(self, name: str) -> Any:
        """The model that is validated and saved: the average where there is one."""
        if name in self.averages:
            return self.averages[name].model
        return self.decoder if name == "decoder" else self.encoder

    def _trained(self) -> dict[str, torch.nn.Module]:
        models: dict[str, torch.nn.Module] = {"decoder": self.decoder}
        if self.config.encoder.finetune_from or not self.config.encoder.pretrained:
            models["encoder"] = self.encoder
        return models

    def _out_of_patience(self) -> bool:
        patience, now = self.config.train.patience, self.progress
        return bool(patience and now.best_epoch >= 0 and now.epoch - now.best_epoch >= patience)

    def _train_epoch(self) -> None:
        self.decoder.train()
        now, saved = self.progress, time.perf_counter()
        total = len(self.train_loader)
        for batch in self.train_loader.batches(now.epoch, now.batch):
            loss = self._step(batch, now.epoch * total + now.batch)
            now.batch += 1
            now.losses = [
                now.losses[0] + loss.cross_entropy.item(),
                now.losses[1] + loss.penalty.item(),
                now.losses[2] + 1,
            ]
            self.reporter.task(
                "Training",
                now.epoch * total + now.batch,
                self.steps,
                f"epoch {now.epoch + 1}/{self.config.train.epochs}  "
                f"loss {now.losses[0] / now.losses[2]:.3f}",
            )
            if time.perf_counter() - saved > 60 * self.config.train.save_every:
                self._save_state()
                saved = time.perf_counter()

    def _step(self, batch: Batch, step: int) -> Loss:
        settings = self.config.train
        share = self._rate_share(step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        loss = self._loss(
            self.decoder,
            self._annotations(self.encoder, batch),
            batch,
            settings.label_smoothing,
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        if settings.clip_norm:
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        self.optimizer.step()
        for name, model in self._trained().items():
            if name in self.averages:
                self.averages[name].update(model)
        return loss

    def _rate_share(self, step: int) -> float:
        settings = self.config.train
        return rate_share(step, self.steps, warmup=settings.warmup, schedule=settings.schedule)

    def _loss(
        self,
        decoder: torch.nn.Module,
        annotations: torch.Tensor,
        batch: Batch,
        label_smoothing: float,
    ) -> Loss:
        lengths = batch.lengths.to(self.device)
        forced = decoder(annotations, batch.captions.to(self.device), lengths)
        return captioning_loss(
            forced,
            lengths,
            label_smoothing=label_smoothing,
            doubly_stochastic=self.config.train.doubly_stochastic,
        )

    def _annotations(self, encoder: Encoder, batch: Batch) -> torch.Tensor:
        inputs = batch.inputs.to(self.device)
        if inputs.dtype == torch.uint8:
            inputs = encode(encoder, inputs, self.preprocessing, self.dtype)
        return inputs.flatten(1, 2).to(self.dtype)

    # Validation ------------------------------------------------------------------------------

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The loss a token, and BLEU-4 and CIDEr of captions searched freely."""
        decoder, encoder = self._kept("decoder").eval(), self._kept("encoder")
        options = replace(
            SearchOptions(**to_dict(self.config.search)), beam_size=self.config.train.validate_beam
        )
        captions: dict[Hashable, list[str]] = {}
        loss, tokens = 0.0, 0
        for number, batch in enumerate(self.val_loader.batches()):
            count = int(batch.lengths.sum())
            annotations = self._annotations(encoder, batch)
            loss += self._loss(decoder, annotations, batch, 0.0).cross_entropy.item() * count
            tokens += count
            found = search(decoder, annotations, options)
            for row, hypotheses in zip(batch.rows, found, strict=True):
                record = self.val_loader.records[row]
                captions[record.image_id] = self.vocabulary.decode(hypotheses[0].words)
            self.reporter.task("Validation", number + 1, len(self.val_loader))
        return {"val_loss": loss / tokens, **self.validator.score(captions)}

    def _end_epoch(self) -> None:
        now = self.progress
        last_step = (now.epoch + 1) * len(self.train_loader) - 1
        entry = {
            "epoch": now.epoch + 1,
            "loss": now.losses[0] / now.losses[2],
            "penalty": now.losses[1] / now.losses[2],
            "lr": self.config.train.lr * self._rate_share(last_step),
        }
        best = False
        if now.epoch + 1 >= min(self.config.train.validate_from, self.config.train.epochs):
            entry |= self.validate()
            # On a small split CIDEr may stand still, at zero even: then the lower loss wins.
            kept = now.history[now.best_epoch - 1] if now.best_epoch > 0 else {}
            before = (now.best, -kept.get("val_loss", math.inf))
            best = (entry["CIDEr"], -entry["val_loss"]) > before
        now.seconds = time.perf_counter() - self.started
        now.history.append(entry | {"seconds": round(now.seconds, 1)})
        if best:
            now.best, now.best_epoch = entry["CIDEr"], now.epoch + 1
        now.epoch, now.batch, now.losses = now.epoch + 1, 0, [0.0, 0.0, 0.0]
        if best:
            checkpoints.save(self.out, self._captioner(self._record()).to_checkpoint())
        self._save_state()
        self.reporter.epoch(now.history[-1], best)
        write_record(self.out, self._record())

    def _captioner(self, record: dict[str, Any]) -> Captioner:
        values = to_dict(self.config)
        return Captioner(
            encoder=self._kept("encoder"),
            decoder=deepcopy(self._kept("decoder")),
            vocabulary=self.vocabulary,
            preprocessing=self.preprocessing,
            search=SearchOptions(**values["search"]),
            config={key: values[key] for key in ("encoder", "decoder", "search")},
            record=record,
            device=self.device,
            precision="fp32",
        )

    def _save_state(self) -> None:
        self.progress.seconds = time.perf_counter() - self.started
        save_state(self.out, self._models(), self.optimizer, self.progress, self.identity)

    def _record(self) -> dict[str, Any]:
        now = self.progress
        return {
            "showattend": __version__,
            "config": to_dict(self.config),
            "data": {
                "train_images": len(self.train_loader.records),
                "val_images": len(self.val_loader.records),
                "vocabulary": len(self.vocabulary),
                "grid": list(self.encoder.grid(self.preprocessing.size)),
            },
            "best": {"epoch": now.best_epoch, "CIDEr": now.best} if now.best_epoch > 0 else None,
            "history": now.history,
            "seconds": round(now.seconds, 1),
            "machine": {
                "device": self.device.type,
                "precision": str(self.dtype).removeprefix("torch."),
                "threads": torch.get_num_threads(),
                "processors": os.cpu_count(),
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }


class _Rows:
    """A subset of the inputs."""

    def __init__(self, inputs: Inputs, rows: Sequence[int]) -> None:
        self.inputs, self.rows = inputs, rows

    def read(self, rows: Sequence[int], mirrored: Sequence[bool]) -> torch.Tensor:
        return self.inputs.read([self.rows[row] for row in rows], mirrored)


def _splits(records: list[Record], path: str) -> tuple[list[int], list[int]]:
    """Which records are for training, which for validation."""
    train, val = (
        [i for i, record in enumerate(records) if record.split == split]
        for split in ("train", "val")
    )
    if not train or not val:
        raise DataError(
            f"{path}: {len(train)} training and {len(val)} validation images; training needs both"
        )
    return train, val


def _read(config: Config) -> list[Record]:
    data = config.data
    if not data.path:
        raise DataError("data.path is not set: give a dataset.jsonl of `showattend prepare` or toy")
    if data.path == "toy":
        path = write_toy(Path(data.cache) / f"toy-{data.toy_images}", images=data.toy_images)
        records = read_dataset(path)
    else:
        records = read_dataset(Path(data.path), Path(data.images) if data.images else None)
    for split, count in (("train", data.train_images), ("val", data.val_images)):
        mine = [record for record in records if record.split == split]
        if count is not None and count < len(mine):
            keep = set(random.Random(config.train.seed).sample(range(len(mine)), count))
            chosen = {mine[i].image_id for i in keep}
            records = [r for r in records if r.split != split or r.image_id in chosen]
    return records


def train(config: Config, reporter: Reporter | None = None, resume: bool = False) -> dict[str, Any]:
    """Run a config from data to the best model (`Trainer`, `Trainer.run`).

    Raises:
        CheckpointError: Nothing to resume.
        DataError: The folder of the run holds another one, or cannot be written.
    """
    out = Path(config.train.out)  # looked at first: building may compute features for minutes
    if resume:
        find_state(out)
    elif (out / STATE_NAME).exists() or (out / checkpoints.FILE_NAME).exists():
        raise DataError(f"{out}: holds a run already; add --resume, or choose another train.out")
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise DataError(f"{out}: cannot be written ({nearest} bars the way); see train.out")
    return Trainer(config, reporter).run(resume)
