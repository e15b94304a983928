"""What a model knows of its own limits: numbers measured on validation photographs.

They are in the model's file, or in a ``calibration.safetensors`` beside it, which takes their
place: they are measured when the weights are there already (``scripts/calibrate.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from showattend.exceptions import CheckpointError
from showattend.model.familiarity import Familiarity


@dataclass(frozen=True)
class Calibration:
    """Where a model's numbers begin to mean trouble.

    Attributes:
        unsure_below: A content word is unsure when its probability is lower. On the validation
            photographs, people do not name what such a word says more often than they do. 0, where
            nobody measured, calls no word unsure: models differ too much for a common threshold.
        familiarity: How like the training photographs another one is; None where nobody measured.
        measured: How the numbers were found, for people.
    """

    unsure_below: float = 0.0
    familiarity: Familiarity | None = None
    measured: dict[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], basis: np.ndarray | None = None) -> Calibration:
        """What `to_dict` gave; keys of later versions are passed over.

        Args:
            values: Of `Checkpoint.calibration`.
            basis: Of `Familiarity`, which is not among plain values.

        Raises:
            CheckpointError: A value means nothing.
        """
        unsure_below = values.get("unsure_below", 0.0)
        is_number = isinstance(unsure_below, int | float) and not isinstance(unsure_below, bool)
        if not is_number or not 0 <= unsure_below <= 1:
            raise CheckpointError(
                f"its calibration's unsure_below is {unsure_below!r}; it must be a probability, "
                "0 to 1"
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
        """The `Familiarity` of photographs; None where it was not measured at this size.

        Args:
            means_ND: Their mean annotations.
            size: Pixels a side of the network's input.
        """
        if self.familiarity is None or self.familiarity.size != size:
            return [None] * len(means_ND)
        return list(self.familiarity(means_ND).tolist())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; none where nothing was measured."""
        if self == Calibration() and not self.measured:
            return {}
        values: dict[str, Any] = {"unsure_below": self.unsure_below}
        if self.familiarity is not None:
            residuals = [round(float(each), 6) for each in self.familiarity.residuals]
            values["familiarity"] = {"size": self.familiarity.size, "residuals": residuals}
        return values | {"measured": self.measured}
