"""The command ``showattend info``: facts about a model."""

from __future__ import annotations

from showattend.cli.options import Model


def info(model: Model = None) -> None:
    """Show a model's recipe, training data and scores."""
    from showattend.model import checkpoint as checkpoints

    print(checkpoints.describe(checkpoints.find_model(model)))
