"""A model as a folder for the Hugging Face Hub, read back by huggingface_hub and by showattend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

from showattend.captioner import Captioner
from showattend.exceptions import UserError
from showattend.export.hub_folder import CARD, write_hub_folder
from showattend.model import checkpoint as checkpoints
from showattend.model.checkpoint import FILE_NAME, shipped_models
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
