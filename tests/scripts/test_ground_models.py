"""scripts/ground_models.py: models side by side, kept, and put into a document."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from showattend.exceptions import CheckpointError, UserError
from showattend.model import checkpoint as checkpoints
from showattend.model.checkpoint import save_tensors, weights_digest
from tests.evaluation.grounding.test_ground import world as world
from tests.scripts.loading import load_script


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("ground_models")


@pytest.fixture
def ground(script: ModuleType, world: Path) -> Callable[..., int]:
    """Runs it on the world's images, which human captions call dogs."""
    human = {
        "images": [{"id": k, "file_name": f"{k}.png"} for k in (1, 2, 3)],
        "annotations": [{"id": k, "image_id": k, "caption": "a dog runs"} for k in (1, 2, 3)],
    }
    (world / "captions.json").write_text(json.dumps(human))

    def run(*args: object) -> int:
        data = ("--annotations", world / "instances.json", "--images", world)
        return script.main([str(each) for each in (*args, *data, "--out", world / "kept")])

    return run


def test_models_are_compared(
    ground: Callable[..., int],
    world: Path,
    model: Path,
    script: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Both kinds are human captions here: what an untrained model says names a dog by chance only.
    real = script.ground
    asked: list[Path | None] = []

    def human_only(
        annotations: Path, images: Path, captioner: Any, captions: Path | None, **more: Any
    ) -> Any:
        asked.append(captions)
        assert more["faithful"] is None
        return real(annotations, images, captioner, world / "captions.json", **more)

    monkeypatch.setattr(script, "ground", human_only)
    models = (f"λ = 1={model}", f"again={model}")
    args = (*models, "--pair", "again", "λ = 1", "--captions", world / "captions.json")
    args += ("--output", world / "record.json")
    assert ground(*args, "--tables", "pointing", "difference") == 0
    out, err = capsys.readouterr()
    assert asked == [None, world / "captions.json"]  # the same model is measured once
    assert err.count("grounding") == 2
    own, forced = out.split("Human captions, forced:")
    for part in (own, forced):
        assert "Settings: 64 pixels, float32.\n" in part  # both models', and words were given
        lines = [line for line in part.splitlines() if line.startswith("|")]
        assert lines[2].startswith("| λ = 1 |")
        assert lines[2].split("|")[4:6] == [" 3 ", " 3 "]
        assert lines[6] == "| again, minus λ = 1 | 3 | +0.000 | 0.000 to 0.000 | +0.000 | " \
            "0.000 to 0.000 |"  # fmt: skip
    assert "own object" not in out
    record = json.loads((world / "record.json").read_text(encoding="utf-8"))
    assert record["provenance"]["data"]["annotations"]
    assert record["provenance"]["model"]["weights"] == weights_digest(model / "model.safetensors")
    for kind in ("own", "human"):
        assert list(record[kind]["models"]) == ["λ = 1", "again"]
        for found in record[kind]["models"].values():
            assert found["words"] == 3
            assert "captions" not in found
        (pair,) = record[kind]["differences"]
        assert (pair["one"], pair["other"], pair["mass"]["difference"]) == ("again", "λ = 1", 0)

    assert ground(f"again={model}", "gone=nowhere", "--tables", "words") == 1
    out, err = capsys.readouterr()
    assert err.startswith("gone is left out: nowhere: no such model")
    assert "| again | right | 3 |" in out
    assert len(asked) == 2, "what is kept is not measured again"


def test_faithfulness_is_tabulated(
    ground: Callable[..., int],
    world: Path,
    model: Path,
    script: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, asked = script.ground, []
    human = world / "captions.json"

    def human_only(*args: Any, **more: Any) -> Any:
        asked.append(more["faithful"])
        return real(*args[:3], human, **more)

    monkeypatch.setattr(script, "ground", human_only)
    page = world / "page.md"
    page.write_text("<!-- here -->\n<!-- end of here -->\n")
    args = (f"mine={model}", "--kinds", "attention", "occlusion", "--replace", "other")
    args += ("--pixels", 1, "--captions", human, "--into", page, "here")
    assert ground(*args, "--tables", "faithful", "trust") == 0
    assert [(each.replace, each.pixels) for each in asked] == [("other", 1), ("other", 0)]
    assert all(each.resume and each.kept.parent == world / "kept" for each in asked)
    assert not list((world / "kept").glob("*.part"))
    own, forced = page.read_text(encoding="utf-8").split("Human captions, forced:")
    assert "mine; removed cells: other, human, the first of each image." in own  # `human_only`
    assert "mine; removed cells: other, human, the first of each image." in forced
    for name in ("| occlusion |", "| least attended |", "| looked everywhere |"):
        assert name in forced
    assert "| function words |" not in forced, "that is another table"
    assert ground(*args, "--tables", "classes") == 0
    assert len(asked) == 2, "what is kept is not measured again"
    assert "| function words |" in page.read_text(encoding="utf-8")


def test_mistakes_in_the_arguments(
    ground: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for args, message in (
        (("runs/mine",), "NAME=RUN"),
        (("a=runs/mine", "--pair", "a", "b"), "no model is named b"),
    ):
        with pytest.raises(SystemExit):
            ground(*args)
        assert message in capsys.readouterr().err


def test_the_last_epoch_has_averaged_weights(
    script: ModuleType, model: Path, tmp_path: Path
) -> None:
    checkpoint = checkpoints.load(checkpoints.find_model(model))
    averaged = {
        f"average_decoder.model.{key.removeprefix('decoder.')}": value + 1.0
        for key, value in checkpoint.weights.items()
        if key.startswith("decoder.")
    }
    rest = {key: value + 2.0 for key, value in checkpoint.weights.items()}
    before = {key: value.clone() for key, value in checkpoint.weights.items()}
    history = [{"epoch": 1, "CIDEr": 0.1}, {"epoch": 2, "CIDEr": 0.2}]
    meta = {"progress": {"history": history}, "config": {"train": {"epochs": 2}}}
    state = tmp_path / "state.safetensors"
    save_tensors(state, averaged | rest, meta)
    found, told = script.last_epoch(checkpoint, state)
    assert told == history
    for key, value in found.weights.items():
        step = 1.0 if key.startswith("decoder.") else 2.0
        assert torch.equal(value, before[key] + step), key
    save_tensors(state, averaged | rest, meta | {"config": {"train": {"epochs": 8}}})
    with pytest.raises(CheckpointError, match="has 2 of its 8 epochs"):
        script.last_epoch(checkpoint, state)


def test_tables_are_written_into_a_document(script: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "doc.md"
    path.write_text(
        "a\n<!-- one -->\nold\n<!-- end of one -->\nb\n<!-- two -->\n<!-- end of two -->\n"
    )
    for text in ("new \\1", "newer"):  # a second time, too; nothing in it is a pattern
        script.put_into(path, "one", text)
        assert path.read_text() == (
            f"a\n<!-- one -->\n\n{text}\n\n<!-- end of one -->\nb\n"
            "<!-- two -->\n<!-- end of two -->\n"
        )
    with pytest.raises(UserError, match="has no <!-- three -->"):
        script.put_into(path, "three", "new")
    with pytest.raises(UserError, match="cannot be read"):
        script.put_into(tmp_path / "none.md", "one", "new")
