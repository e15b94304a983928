"""The training record as JSON, and the training curves as a picture."""

from __future__ import annotations

import io
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from showattend import __version__
from showattend.config import Config, to_dict
from showattend.exceptions import UserError
from showattend.model.score_settings import describe_settings, validation_settings
from showattend.system import provenance
from showattend.system.files import write_bytes
from showattend.training.state import Progress

_log = logging.getLogger(__name__)


def machine(made: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Summarise the machine and the software of a run.

    Args:
        made: Its provenance.
        dtype: The precision of its large products.
    """
    how = made["machine"]
    return {
        "device": how["device"],
        "precision": str(dtype).removeprefix("torch."),
        "threads": how["threads"],
        "processors": how["processors"],
        "torch": torch.__version__,
        "python": made["packages"]["python"],
    }


def begin_session(progress: Progress, made: dict[str, Any]) -> list[str]:
    """Note the provenance of the process that trains from here on.

    A resumed process with the same code, packages and machine continues the session before it.

    Args:
        progress: The progress of the run, whose ``sessions`` is extended.
        made: The provenance of this process.

    Returns:
        How code, packages and machine differ from the session before, in a few words each.
    """
    before = progress.sessions[-1] if progress.sessions else None
    changed = [] if before is None else provenance.changes(before, made)
    if before is None or changed:
        where = {"epoch": progress.epoch + 1, "batch": progress.batch}
        progress.sessions.append(where | made)
    return changed


def resumed_lines(now: Progress, made: dict[str, Any], out: Path, over: bool) -> list[str]:
    """Begin the session of a resumed run, unless it is over; return the lines to report."""
    if over:
        return [
            "The run is already finished; to train its best model for longer, start a new run "
            f"with train.init_from={out} and another train.out"
        ]
    lines = [f"Resuming at epoch {now.epoch + 1}, batch {now.batch}"]
    if changed := begin_session(now, made):
        lines.append(
            "warning: the run continues with other code, packages, machine or threads than "
            "before, so that its result may differ from an uninterrupted one "
            f"({'; '.join(changed)})"
        )
    return lines


def skipped_line(now: Progress, steps: int) -> str:
    """Report how many of an epoch's steps float16 has cost."""
    return (
        f"Epoch {now.epoch + 1}: {now.skipped} of {steps} steps were skipped, because gradients "
        "exceeded float16; bf16 has no such limit"
    )


def run_record(
    config: Config, data: dict[str, Any], progress: Progress, machine: dict[str, Any]
) -> dict[str, Any]:
    """Build the training record: config, size of the data, every epoch, and the machine.

    ``validation`` holds the settings of the validation scores (`showattend.model.score_settings`),
    ``provenance`` what the run was started with (`showattend.system.provenance`), and ``resumed``
    the same for each process that continued it with other code, on another machine or with
    another number of threads, and the epoch and batch from which it did.

    Args:
        config: The config of the run.
        data: The size of the data, as plain values.
        progress: The progress of the run.
        machine: The result of `machine`.
    """
    best = {"epoch": progress.best_epoch, "CIDEr": progress.best}
    record = {
        "showattend": __version__,
        "config": to_dict(config),
        "data": data,
        "best": best if progress.best_epoch > 0 else None,
        "history": progress.history,
        "seconds": round(progress.seconds, 1),
        "machine": machine,
    }
    if progress.sessions:
        record["provenance"], *resumed = progress.sessions
        record |= {"resumed": resumed} if resumed else {}
    return record | {"validation": validation_settings(record)}


def portable_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Shorten absolute paths in the provenance of a record, for the model file."""
    shown = {key: provenance.portable(record[key]) for key in ("provenance", "resumed")
             if key in record}  # fmt: skip
    return {**record, **shown}


def check_finite(figures: Mapping[str, float], when: str, out: Path) -> None:
    """Stop a run that has diverged.

    Args:
        figures: Values by name.
        when: The epoch, and the batch, for the message.
        out: The folder of the run, for the message.

    Raises:
        UserError: A value is not finite.
    """
    wrong = [name for name, value in figures.items() if not math.isfinite(value)]
    if wrong:
        raise UserError(
            f"{out}: the run has diverged ({wrong[0]} is {figures[wrong[0]]} in {when}); "
            "what was saved before is kept; start again in another train.out, with a lower "
            "learning rate (train.lr, train.encoder_lr, self_critical.lr) or train.clip_norm"
        )


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write ``training.json`` and ``curves.png`` into the folder of the run.

    Without matplotlib, as on a machine that only trains, there are no curves.

    Raises:
        UserError: They cannot be written.
    """
    write_bytes(folder / "training.json", f"{json.dumps(record, indent=2)}\n".encode())
    try:
        curves = plot_curves(record)
    except ImportError as error:
        _log.warning("%s: no curves.png (%s)", folder, error)
    else:
        write_bytes(folder / "curves.png", curves)


def plot_curves(record: dict[str, Any]) -> bytes:
    """Plot losses and validation scores over the epochs, with the best epoch marked, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    history = record["history"]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    curves = (
        (left, "loss", "training", "#4477aa"),
        (left, "val_loss", "validation, teacher forced", "#ee6677"),
        (right, "CIDEr", "CIDEr", "#228833"),
        (right, "BLEU-4", "BLEU-4", "#aa3377"),
    )
    for axes, key, label, colour in curves:
        points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", ms=3.5, color=colour, label=label)
    left.set_title("Loss per token (nats)", loc="left", fontsize=10)
    right.set_title("Captions of the validation split", loc="left", fontsize=10)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        if record["best"]:
            axes.axvline(record["best"]["epoch"], color="0.6", lw=1, ls=":", zorder=0)
        if axes.lines:
            axes.legend(frameon=False, fontsize=9)
    if told := describe_settings(record.get("validation", {})):
        figure.supxlabel(f"validation: {told}", fontsize=8, color="0.4")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130)
    return picture.getvalue()
