"""Running the command line in tests: in this process, loading the model once."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from showattend.captioner import Captioner
from showattend.cli.app import main
from showattend.config import DecoderConfig, to_dict
from showattend.model import checkpoint as checkpoints

load_once = functools.lru_cache(Captioner.from_pretrained)


class Result(NamedTuple):
    """The result of a command."""

    code: int
    out: list[str]
    err: list[str]


class CommandLine:
    """Runs commands, and keeps the model loaded between them."""

    def __init__(self, capsys: pytest.CaptureFixture[str], model: Path) -> None:
        self.capsys, self.model = capsys, str(model)

    def __call__(self, *args: object) -> Result:
        self.capsys.readouterr()
        code = main([str(arg) for arg in args])
        out, err = self.capsys.readouterr()
        return Result(code, out.splitlines(), err.splitlines())

    def caption(self, *args: object) -> Result:
        return self("caption", *args, "--model", self.model)

    def refused(self, *args: object, code: int = 2) -> str:
        """The one line of a command that does nothing, or not all."""
        result = self(*args)
        assert result.code == code
        assert len(result.err) == 1, result.err
        assert result.err[0].startswith("showattend: ")
        assert "Traceback" not in result.err[0]
        if code == 2:
            assert result.out == []
        return result.err[0]


def save_model(captioner: Captioner, folder: Path) -> Path:
    """The captioner as ``train`` would leave it."""
    checkpoint = captioner.to_checkpoint()
    decoder = to_dict(DecoderConfig()) | checkpoint.config["decoder"]
    checkpoints.save(
        folder,
        replace(
            checkpoint,
            config=checkpoint.config | {"decoder": decoder},
            record={"figures": {"BLEU-4": 0.01}},
        ),
    )
    return folder
