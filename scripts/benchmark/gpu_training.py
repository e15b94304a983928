"""Train a config from images to the best checkpoint in a given time; a part of gpu.py.

A short first run measures how long an epoch takes. This determines the number of epochs, and of
self-critical runs if there is time for any. The best model so far is stored after each epoch.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from showattend.captioner import Captioner
from showattend.config import Config, load_config
from showattend.data.readers import read_dataset
from showattend.model.checkpoint import FILE_NAME, save
from showattend.training.reporter import Silent
from showattend.training.trainer import train

TRIED = 320
"""Training images of the measuring run."""
REWARDED = 3.0
"""A self-critical epoch (5 samples) takes about this many times as long as one of cross-entropy."""
SPARE = 0.85
"""The share of the time to plan for."""


class TimeIsUp(KeyboardInterrupt):
    """The run has to end."""


class Storing(Silent):
    """Stores the best model after each epoch, reports, and ends the run in time.

    Args:
        out: The folder of the run.
        store: The folder of the checkpoint.
        end: The value of `time.monotonic` at which the run must end.
        about: Values to print after each epoch, next to the epochs.
    """

    def __init__(self, out: Path, store: Path, end: float, about: dict[str, Any]) -> None:
        self.out, self.store, self.end, self.about = out, store, end, about
        self.history: list[dict[str, Any]] = []
        self.stored: int | None = None
        self.read: list[float] = []  # when a part of the features was computed
        self.ends: list[float] = []  # when epochs ended

    def message(self, text: str) -> None:
        """Pass messages on to the log."""
        print(text, flush=True)

    def task(self, name: str, *_: object, **__: object) -> None:
        """Note when features are computed, and end the run when its time is up.

        Raises:
            TimeIsUp: It is.
        """
        if (clock := time.monotonic()) > self.end:
            raise TimeIsUp
        if name == "Features":
            self.read.append(clock)
        if self.stored != (now := _changed(self.out)):  # written after the epoch was reported
            self.keep(now)

    def epoch(self, entry: dict[str, Any], best: bool) -> None:
        """Print the epochs so far."""
        self.ends.append(time.monotonic())
        kept = ("epoch", "phase", "seconds", "loss", "val_loss", "CIDEr", "BLEU-4")
        self.history.append({key: entry[key] for key in kept if key in entry} | {"best": best})
        self.tell()

    def keep(self, now: int | None) -> None:
        """Store the best model in float16."""
        model = Captioner.from_pretrained(self.out, device="cpu")
        save(self.store, model.to_checkpoint(half=True))
        self.stored = now

    def tell(self) -> None:
        """One line of JSON for gpu.py."""
        print(json.dumps(self.about | {"history": self.history}), flush=True)


def _changed(out: Path) -> int | None:
    file = out / FILE_NAME
    return file.stat().st_mtime_ns if file.is_file() else None


def configured(settings: dict[str, Any], *changes: str) -> Config:
    """The config, with the pack's data, the device, and changes."""
    pack, out = Path(settings["pack"]), Path(settings["out"])
    return load_config(
        pack / settings["config"],
        [
            f"data.path={pack / 'data/dataset.jsonl'}", f"data.cache={out / 'cache'}",
            f"train.device={settings['device']}", f"train.out={out / 'run'}",
            "train.validate_from=1", *settings["overrides"], *changes,
        ],
    )  # fmt: skip


def planned(config: Config, epoch: float, seconds: float) -> tuple[list[str], list[str]]:
    """Plan what fits in the time.

    Args:
        config: The original config.
        epoch: Seconds of an epoch of cross-entropy, with validation.
        seconds: The time.

    Returns:
        Overrides, and lines that explain them.
    """
    epochs, critical = config.train.epochs, config.self_critical
    affordable = int(SPARE * seconds / epoch)
    lines = [f"an epoch takes about {epoch:.1f} s, so about {affordable} fit into {seconds:.0f} s"]
    left = affordable - epochs
    runs = min(critical.runs, int(left / (REWARDED * critical.epochs))) if critical.epochs else 0
    changes = [f"train.epochs={max(1, min(epochs, affordable))}"]
    if left < 0:
        lines.append(f"{max(1, affordable)} epochs of the config's {epochs}")
    if critical.epochs and runs < critical.runs:
        lines.append(f"{max(0, runs)} self-critical runs of the config's {critical.runs}")
        changes.append(f"self_critical.runs={runs}" if runs > 0 else "self_critical.epochs=0")
    if left >= 0 and runs >= (critical.runs if critical.epochs else 0):
        lines.append("the whole config")
    return changes, lines


def main() -> None:
    """Measure, plan, train."""
    settings = json.loads(sys.argv[1])
    out = Path(settings["out"])
    end = time.monotonic() + settings["seconds"]
    config = configured(settings)
    records = read_dataset(Path(settings["pack"]) / "data/dataset.jsonl")
    images = {name: sum(each.split == name for each in records) for name in ("train", "val")}
    whole = min(images["train"], config.data.train_images or images["train"])
    tried = min(TRIED, whole)
    short = configured(
        settings, f"data.train_images={tried}", "train.epochs=3", "train.finetune_after=0",
        f"data.val_images={max(8, tried * images['val'] // images['train'])}",
        "train.rare_words=0", "self_critical.epochs=0", f"train.out={out / 'trial'}",
        f"data.cache={out / 'trial-cache'}",
    )  # fmt: skip
    about: dict[str, Any] = {"plan": ["a short run measures the speed"]}
    trial = Storing(out / "trial", out / "checkpoint", end, about)
    try:
        train(short, trial)
    except TimeIsUp:
        trial.tell()
        raise SystemExit("there was no time for an epoch; give more --minutes") from None
    epoch = (trial.ends[-1] - trial.ends[-2]) * whole / tried
    parts = max(1, len(trial.read) - 1)  # the start of the first is unknown
    reading = (trial.read[-1] - trial.read[0]) * len(trial.read) / parts if trial.read else 0.0
    reading *= whole / tried
    changes, lines = planned(config, epoch, end - time.monotonic() - reading)
    about = {"plan": [f"reading images takes about {reading:.0f} s", *lines]}
    reporter = Storing(out / "run", out / "checkpoint", end, about)
    reporter.stored = _changed(out / "run")
    reporter.tell()
    try:
        train(configured(settings, *changes), reporter)
    except TimeIsUp:
        about["plan"].append("its time was up before its end; the best model so far is stored")
    if reporter.stored != (now := _changed(out / "run")):
        reporter.keep(now)
    reporter.tell()


if __name__ == "__main__":
    main()
