"""scripts/records/time_renderers.py: the pages follow once records of this machine are kept."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from showattend.system.provenance import stamp
from tests import kills
from tests.fuzz.__main__ import main as fuzz

from .loading import FOLDER, load_from

ROOT = FOLDER.parent


def made(**values: Any) -> dict[str, Any]:
    import torch

    return values | {"provenance": stamp(torch.device("cpu"))}


@pytest.fixture(scope="module")
def times() -> ModuleType:
    return load_from("records", "time_renderers")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A record of each kind: from the scripts themselves where that is quick."""
    folder = tmp_path_factory.mktemp("measured")

    def written(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return found

    def output(name: str) -> list[str]:
        return ["--output", str(folder / f"{name}.json")]

    load_from("benchmark", "scaling").main(
        ["--images", "4", "--stages", "decode", *output("rates")]
    )
    load_from("benchmark", "streaming").main(
        ["--images", "0", "--memory", "0", *output("streaming")]
    )
    simulated = ["--rate", "10", "--images", "20000", "--workers", "2", *output("costs")]
    assert load_from("benchmark", "simulate_cluster").main(simulated) == 0
    assert fuzz(["--only", "claim", "--inputs", "20", *output("fuzz")]) == 0
    found = {name: written(name) for name in ("rates", "streaming", "costs", "fuzz")}
    speeds = {
        "everyday, 320 pixels, beam 5": ("caption", 12.5),
        "one of one thread, cached": ("processes", 20.0),
        "two of one thread, cached": ("processes", 35.5),
    }
    for what, (stage, speed) in speeds.items():
        rate = {"images_per_second": speed, "lowest": speed, "highest": speed, "kilobytes": None}
        found["rates"]["rates"].append({"stage": stage, "what": what, **rate})
    places = {"folder": [40.0], "shards": [39.0], "folder cpu": [20.0], "shards cpu": [21.0]}
    found["streaming"] |= {
        "images a second": {"features": places, "images": places},
        "private megabytes": {"10000": 492.4, "1000000": 495.1},
    }
    waits = load_from("benchmark", "page_times")
    varied = load_from("benchmark", "growth").VARIED
    curves = {
        name: {"values": values, "search": [2.0 + n for n, _ in enumerate(values)]}
        for name, values in varied.items()
    }
    found["growth"] = made(about={}, **{"milliseconds an image": curves})
    found["page_times"] = waits.record([waits.Wait("from the drop to the map", 1, [0.25], [5800])])
    found["messages"] = made(
        processes=2, megabytes=70.1, precision="bfloat16",
        seconds={"alone": [1.0], "one message": [1.5], "overlapping": [1.25]},
    )  # fmt: skip
    rows = [(1, 9.5, 0.1), (2, 18.05, 0.105)]
    keys = ("workers", "images_per_second", "processor_seconds")
    found["workers"] = made(
        images=320, load=0.5, rows=[dict(zip(keys, row, strict=True)) for row in rows]
    )
    kinds = {name: dict(kills=200, runs=31, faults=0, seconds=600.0) for name in kills.KINDS}  # noqa: C408
    found["kills"] = made(seed=0, kinds=kinds)
    return found


def test_each_record_says_what_made_it(measured: dict[str, Any], times: ModuleType) -> None:
    command = load_from("records", "renderers")._command
    for name in ("rates", "streaming", "costs", "fuzz"):
        words = measured[name]["provenance"]["command"]
        assert not any(word.startswith("/") for word in words), "paths of this machine"
        said = shlex.split(command(words))
        assert (
            said[: len(times.BY_HAND[name].words.split()[:2])]
            == (times.BY_HAND[name].words.split()[:2])
        )
        assert {"code", "packages", "machine"} <= measured[name]["provenance"].keys()


def test_the_pages_follow_the_records(
    measured: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every record kept, tables and rows of docs/reproduce.md change, and nothing is wrong."""
    tables, numbers = load_from("records", "doc_tables"), load_from("records", "doc_numbers")
    records = load_from("records", "kept_records").read_records()
    assert numbers.disagreements(records) == [], "without them"
    every = records | measured
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for page in numbers.PAGES:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / page).read_text(encoding="utf-8")
        (tmp_path / page).write_text(text, encoding="utf-8")
    digests = dict.fromkeys(every, "0" * 16)
    monkeypatch.setattr(load_from("records", "renderers"), "digests", lambda: digests)
    monkeypatch.setattr(numbers, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    changed = {path.name for path in tables.fill(every)}
    assert changed == {"performance.md", "scaling.md", "reliability.md", "reproduce.md"}
    assert not (wrong := numbers.disagreements(every)), "\n".join(wrong)
    pages = {name: (tmp_path / "docs" / name).read_text(encoding="utf-8") for name in changed}
    rows = pages["reproduce.md"].partition("\n## Figures")[2]
    for name in measured:
        assert f"[{name}](#records)" in rows, name
        (line,) = re.findall(rf"^\| {name} \| `.*", pages["reproduce.md"], re.MULTILINE)
        assert line.endswith("| yes |")
    assert "There is no record of this run" not in pages["scaling.md"]
    assert "<!-- two processes -->1.77 times the images" in " ".join(pages["scaling.md"].split())
    assert (
        "The bar for `everyday` is 10 photographs per second on two cores: met."
        in (pages["scaling.md"])
    )
    assert "| 2 | 18.05 | 1.90 | 0.105 |" in pages["scaling.md"]
    assert "| images, encoded in every epoch | 40.0 | 39.0 | 0.97 | 1.05 |" in pages["scaling.md"]
    assert (
        "| from the drop to the map | 0.25 (0.25 to 0.25) s | < 1 s | 5.8 kB |"
        in (pages["performance.md"])
    )
    assert re.search(r"\| claim \| 20 \| \d+ \| \d+ \| 0 \|", pages["reliability.md"])
    assert "search: 1 beams: 2, 3: 3, 5: 4, 10: 5, 20: 6 (3.0 times)." in pages["performance.md"]
    assert "| training | 200 | 31 | 0 | 10 |" in pages["reliability.md"]


def test_kills_write_their_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tallies = {"training": kills.Tally(3, 1), "shards": kills.Tally(2, 1, ["a file was left"])}
    monkeypatch.setattr(kills, "KINDS", {n: lambda *_, n=n: tallies[n] for n in tallies})
    assert kills.main(["--output", str(tmp_path / "kills.json")]) == 1
    record = json.loads((tmp_path / "kills.json").read_text(encoding="utf-8"))
    assert record["kinds"]["training"]["kills"] == 3
    assert record["kinds"]["shards"]["faults"] == 1
    assert record["provenance"]["command"][0] == "tests.kills"
    assert "a file was left" in capsys.readouterr().out


def test_a_folder_is_captioned_with_each_shipped_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scaling = load_from("benchmark", "scaling")
    captioned: list[tuple[str, int]] = []

    class Fake:
        def __init__(self, model: str) -> None:
            self.model, self.preprocessing = model, scaling.Preprocessing(320)

        @classmethod
        def from_pretrained(cls, model: str) -> Fake:
            return cls(model)

        def stream(self, photos: list[Path]) -> Any:
            captioned.append((self.model, len(photos)))
            return iter(photos)

    monkeypatch.setattr(scaling, "Captioner", Fake)
    monkeypatch.setattr(scaling, "score_captions", lambda *_: None)
    monkeypatch.setattr(scaling, "VALIDATION", 1)
    scaling.make(tmp_path, 2)
    bench = scaling.Bench(tmp_path, 2, [])
    scaling.caption(bench)
    assert captioned == [("everyday", 3)] * 4 + [("flickr8k", 3)] * 4, "one to warm up, and three"
    names = [each.what for each in bench.rates]
    assert names[:2] == ["everyday, 320 pixels, beam 5", "flickr8k, 320 pixels, beam 5"]
    assert set(scaling.MODELS) == set(load_from("records", "kept_records").MODELS)
    capsys.readouterr()


def test_workers_write_their_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_from("benchmark", "cluster_rate")
    monkeypatch.setattr(script, "rate", lambda _, workers, __: (9.5 * workers, 0.1))
    path = tmp_path / "workers.json"
    assert script.main(["--images", "1", "--output", str(path)]) == 0
    record = json.loads(path.read_text(encoding="utf-8"))
    table = load_from("records", "time_renderers").workers({"workers": record})
    assert "| 2 | 19.00 | 2.00 | 0.100 |" in table
    assert "| 2 | 19.00 | 2.00 | 0.100 |" in capsys.readouterr().out
    assert record["provenance"]["command"][0] == "benchmark/cluster_rate.py"


@pytest.mark.slow
def test_messages_write_their_record(tmp_path: Path) -> None:
    import os
    import subprocess

    path = tmp_path / "messages.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    command += [str(FOLDER / "benchmark" / "messages.py"), "--steps", "1", "--output", str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["processes"] == 2
    assert all(len(seconds) == 1 for seconds in record["seconds"].values())
    assert record["provenance"]["command"][:3] == ["torchrun", "--nproc-per-node", "2"]
