"""What a run consists of: cross-entropy first, then self-critical training, once or several times.

The self-critical phases all start from the same model, and what they come to is averaged
(`showattend.training.average.Merger`). The average and the adjustment of rare words train nothing;
each is a phase of one epoch, so that a run knows what is done and what is still to come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from showattend.config import Config


@dataclass(frozen=True)
class Phase:
    """One objective for a number of epochs, with a learning rate schedule of its own.

    The defaults are those of a phase that trains nothing.

    Attributes:
        name: As the record calls it.
        epochs: How many.
        rates: The peak learning rates of the decoder and of the opened encoder stages.
        validate_from: The first of its epochs after which captions are scored.
        shown: Which of the loss's figures a progress bar shows.
        encoder_from: How many of its epochs the opened encoder stages wait before they learn.
        names: What the record calls the loss's figures, where it is another name.
    """

    name: str
    epochs: int = 1
    rates: Mapping[str, float] = field(default_factory=dict)
    validate_from: int = 1
    shown: str = ""
    encoder_from: int = 0
    names: Mapping[str, str] = field(default_factory=dict)


CROSS_ENTROPY, SELF_CRITICAL = "cross-entropy", "self-critical"
AVERAGE, ADJUSTED = "average", "adjusted"


def plan(config: Config) -> list[Phase]:
    """The phases of a run; those without epochs are left out."""
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
                {"decoder": critical.lr, "encoder": 0.0},  # it sees enough of the words by then
                1,
                "reward",
            )
        ]
        * critical.runs,
    ]
    phases = [phase for phase in phases if phase.epochs]
    runs = sum(phase.name == SELF_CRITICAL for phase in phases)
    # A single run is averaged with its start alone, where that has a share.
    if runs > 1 or (runs and critical.start_share):
        phases.append(Phase(AVERAGE))
    if train.rare_words:
        phases.append(Phase(ADJUSTED))
    return phases
