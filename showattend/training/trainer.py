"""A training run: data, features, epochs, validation by free decoding, and the best model."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch

from showattend.captioner import Captioner
from showattend.config import Config
from showattend.data.loader import Batch, CaptionLoader
from showattend.evaluation.scores.map_statistics import complain_of_maps
from showattend.model import checkpoint as checkpoints
from showattend.model.decoders.protocol import favour_rare_words, sharpen
from showattend.model.decoders.refined import innermost
from showattend.model.encoder import Encoder
from showattend.model.fast import compile_step
from showattend.system.device import choose_device, choose_dtype, keep_freed_memory
from showattend.system.processes import join, leave
from showattend.training.average import Merger, MovingAverage, best_model, put_weights
from showattend.training.board import PHOTOGRAPHS, Board
from showattend.training.check import check
from showattend.training.gradients import SharedGradients
from showattend.training.losses import Loss, batch_loss, figures_of
from showattend.training.optimizer import build_optimizer, rate_share
from showattend.training.phases import ADJUSTED, AVERAGE, SELF_CRITICAL, Phase, plan
from showattend.training.record import (
    begin_session,
    check_finite,
    machine,
    portable_record,
    resumed_lines,
    run_record,
    skipped_line,
    write_record,
)
from showattend.training.reporter import Reporter, Silent, default_reporter
from showattend.training.self_critical import PolicyLoss, SelfCritical
from showattend.training.setup import set_up
from showattend.training.state import Progress, begins_or_resumes, load_state, save_state
from showattend.training.stopping import Stop


class Trainer:
    """One run of one config.

    Args:
        config: The whole configuration.
        reporter: Receives progress and messages; None: bars in a notebook, the log elsewhere.

    Raises:
        DataError: The data set cannot be read, or one of its splits is empty.
        ConfigError: A value of the config is invalid.
    """

    def __init__(self, config: Config, reporter: Reporter | None = None) -> None:
        check(config)
        self.config, self.out = config, Path(config.train.out)
        self.processes, self.device = join(choose_device(config.train.device))
        self.reporter = (reporter or default_reporter()) if self.processes.first else Silent()
        self.dtype = choose_dtype(config.train.precision, self.device)
        self.progress = Progress()
        self.phases = plan(config)
        critical = config.self_critical
        names = [phase.name for phase in self.phases]
        runs = names.count(SELF_CRITICAL)
        self.merger = Merger(self.out, runs, critical.start_share, self.processes)
        self.gradients = SharedGradients(self.processes)
        self.averages_runs = AVERAGE in names
        self.stop = Stop()
        self.board: Board | None = None
        self.started = time.perf_counter()
        torch.manual_seed(config.train.seed)
        setup = set_up(
            config,
            device=self.device,
            dtype=self.dtype,
            processes=self.processes,
            reporter=self.reporter,
        )
        self.encoder, self.decoder = setup.encoder, setup.decoder
        self.train_loader, self.val_loader = setup.train_loader, setup.val_loader
        self.setup, self.identity = setup, setup.identity
        self.made = setup.provenance(config, self.device, self.dtype)
        if self.processes.rank:  # all processes have the same weights, but different dropout
            torch.manual_seed(config.train.seed + 1_000_003 * self.processes.rank)
        if config.train.compile and (trouble := compile_step(innermost(self.decoder), self.dtype)):
            self.reporter.message(trouble)
        if self.phases[0].name == SELF_CRITICAL:
            sharpen(self.decoder, critical.temperature)
        self._restart()
        self.reward_loader = self.train_loader
        self.self_critical: SelfCritical | None = None
        if critical.epochs:
            self.reward_loader = self.train_loader.with_references(critical.min_references)
            self.self_critical = SelfCritical(
                self.train_loader.spoken,
                setup.vocabulary,
                samples=critical.samples,
                max_length=critical.max_length,
                doubly_stochastic=config.train.doubly_stochastic,
            )

    def _restart(self) -> None:
        """Make a new optimizer, and new averages that start from the current weights."""
        # float16 gradients are scaled up so that small ones do not become zero.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.optimizer = build_optimizer(
            self.decoder,
            [p for p in self.encoder.parameters() if p.requires_grad],
            weight_decay=self.config.train.weight_decay,
        )
        self.averages = {
            name: MovingAverage(model, self.config.train.ema)
            for name, model in self._trained().items()
            if self.config.train.ema
        }

    # Running ---------------------------------------------------------------------------------

    def run(self, resume: bool = False) -> dict[str, Any]:
        """Train, and write the best model, its record and its curves to ``train.out``.

        Args:
            resume: Continue the run in ``train.out``.

        Returns:
            The training record.

        Raises:
            CheckpointError: There is nothing to resume, or the config or the data set has changed.
        """
        now = self.progress
        if resume:
            now = load_state(
                self.out,
                self._models(),
                self.optimizer,
                self.identity,
                scaler=self.scaler,
                processes=self.processes,
                message=self.reporter.message,
            )
            self.progress = now
            last = self.phases[-1]
            over = self.phase is last and now.phase_is_over(last.epochs, self.config.train.patience)
            for line in resumed_lines(now, self.made, self.out, over):
                self.reporter.message(line)
        else:
            begin_session(now, self.made)
        self.started -= now.seconds  # include earlier processes of a resumed run
        if self.processes.first:
            photos = self.setup.photos(PHOTOGRAPHS)
            self.board = Board(self.config, photos, now.epoch, self.reporter)
        if not resume:  # from here on the run can be resumed
            self._save_state()
        torch.set_flush_denormal(True)  # such numbers take a CPU a hundred times as long
        if self.device.type == "cpu":
            keep_freed_memory()
        try:
            with self.stop:
                for number in range(now.phase, len(self.phases)):
                    if number > now.phase:
                        self._begin(number)
                    elif now.epoch + now.batch == 0 and self.phase.name == SELF_CRITICAL:
                        self._save_start()
                    self._go_through_phase()
        finally:
            torch.set_flush_denormal(False)
            self.gradients.close()
        if trouble := complain_of_maps(now.best_entry):
            self.reporter.message(f"warning: {trouble}")
        self._write_record()
        return self._record()

    def _begin(self, number: int) -> None:
        """Begin the next phase."""
        now, before = self.progress, self.phase
        now.phase, now.phase_start = number, now.epoch
        if self.phase.name == SELF_CRITICAL:
            self._begin_self_critical(again=before.name == SELF_CRITICAL)
        # A resumed run must not start this phase from a model that the phase itself has made.
        self._save_state()

    def _begin_self_critical(self, again: bool) -> None:
        """Start from the best model so far with new moments; repeated runs use the same start."""
        if again:
            self.merger.load_start(self._trained())
            told = "again from the same start"
        else:
            put_weights(best_model(self.out, self.processes).weights, self._trained())
            sharpen(self.decoder, self.config.self_critical.temperature)
            self._save_start()
            told = "from the best model"
        self._restart()
        self.reporter.message(f"Continuing with {self.phase.name} training, {told}")

    def _go_through_phase(self) -> None:
        """Do what remains of the phase."""
        now = self.progress
        while not now.phase_is_over(self.phase.epochs, self.config.train.patience):
            if self.phase.name == AVERAGE:
                self._merge()
            elif self.phase.name == ADJUSTED:
                self._favour_rare_words()
            else:
                self._train_epoch()
                self._end_epoch()
        if self.phase.name == SELF_CRITICAL and self.averages_runs and self.processes.first:
            run = [phase.name for phase in self.phases[: now.phase]].count(SELF_CRITICAL)
            self.merger.save_run(run, self._kept_models())

    def _save_start(self) -> None:
        if self.averages_runs and self.processes.first:
            self.merger.save_start(self._trained())

    def _merge(self) -> None:
        """Average the self-critical runs, and validate the average like an epoch."""
        now = self.progress
        self.merger.merge(self._kept_models())
        now.epoch += 1
        self.reporter.message("The average of the weights:")
        self._enter({"epoch": now.epoch, "phase": AVERAGE} | self.validate())

    def _favour_rare_words(self) -> None:
        """Adjust the scores of the best model; the result is kept even if its CIDEr is lower."""
        now, kept = self.progress, self._kept_models()
        best = best_model(self.out, self.processes)
        put_weights(best.weights, kept)
        counts = torch.from_numpy(self.train_loader.target_counts(len(self.setup.vocabulary)))
        if best.record["history"][-1]["phase"] != ADJUSTED:  # not adjusted before an interruption
            favour_rare_words(self._kept("decoder"), counts, self.config.train.rare_words)
        now.epoch, now.best = now.epoch + 1, float("-inf")
        self.reporter.message("The best model, with scores adjusted in favour of rare words:")
        self._enter({"epoch": now.epoch, "phase": ADJUSTED} | self.validate())

    def _models(self) -> dict[str, torch.nn.Module]:
        """Return the models in the state of the run, by name."""
        averages = {f"average_{name}": average for name, average in self.averages.items()}
        return self._trained() | averages

    def _kept(self, name: str) -> Any:
        """Return the model that is validated and saved: the average, if there is one."""
        if name in self.averages:
            return self.averages[name].model
        return self.decoder if name == "decoder" else self.encoder

    def _kept_models(self) -> dict[str, torch.nn.Module]:
        return {name: self._kept(name) for name in self._trained()}

    def _trained(self) -> dict[str, torch.nn.Module]:
        models: dict[str, torch.nn.Module] = {"decoder": self.decoder}
        if self.config.encoder.finetune_from or not self.config.encoder.pretrained:
            models["encoder"] = self.encoder
        return models

    @property
    def phase(self) -> Phase:
        """The current phase."""
        return self.phases[self.progress.phase]

    @property
    def loader(self) -> CaptionLoader:
        """The training images of the current phase."""
        return self.reward_loader if self.phase.name == SELF_CRITICAL else self.train_loader

    def _train_epoch(self) -> None:
        self.decoder.train()
        now, saved = self.progress, time.perf_counter()
        total, parameters = len(self.loader), self._parameters()
        all_steps = total * (now.phase_start + self.phase.epochs)
        rewarded = self.phase.name == SELF_CRITICAL  # the reward uses all captions of an image
        with self.stop.put_off():
            for batch in self.loader.batches(now.epoch, now.batch, keep_captions=rewarded):
                figures = self._backward(batch)
                for key, value in figures.items():
                    now.sums[key] = now.sums.get(key, 0.0) + value
                if not batch.last:
                    continue
                since, asked = time.perf_counter() - saved, bool(self.stop.asked)
                due = since > 60 * self.config.train.save_every
                # Validation may take long, and a signal does not wait for it.
                due |= asked or (since > 60 and now.batch + 1 == total)
                due, asked = self.processes.any((due, asked))
                self._update(parameters)
                now.batch += 1
                key = self.phase.shown
                mean = self.processes.count * now.sums[key] / now.batch
                self.reporter.task(
                    "Training",
                    now.epoch * total + now.batch,
                    all_steps,
                    f"epoch {now.epoch + 1}/{now.phase_start + self.phase.epochs}  "
                    f"{self.phase.names.get(key, key)} {mean:.3f}",
                )
                if due:
                    self._save_state()
                    saved = time.perf_counter()
                if asked:
                    self.stop.obey()

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _backward(self, batch: Batch) -> dict[str, float]:
        """Add the gradients of one batch; return the batch's share of the figures."""
        encodes = self.phase.trains_encoder(self.progress.epoch - self.progress.phase_start)
        share = batch.of_images if self.phase.name == SELF_CRITICAL else batch.of_captions
        loss = self.gradients.backward(
            list(self._trained().values()) if encodes else [self.decoder],
            lambda: self._loss(batch, encodes),
            lambda loss: self.scaler.scale(loss.total * share),
            last=batch.last,
        )
        figures = figures_of(loss)
        checked = {"the loss": figures.pop("total")} | figures
        check_finite(checked, self.progress.step_name, self.out)
        weights = {"cross_entropy": batch.of_tokens}  # per token; the others are per caption
        return {key: value * weights.get(key, share) for key, value in figures.items()}

    def _loss(self, batch: Batch, encodes: bool) -> Loss | PolicyLoss:
        with torch.set_grad_enabled(encodes):
            annotations = self._annotations(self.encoder, batch)
        if self.phase.name == SELF_CRITICAL:
            assert self.self_critical is not None
            return self.self_critical(self.decoder, annotations, batch.rows)
        return batch_loss(self.decoder, annotations, batch, self.config.train)

    def _update(self, parameters: list[torch.nn.Parameter]) -> None:
        """Take one step of the optimizer."""
        settings, now = self.config.train, self.progress
        share = self._rate_share((now.epoch - now.phase_start) * len(self.loader) + now.batch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.phase.rates[group["part"]] * share
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm or math.inf)
        if not self.scaler.is_enabled():  # which leaves such a step out
            check_finite({"the gradient": float(norm)}, self.progress.step_name, self.out)
        before = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() < before:  # a gradient was not finite: no step was taken
            now.skipped += 1
        self.optimizer.zero_grad(set_to_none=True)
        for name, model in self._trained().items():
            if name in self.averages:
                self.averages[name].update(model)

    def _rate_share(self, step: int) -> float:
        settings = self.config.train
        steps = len(self.loader) * self.phase.epochs
        return rate_share(step, steps, warmup=settings.warmup, schedule=settings.schedule)

    def _annotations(self, encoder: Encoder, batch: Batch) -> torch.Tensor:
        """Compute annotations [B, H, W, D] from the loader's pixels or features."""
        inputs, stage = batch.inputs.to(self.device), self.config.encoder.finetune_from
        return self.setup.annotations(encoder, inputs, self.dtype, stage)

    # Validation ------------------------------------------------------------------------------

    def validate(self) -> dict[str, Any]:
        """Validate the model that would be saved; see `Validation`."""
        encoder = self._kept("encoder")
        return self.setup.validation(
            self._kept("decoder").eval(), lambda batch: self._annotations(encoder, batch)
        )

    def _end_epoch(self) -> None:
        now = self.progress
        every = self.processes.gather(now.sums)
        sums = {key: sum(each[key] for each in every) / now.batch for key in now.sums}
        done = now.epoch + 1 - now.phase_start
        entry: dict[str, Any] = {
            "epoch": now.epoch + 1,
            "phase": self.phase.name,
            **{self.phase.names.get(key, key): value for key, value in sums.items()},
            "lr": self.phase.rates["decoder"] * self._rate_share(done * len(self.loader) - 1),
        }
        if self.scaler.is_enabled():
            entry["skipped_steps"] = now.skipped
            if now.skipped:
                self.reporter.message(skipped_line(now, len(self.loader)))
        if done >= min(self.phase.validate_from, self.phase.epochs):
            entry |= self.validate()
        now.epoch, now.batch, now.sums, now.skipped = now.epoch + 1, 0, {}, 0
        self._enter(entry)

    def _enter(self, entry: dict[str, Any]) -> None:
        """Add an entry to the history; save the model if its captions are the best so far."""
        now, best = self.progress, False
        if "CIDEr" in entry:
            when = f"epoch {entry['epoch']}"
            check_finite({"the validation loss": entry["val_loss"]}, when, self.out)
            # With few images, CIDEr may not change at all: then the lower loss decides.
            before = (now.best, -now.best_entry.get("val_loss", math.inf))
            best = (entry["CIDEr"], -entry["val_loss"]) > before
        now.seconds = time.perf_counter() - self.started
        now.history.append(entry | {"seconds": round(now.seconds, 1)})
        if best:
            now.best, now.best_epoch = entry["CIDEr"], entry["epoch"]
            if self.processes.first:
                checkpoints.save(self.out, self._captioner().to_checkpoint())
        self._save_state()
        self.reporter.epoch(now.history[-1], best)
        self._write_record()
        if self.board is not None:
            self.board.epoch(now.history[-1], self._captioner)

    def _captioner(self) -> Captioner:
        record = portable_record(self._record())
        encoder, decoder = self._kept("encoder"), self._kept("decoder")
        return self.setup.captioner(self.config, encoder, decoder, record)

    def _save_state(self) -> None:
        self.progress.seconds = time.perf_counter() - self.started
        save_state(
            self.out,
            self._models(),
            self.optimizer,
            self.progress,
            self.identity,
            scaler=self.scaler,
            processes=self.processes,
        )

    def _write_record(self) -> None:
        if self.processes.first:
            write_record(self.out, self._record())

    def _record(self) -> dict[str, Any]:
        how = machine(self.made, self.dtype)
        return run_record(self.config, self.setup.sizes(), self.progress, how)


def train(config: Config, reporter: Reporter | None = None, resume: bool = False) -> dict[str, Any]:
    """Run a config from data to the best model; see `Trainer` and `Trainer.run`.

    Raises:
        CheckpointError: There is nothing to resume, or the run had another config.
        DataError: The folder already holds a run or cannot be written, or the data set is unusable.
    """
    try:
        processes, _ = join(choose_device(config.train.device))
        resumes = begins_or_resumes(config, resume, processes)  # before anything is computed
        return Trainer(config, reporter).run(resumes)
    finally:
        leave()
