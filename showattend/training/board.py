"""Figures and validation photographs of a run for TensorBoard (``train.tensorboard``)."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from showattend.captioner import Captioner
from showattend.config import Config
from showattend.exceptions import ConfigError, ImageError, one_line
from showattend.system.files import unwritable
from showattend.text.printable import visible
from showattend.training.reporter import Reporter
from showattend.visualize import figure_bytes

PHOTOGRAPHS = 4
"""The number of validation photographs shown with their maps after every validated epoch."""
_WIDTH = 1000  # of their figures, in pixels
_GROUPS = {"loss": "loss", "val_loss": "loss", "lr": "rate", "reward": "reward"}


def check_board(config: Config) -> None:
    """Refuse ``train.tensorboard`` if TensorBoard is not installed.

    Raises:
        ConfigError: It is not; the message says how to install it.
    """
    if config.train.tensorboard and find_spec("tensorboard") is None:
        raise ConfigError(
            'train.tensorboard needs TensorBoard; run: pip install "showattend[tensorboard]", or '
            "leave it out"
        )


class Board:
    """Writes a run's figures and photographs, if the config requests it.

    Args:
        config: The config of the run.
        paths: The validation photographs, of which the first are shown.
        epoch: The number of finished epochs. Whatever an interrupted run wrote after them is
            replaced.
        reporter: Receives a line that says where it writes, and one if it no longer can.

    Raises:
        UserError: The folder cannot be written.
    """

    def __init__(
        self, config: Config, paths: Sequence[Path], epoch: int, reporter: Reporter
    ) -> None:
        self.folder = folder_of(config)
        if self.folder is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        self.paths, self.reporter = list(dict.fromkeys(paths))[:PHOTOGRAPHS], reporter
        _let_it_fail_silently()
        try:
            self.writer: Any = SummaryWriter(self.folder, purge_step=epoch + 1)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        reporter.message(f"TensorBoard: tensorboard --logdir {self.folder}")

    def epoch(self, entry: Mapping[str, Any], captioner: Callable[[], Captioner]) -> None:
        """Write an epoch: its figures, and the photographs if it was validated.

        A full disk does not end the run: a message reports it, and nothing more is written.

        Args:
            entry: The epoch's entry in the training record.
            captioner: Builds the model that was validated.
        """
        if self.folder is None:
            return
        try:
            for name, value in scalars(entry).items():
                self.writer.add_scalar(visible(name), value, entry["epoch"])
            if "CIDEr" in entry:
                self._photographs(captioner(), entry["epoch"])
            self.writer.flush()
        except OSError as error:
            self.reporter.message(
                f"TensorBoard: {self.folder}: cannot be written ({one_line(error)}); training "
                "continues without it"
            )
            self.folder = None
            with contextlib.suppress(OSError):
                self.writer.close()

    def _photographs(self, captioner: Captioner, epoch: int) -> None:
        for path, caption in captioner.stream(self.paths):
            try:
                if isinstance(caption, ImageError):
                    raise caption
                figure = Image.open(io.BytesIO(figure_bytes(caption, ".png"))).convert("RGB")
            except ImageError as error:  # the features are cached, but the photograph is gone
                self.reporter.message(f"not shown in TensorBoard: {error}")
                self.paths.remove(Path(str(path)))
                continue
            figure.thumbnail((_WIDTH, 4 * _WIDTH))
            name = f"photographs/{visible(Path(str(path)).stem)}"
            self.writer.add_image(name, np.asarray(figure), epoch, dataformats="HWC")
            self.writer.add_text(name, caption.text, epoch)


def _let_it_fail_silently() -> None:
    """Print no traceback if TensorBoard's thread cannot write: `Board` reports its error."""
    plain = threading.excepthook
    if getattr(plain, "__name__", "") == "except_for_the_board":
        return

    def except_for_the_board(failed: Any) -> None:
        is_board = type(failed.thread).__module__.startswith("tensorboard.")
        if not (is_board and isinstance(failed.exc_value, OSError)):
            plain(failed)

    threading.excepthook = except_for_the_board


def folder_of(config: Config) -> Path | None:
    """The folder of the event files; None if they are not requested."""
    wanted = config.train.tensorboard
    if not wanted:
        return None
    return Path(config.train.out) / "tensorboard" if wanted == "on" else Path(wanted)


def scalars(entry: Mapping[str, Any]) -> dict[str, float]:
    """The figures of an epoch by TensorBoard's names, GROUP/NAME; those of each data set too."""
    found: dict[str, float] = {}
    for key, value in entry.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or key == "epoch":
            continue
        found[f"{_GROUPS.get(key, 'validation' if 'CIDEr' in entry else 'training')}/{key}"] = value
    for name, figures in (entry.get("sets") or {}).items():
        found |= {f"{name}/{key}": value for key, value in figures.items()}
    return found
