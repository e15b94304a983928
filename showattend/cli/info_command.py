"""The command ``showattend info``: what a model is."""

from __future__ import annotations

from showattend.cli.options import Model


def info(model: Model = None) -> None:
    """Say what a model is: recipe, data, figures."""
    from showattend.model import checkpoint as checkpoints

    print(checkpoints.describe(checkpoints.find_model(model)))
