"""A model as a folder for the Hugging Face Hub, read back by huggingface_hub and by showattend."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

from showattend.captioner import Captioner
from showattend.exceptions import UserError
from showattend.export.hub_folder import CARD, write_hub_folder
from showattend.model import checkpoint as checkpoints
from showattend.model.checkpoint import FILE_NAME, shipped_models
from showattend.system.files import remove_stale
from tests.commandline import CommandLine

METRICS = {"BLEU-4": 0.25, "METEOR": 0.2, "ROUGE-L": 0.5, "CIDEr": 0.625}
SETTINGS = {"beam_size": 5, "precision": "float32", "size": 64, "images": 12}


@pytest.fixture
def measured(model: Path, tmp_path: Path) -> Path:
    """The model with scores of its own, and a card that somebody wrote."""
    found = checkpoints.load(model)
    found.record = {"figures": [{"data": "my set", "settings": SETTINGS, "metrics": METRICS}]}
    folder = tmp_path / "measured"
    checkpoints.save(folder, found)
    (folder / CARD).write_text("# Mine\n\n## Data\n\n[twelve](../a.md) of [them](https://a.b)\n")
    return folder


def test_the_folder_is_the_model_with_a_card(measured: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "hub"
    sizes = write_hub_folder(str(measured), out, license="cc-by-nc-4.0", language="en")
    assert set(sizes) == {FILE_NAME, CARD}
    assert (out / FILE_NAME).read_bytes() == (measured / FILE_NAME).read_bytes()

    card = ModelCard.load(out / CARD)
    data = card.data
    assert (data.license, data.language, data.library_name) == ("cc-by-nc-4.0", "en", "showattend")
    assert data.pipeline_tag == "image-to-text"
    assert "image-captioning" in data.tags
    assert data.metrics == ["bleu", "meteor", "rouge", "cider"]
    results = {each.metric_name: each for each in data.eval_results}
    assert {name: each.metric_value for name, each in results.items()} == METRICS
    assert results["CIDEr"].dataset_name == "my set"
    assert results["CIDEr"].metric_args == SETTINGS
    assert "| my set | 0.250 | 0.200 | 0.500 | 0.625 | beam 5" in card.text
    assert "### Data" in card.text
    assert "twelve of [them](https://a.b)" in card.text
    assert str(tmp_path) not in card.content

    write_hub_folder(str(measured), out)  # again, in its place
    assert ModelCard.load(out / CARD).data.license == "unknown"


def test_it_captions_as_before(model: Path, tmp_path: Path, photo: Path) -> None:
    write_hub_folder(str(model), tmp_path / "hub")
    one, other = (Captioner.from_pretrained(each, "cpu").caption(photo) for each in
                  (model, tmp_path / "hub"))  # fmt: skip
    assert one.words == other.words
    assert np.array_equal(one.attention, other.attention)


def test_the_shipped_models_keep_what_is_next_to_them(tmp_path: Path) -> None:
    source = shipped_models()["flickr8k"]
    sizes = write_hub_folder("flickr8k", tmp_path / "hub")
    assert sizes["search.json"] == (source / "search.json").stat().st_size
    assert "calibration.safetensors" in sizes
    card = ModelCard.load(tmp_path / "hub" / CARD)
    assert card.data.license == "mit"
    assert card.data.eval_results
    assert "](../" not in card.text


def test_other_files_are_kept(model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files \(notes.txt\)"):
        write_hub_folder(str(model), tmp_path)
    with pytest.raises(UserError, match="the model's own folder"):
        write_hub_folder(str(model), model)
    with pytest.raises(UserError, match="is a file; give --hub a folder"):
        write_hub_folder(str(model), tmp_path / "notes.txt")
    with pytest.raises(UserError, match="--license is 'MIT licence'"):
        write_hub_folder(str(model), tmp_path / "hub", license="MIT licence")
    assert not (tmp_path / "hub").exists()


def test_the_command(run: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "hub"
    result = run("export", "--model", run.model, "--hub", out)
    assert result.code == 0
    assert result.err[0].startswith(f"wrote {out}: README.md, model.safetensors; ")
    assert result.err[1] == f"to publish it: hf upload USER/NAME {out}"
    assert "--out DIR for ONNX, or --hub DIR" in run.refused("export", "--model", run.model)
    assert "for --hub" in run.refused("export", "--out", tmp_path / "o", "--license", "mit")
    assert "--size" in run.refused("export", "--hub", tmp_path / "h", "--size", 64)


def test_a_card_that_is_not_text_is_one_line(
    measured: Path, run: CommandLine, tmp_path: Path
) -> None:
    (measured / CARD).write_bytes("# Größe\n".encode("latin-1"))
    said = run.refused("export", "--model", measured, "--hub", tmp_path / "hub")
    assert f"{measured / CARD}: cannot be read as text in UTF-8" in said
    assert not (tmp_path / "hub").exists()


def test_what_a_record_says_stays_in_its_cell(measured: Path, tmp_path: Path) -> None:
    found = checkpoints.load(measured)
    name = "mine | \x1b[2J\n# forged\ud800"
    found.record = {"figures": [{"data": name, "settings": SETTINGS, "metrics": METRICS}]}
    checkpoints.save(measured, found)
    write_hub_folder(str(measured), tmp_path / "hub")
    card = (tmp_path / "hub" / CARD).read_text(encoding="utf-8")
    assert "| mine \\| \\x1b[2J\\n# forged\\ud800 | 0.250 |" in card
    assert "\n# forged" not in card
    assert ModelCard.load(tmp_path / "hub" / CARD).data.eval_results


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not looked for there")
def test_the_folder_is_the_old_or_the_new_one_after_a_kill(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def killing(step: int) -> Callable[..., Path]:
        replace, calls = Path.replace, itertools.count(1)

        def call(self: Path, target: Path) -> Path:
            if next(calls) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return replace(self, target)

        return call

    out = tmp_path / "hub folder" / "hub"
    write_hub_folder(str(measured), out, license="mit")
    old, status, step = content(out), 1, 0
    (measured / "search.json").write_text('{"block_ngrams": 2}')
    write_hub_folder(str(measured), tmp_path / "new", license="unknown")
    new = content(tmp_path / "new")
    assert len(new) == len(old) + 1
    while status:
        step += 1
        if (child := os.fork()) == 0:
            monkeypatch.setattr(Path, "replace", killing(step))
            write_hub_folder(str(measured), out, license="unknown")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        remove_stale(out)
        assert content(out) in (old, new), f"killed at step {step}"
        assert list(out.parent.iterdir()) == [out]
    assert step > 4
    assert content(out) == new
