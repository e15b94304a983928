"""``showattend info``: what it says of a model."""

from __future__ import annotations

from tests.commandline import CommandLine


def test_info(run: CommandLine) -> None:
    result = run("info", "--model", run.model)
    assert (result.code, result.err) == (0, [])
    shown = "\n".join(result.out)
    for part in ("efficientnet_lite0", "64 pixels", "12 words", "): 0.01", "attention 16"):
        assert part in shown


def test_without_options_it_lists_the_models(run: CommandLine) -> None:
    result = run("info")
    assert (result.code, result.err) == (0, [])
    shown = "\n".join(result.out)
    assert "flickr8k" in shown.partition("Models: shipped")[2]
    assert "Models: shipped" not in "\n".join(run("info", "--model", run.model).out)
