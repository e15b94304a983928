"""scripts/measure_model.py: a card's figures are those of the commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from showattend.captioner import Captioner
from showattend.data.toy import write_toy
from showattend.evaluation.evaluate import evaluate
from showattend.evaluation.grounding.ground import ground
from showattend.training.trainer import train
from tests.scripts.loading import load_script
from tests.tinyrun import tiny_run


@pytest.mark.slow
def test_figures_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_toy(tmp_path / "toy", images=24, size=64)
    folder, images = data.parent, data.parent / "images"
    train(tiny_run(data, tmp_path / "run", train={"epochs": 2, "patience": 0}))
    script, captions = load_script("measure_model"), folder / "captions_val.json"
    command = [str(tmp_path / "run"), "--out", str(tmp_path / "out")]
    sets = ["--set", f"shapes={captions}:{images}", "--people", "shapes"]
    objects = ["--instances", f"{folder / 'instances_val.json'}:{images}"]
    human = ["--human-captions", str(captions)]
    assert script.main([*command, *sets, *objects, *human, "--sizes", "64", "96"]) == 0
    found = json.loads((tmp_path / "out" / "measured.json").read_text())
    assert set(found) == {"64", "96"}
    captioner = Captioner.from_pretrained(tmp_path / "run", device="cpu", precision="fp32")
    wanted = evaluate(captions, captioner=captioner, images=images)
    assert found["64"]["sets"]["shapes"]["metrics"] == pytest.approx(wanted["metrics"])
    own = found["64"]["ground_own"]  # so little trained, it may name nothing that is there
    assert "problem" in own or own["pointing"]["model"] >= 0
    made = found["64"]["provenance"]
    assert made["command"] == [
        "measure_model.py",
        *command,
        *sets,
        *objects,
        *human,
        "--sizes",
        "64",
        "96",
    ]
    assert made["data"]["shapes"] == wanted["provenance"]["data"]
    assert made["model"] == wanted["provenance"]["model"]
    forced = ground(folder / "instances_val.json", images, captioner, captions)
    assert found["64"]["ground_human"]["pointing"] == forced["pointing"]
    assert found["64"]["people"]["put_in"]["of"] == 4  # nobody is in a picture of shapes
    table = (tmp_path / "out" / "measured.md").read_text()
    assert f"| {wanted['metrics']['CIDEr']:.3f} |" in table
    assert "at 96 pixels" in table
    assert table.strip() in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--set", "captions.json"], ["--people", "nobody"]])
def test_wrong_arguments_are_one_line(
    wrong: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_script("measure_model")
    assert script.main(["everyday", "--out", str(tmp_path), *wrong]) == 2
    assert capsys.readouterr().err.count("\n") == 1
