"""Calibration of a model's warnings, measured on validation photographs.

It is stored in the model's file, or in ``calibration.safetensors`` next to it, which takes
precedence, since it is usually measured after training (``scripts/calibrate.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from showattend.exceptions import CheckpointError, shown
from showattend.model.familiarity import Familiarity


@dataclass(frozen=True)
class Calibration:
    """The thresholds for a model's warnings.

    Attributes:
        unsure_below: A content word is unsure if its probability is lower than this. On validation
            photographs, most words below it name something that people do not mention. 0 without
            calibration, since models differ too much for a common threshold.
        familiarity: Measures how similar a photograph is to the training data; None without
            calibration.
        measured: A record of how the numbers were measured.
    """

    unsure_below: float = 0.0
    familiarity: Familiarity | None = None
    measured: dict[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], basis: np.ndarray | None = None) -> Calibration:
        """The inverse of `to_dict`; ignores unknown keys from later versions.

        Args:
            values: The plain values, from `Checkpoint.calibration`.
            basis: The basis of `Familiarity` [D, C], which is stored separately.

        Raises:
            CheckpointError: A value is invalid.
        """
        unsure_below = values.get("unsure_below", 0.0)
        is_number = isinstance(unsure_below, int | float) and not isinstance(unsure_below, bool)
        if not is_number or not 0 <= unsure_below <= 1:
            raise CheckpointError(
                f"its calibration's unsure_below is {shown(unsure_below)}; "
                "it must be a probability, 0 to 1"
            )
        familiarity = None
        if basis is not None and (known := values.get("familiarity")) is not None:
            try:
                residuals = np.asarray(known["residuals"], np.float64)
                familiarity = Familiarity(basis, residuals, int(known["size"]))
            except (KeyError, TypeError, ValueError) as error:
                raise CheckpointError(
                    f"its calibration's familiarity is damaged ({error})"
                ) from error
        measured = values.get("measured")
        return cls(float(unsure_below), familiarity, measured if isinstance(measured, dict) else {})

    def familiar(self, means_ND: np.ndarray, size: int) -> list[float | None]:
        """Compute the familiarity of N photographs; None if it was not measured at this size.

        Args:
            means_ND: Their mean annotation vectors.
            size: Side of the network's input in pixels.
        """
        if self.familiarity is None or self.familiarity.size != size:
            return [None] * len(means_ND)
        return list(self.familiarity(means_ND).tolist())

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for JSON; empty without calibration."""
        if self == Calibration() and not self.measured:
            return {}
        values: dict[str, Any] = {"unsure_below": self.unsure_below}
        if self.familiarity is not None:
            residuals = [round(float(each), 6) for each in self.familiarity.residuals]
            values["familiarity"] = {"size": self.familiarity.size, "residuals": residuals}
        return values | {"measured": self.measured}
