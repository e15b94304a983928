"""What a model knows of its own limits: numbers measured on validation photographs.

They are in the model's file, or in a ``calibration.safetensors`` beside it, which takes their
place: they are measured when the weights are there already (``scripts/calibrate.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from showattend.errors import CheckpointError

UNSURE_BELOW = 0.3
"""For a model that was not calibrated."""


@dataclass(frozen=True)
class Calibration:
    """Where a model's numbers begin to mean trouble.

    Attributes:
        unsure_below: A content word is unsure when its probability is lower. On the validation
            photographs, people do not name what such a word says more often than they do.
        measured: How the numbers were found, for people.
    """

    unsure_below: float = UNSURE_BELOW
    measured: dict[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """What `to_dict` gave; keys of later versions are passed over.

        Args:
            values: Of `Checkpoint.calibration`.

        Raises:
            CheckpointError: A value is no probability.
        """
        unsure_below = values.get("unsure_below", UNSURE_BELOW)
        is_number = isinstance(unsure_below, int | float) and not isinstance(unsure_below, bool)
        if not is_number or not 0 <= unsure_below <= 1:
            raise CheckpointError(
                f"its calibration's unsure_below is {unsure_below!r}; it must be a probability, "
                "0 to 1"
            )
        measured = values.get("measured")
        return cls(float(unsure_below), measured if isinstance(measured, dict) else {})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; none where nothing was measured."""
        return asdict(self) if self != Calibration() or self.measured else {}
