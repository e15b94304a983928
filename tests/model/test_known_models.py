"""The list of models on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from showattend.model.checkpoint import DEFAULT_MODEL, FILE_NAME
from showattend.model.known_models import known_models


def test_shipped_and_local_models(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    runs = tmp_path / "runs"
    shutil.copytree(model, runs / "mine")
    shutil.copytree(model, runs / "compared" / "a")
    (runs / "broken").mkdir()
    (runs / "broken" / FILE_NAME).write_bytes(b"no model")
    kept = tmp_path / "hub" / "models--me--a-model"
    shutil.copytree(model, kept / "snapshots" / "abc")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")

    found = known_models(runs)
    assert (found[0].name, found[0].where) == (DEFAULT_MODEL, "shipped")
    assert [(each.name, each.where) for each in found if each.where != "shipped"] == [
        (str(runs / "mine"), "local"),
        (str(runs / "compared" / "a"), "local"),
        ("hf:me/a-model", "from the Hub"),
    ]
    assert {each.words for each in found if each.where != "shipped"} == {12}
    assert found[0].bytes > 1e6
