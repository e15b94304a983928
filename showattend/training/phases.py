"""The phases of a run: cross-entropy, then self-critical training, once or several times.

All self-critical phases start from the same model, and their results are averaged
(`showattend.training.average.Merger`). The averaging and the adjustment for rare words train
nothing; each is a phase of one epoch, so that a resumed run knows whether it is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from showattend.config import Config


@dataclass(frozen=True)
class Phase:
    """One objective for a number of epochs, with its own learning rate schedule.

    The defaults are for a phase that trains nothing.

    Attributes:
        name: The name in the training record.
        epochs: The number of epochs.
        rates: The peak learning rates of the decoder and of the trainable encoder stages.
        validate_from: The first epoch of the phase after which captions are scored.
        shown: The figure of the loss that a progress bar shows.
        encoder_from: The number of epochs before the encoder stages are trained.
        names: Other names in the training record for figures of the loss.
    """

    name: str
    epochs: int = 1
    rates: Mapping[str, float] = field(default_factory=dict)
    validate_from: int = 1
    shown: str = ""
    encoder_from: int = 0
    names: Mapping[str, str] = field(default_factory=dict)

    def trains_encoder(self, epoch: int) -> bool:
        """Whether the encoder is trained in an epoch of the phase, from 0."""
        return self.rates["encoder"] > 0 and epoch >= self.encoder_from


CROSS_ENTROPY, SELF_CRITICAL = "cross-entropy", "self-critical"
AVERAGE, ADJUSTED = "average", "adjusted"


def plan(config: Config) -> list[Phase]:
    """Return the phases of a run, without those of zero epochs."""
    train, critical = config.train, config.self_critical
    phases = [
        Phase(
            CROSS_ENTROPY,
            train.epochs,
            {"decoder": train.lr, "encoder": train.encoder_lr},
            train.validate_from,
            "cross_entropy",
            train.finetune_after,
            {"cross_entropy": "loss"},
        ),
        *[
            Phase(
                SELF_CRITICAL,
                critical.epochs,
                {"decoder": critical.lr, "encoder": 0.0},  # the encoder has learned enough by then
                1,
                "reward",
            )
        ]
        * critical.runs,
    ]
    phases = [phase for phase in phases if phase.epochs]
    runs = sum(phase.name == SELF_CRITICAL for phase in phases)
    # A single run is averaged only with its start, if that has a share.
    if runs > 1 or (runs and critical.start_share):
        phases.append(Phase(AVERAGE))
    if train.rare_words:
        phases.append(Phase(ADJUSTED))
    return phases
