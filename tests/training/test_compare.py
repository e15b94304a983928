"""Comparisons: each run once, a kill goes on, the table says what was measured."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from showattend.cli import compare_command
from showattend.cli.app import main as command_line
from showattend.cli.terminal import show_log
from showattend.data.records import Record
from showattend.data.toy import write_toy
from showattend.evaluation import reproduce
from showattend.evaluation.evaluate import evaluate
from showattend.evaluation.scores import java
from showattend.exceptions import CheckpointError, ConfigError, DataError, UserError
from showattend.model.checkpoint import FILE_NAME, weights_digest
from showattend.training import compare as comparisons
from showattend.training import comparison as tables
from showattend.training.compare import compare, describe, plan
from showattend.training.comparison import mean_and_spread
from showattend.training.comparison_page import to_html
from showattend.training.comparison_tables import map_tables
from showattend.training.reporter import Silent
from showattend.training.run_scores import Objects
from showattend.training.state import FILE_NAME as STATE_NAME

BATCHES = 10  # 40 training pictures (5 in 6 of 48), 4 a batch


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy") / "data", images=48, size=64)


@pytest.fixture
def config(toy: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a tiny config; changes as section=dict(...)."""

    def make(name: str, comment: str = "", **sections: dict[str, Any]) -> Path:
        values: dict[str, dict[str, Any]] = {
            "data": {"path": str(toy), "cache": str(toy.parent / "cache"), "min_count": 1},
            "encoder": {"size": 64},
            "decoder": {"embedding_dim": 16, "hidden_dim": 16, "attention_dim": 16},
            "train": {
                "epochs": 1, "batch_size": 4, "lr": 1e-2, "precision": "fp32", "device": "cpu",
                "validate_beam": 1, "save_every": 0.0,
            },
            "search": {"max_length": 12, "beam_size": 2},
        }  # fmt: skip
        for section, changes in sections.items():
            values.setdefault(section, {}).update(changes)
        path = tmp_path / "configs" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text((f"# {comment}\n\n" if comment else "") + yaml.safe_dump(values))
        return path

    return make


class Log(Silent):
    """Keeps what it is told; dies like a killed process when it is told so."""

    def __init__(self, die: Callable[[str, str, int], bool] = lambda *_: False) -> None:
        self.die, self.titles, self.messages = die, [], []  # type: ignore[var-annotated]

    @contextmanager
    def watch(self, title: str) -> Iterator[Log]:
        self.titles.append(title)
        yield self

    def message(self, text: str) -> None:
        self.messages.append(text)

    def task(self, name: str, done: int, total: int, note: str = "") -> None:
        if self.die(self.titles[-1], name, done):
            raise KeyboardInterrupt


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise java.JavaError("no Java was found")

    monkeypatch.setattr(java, "find_java", fail)


FIGURES = {
    ("base", 0): (0.20, 0.5, 60.0),
    ("base", 1): (0.30, 0.8, 120.0),
    ("other", 0): (0.10, 0.7, 60.0),
    ("other", 1): (0.50, 0.9, 60.0),
}
"""BLEU-4, CIDEr and seconds of training, for runs that are not made."""


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Training and scoring take no time; what is trained goes into this list."""
    trained: list[str] = []

    def name(settings: Any) -> tuple[str, int]:
        return Path(settings.train.out).parent.name, settings.train.seed

    def train(settings: Any, _: object, resume: bool) -> dict[str, Any]:
        trained.append("{} {}".format(*name(settings)) + (" resumed" if resume else ""))
        if name(settings)[0] == "broken":
            raise DataError("data/nowhere: no such file")
        return {
            "best": {"epoch": 1, "CIDEr": 0.4},
            "history": [{}, {}],
            "seconds": FIGURES[name(settings)][2],
            "machine": {
                "device": "cpu", "precision": "bfloat16", "threads": 2, "processors": 4,
                "torch": "2.6", "python": "3.11",
            },
        }  # fmt: skip

    def score(settings: Any, _: object) -> dict[str, Any]:
        bleu, cider, _ = FIGURES[name(settings)]
        metrics = {"BLEU-4": bleu, "METEOR": 0.25, "ROUGE-L": 0.5, "CIDEr": cider}
        return {
            "metrics": metrics,
            "wording": {"distinct": 0.75, "words": 9, "length": 7.0, "bad_endings": 0.0},
            "evaluation": {
                "data": settings.data.path, "split": "val", "images": 1000, "references": "abc",
                "search": {"beam_size": 5, "length_penalty": 0.7}, "precision": "float32",
                "scorer": "pycocoevalcap 1.2", "tokenizer": "PTB", "notes": [],
            },
            "captions": [],
        }  # fmt: skip

    monkeypatch.setattr(comparisons, "train", train)
    monkeypatch.setattr(comparisons, "score", score)
    return trained


def compare_app() -> typer.Typer:
    app = typer.Typer()
    app.command()(compare_command.compare)
    return app


def table(out: Path) -> dict[str, list[str]]:
    """The cells of ``comparison.md`` by the row's name."""
    page = (out / "comparison.md").read_text(encoding="utf-8").partition("\n## ")[0]
    lines = page.splitlines()
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines if line[:1] == "|"]
    return {name: [said, *cells] for name, said, _, *cells in [rows[0], *rows[2:]]}


# For real --------------------------------------------------------------------------------------


@pytest.fixture
def one_meteor(monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR takes ten seconds to start: it runs once, the other captions get the same score."""
    run, found = java.meteor, []  # type: ignore[var-annotated]

    def meteor(references: Any, candidates: Any) -> Any:
        if not found:
            found.append(run(references, candidates))
        return found[0]

    monkeypatch.setattr(java, "meteor", meteor)


@pytest.mark.usefixtures("one_meteor")
def test_two_configs_are_trained_scored_and_compared(
    config: Callable[..., Path], toy: Path, tmp_path: Path
) -> None:
    first = config("first", "The plain one: small | quick.")
    second = config("second", "Mirrored.", data={"mirror": True, "val_images": 3})
    out, log = tmp_path / "out", Log()
    made = compare([first, second], out, overrides=["decoder.dropout=0.1"], watch=log.watch)
    assert (log.titles, made.failures) == (["first, seed 0", "second, seed 0"], {})

    results = json.loads((out / "first/seed-0/results.json").read_text())
    found = evaluate(toy, results=out / "first/seed-0/results.json", split="val")
    assert results["metrics"] == found["metrics"]
    assert list(results["metrics"])[3:] == ["BLEU-4", "METEOR", "ROUGE-L", "CIDEr"]
    record = json.loads((out / "first/seed-0/training.json").read_text())
    for key in ("best", "seconds", "machine"):
        assert results[key] == record[key]
    assert results["training"] == {"provenance": record["provenance"]}
    made = results["provenance"]
    assert made["model"]["weights"] == weights_digest(out / "first/seed-0" / FILE_NAME)
    assert made["search"]["beam_size"] == 2
    assert made["data"][toy.parent.name]["annotations"]
    _, *words = reproduce.command(results)
    assert words[words.index("--annotations") + 1] == str(toy)

    # The comparison has the provenance of every run.
    compared = json.loads((out / "comparison.json").read_text())
    assert compared["provenance"]["packages"]
    assert "device" not in compared["provenance"]["machine"]
    for row in compared["rows"]:
        (run,) = row["runs"]
        kept = json.loads((out / row["name"] / "seed-0/results.json").read_text())
        assert (run["seed"], run["device"], run["trained_in"]) == (0, "cpu", "float32")
        assert run["scored"] == kept["provenance"]
        assert run["trained"] == kept["training"]
        assert {"model", "data", "search", "precision", "size"} <= run["scored"].keys()
        assert run["scored"]["model"]["encoder"]
    assert not [table for table in compared["rows"] if "seed_differences" in table][1:]
    assert results["epochs"] == 1
    assert results["overrides"] == ["decoder.dropout=0.1"]
    assert results["config"]["decoder"]["dropout"] == 0.1
    assert 0 < results["wording"]["distinct"] <= 1
    # What shortens a validation while training does not make another split to be scored on.
    for name in ("first", "second"):
        each = json.loads((out / name / "seed-0/results.json").read_text())["evaluation"]
        assert (each["images"], each["tokenizer"]) == (8, "PTB")
        assert each["search"]["beam_size"] == 2
        assert each["precision"] == "float32"

    rows = table(out)
    metrics = results["metrics"]
    assert rows["first"][0] == "The plain one: small &#124; quick."
    assert rows["first"][1:5] == [
        f"{metrics[name]:.3f}" for name in ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
    ]
    summary = json.loads((out / "comparison.json").read_text())
    other = summary["rows"][1]["figures"]["CIDEr"]["mean"]
    assert summary["rows"][1]["CIDEr_difference"] == pytest.approx(other - metrics["CIDEr"])
    assert rows["second"][5] == f"{other - metrics['CIDEr']:+.3f}"
    page = (out / "comparison.md").read_text(encoding="utf-8")
    for part in (
        f"- Command: `showattend compare {first} {second} --out {out} decoder.dropout=0.1`",
        f"- Split: validation split of {toy}, 8 images\n",
        "- Captions: beam 2, length penalty 0.7, n-grams may repeat, 1 to 12 words, 64 pixels, "
        "float32\n",
        "PTB tokens\n",
        "- Precision: trained in float32, scored in float32\n",
        "- Machine: cpu, ",
        "- Threads: ",
    ):
        assert part in page
    assert "Not done" not in page
    assert "Failed" not in page
    assert not list(out.rglob("*.part"))


@pytest.mark.usefixtures("no_java")
def test_a_run_on_several_sets_is_repeated_by_a_command_for_each(
    config: Callable[..., Path], toy: Path, tmp_path: Path
) -> None:
    lines = [json.loads(line) for line in toy.read_text(encoding="utf-8").splitlines()]
    sets = []
    for name, rows in (("one", lines[:24]), ("two", lines[24:])):
        (tmp_path / name).mkdir()
        sets.append({"path": str(tmp_path / name / "dataset.jsonl"), "images": str(toy.parent)})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / name / "dataset.jsonl").write_text(text, encoding="utf-8")
    compare([config("both", data={"path": sets})], tmp_path / "out", samples=0)
    results = json.loads((tmp_path / "out/both/seed-0/results.json").read_text())
    made = reproduce.commands(results)
    assert list(made) == ["one", "two"]
    for name, (_, *words) in made.items():
        assert command_line([*words, "--output", str(tmp_path / "again.json")]) == 0
        again = json.loads((tmp_path / "again.json").read_text())["captions"]
        said = [each for each in results["captions"] if each["set"] == name]
        assert said
        assert [each | {"set": name} for each in again] == said


@pytest.mark.slow
@pytest.mark.usefixtures("no_java")
@pytest.mark.parametrize(
    "step",
    [("a, seed 1", "Training", BATCHES // 2), ("a, seed 1", "Captioning", 3)],
)
def test_a_killed_comparison_goes_on(
    step: tuple[str, str, int], config: Callable[..., Path], tmp_path: Path
) -> None:
    file, out = config("a"), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        compare([file], out, seeds=2, watch=Log(lambda *now: now == step).watch)
    done = out / "a/seed-0/results.json"
    before = done.stat().st_mtime_ns
    assert table(out)["a"][1] != "-"
    page = (out / "comparison.md").read_text(encoding="utf-8")
    assert "- Not done yet: a, seed 1\n" in page
    assert "no METEOR" in page
    assert not (out / "a/seed-1/results.json").exists()

    log = Log()
    made = compare([file], out, seeds=2, watch=log.watch)
    assert log.titles == ["a, seed 1"]
    # killed in training, or while being scored
    went_on = ("Resuming at", "The run is already finished")
    assert any(message.startswith(went_on) for message in log.messages)
    assert done.stat().st_mtime_ns == before
    assert set(made.results) == {("a", 0), ("a", 1)}
    assert "Not done yet" not in (out / "comparison.md").read_text(encoding="utf-8")
    whole = compare([file], tmp_path / "whole", seeds=2)
    for run, results in whole.results.items():
        assert made.results[run]["metrics"] == results["metrics"]


@pytest.mark.usefixtures("no_java")
def test_a_run_that_began_with_another_config_is_not_mixed_up(
    config: Callable[..., Path],
    tmp_path: Path,
    warned: list[str],
) -> None:
    file, out = config("a"), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        compare([file], out, watch=Log(lambda _, *now: now == ("Training", 3)).watch)
    made = compare([file], out, overrides=["train.lr=0.5"])
    assert made.results == {}
    assert len(warned) == 1
    assert warned[0].startswith("a, seed 0: ")
    assert "train.lr was 0.01, is 0.5" in warned[0]


def test_the_packages_configs_are_found_by_a_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = plan([Path("configs/ablation/*.yaml"), Path("configs/tiny.yaml")])
    assert [row.name for row in rows][:2] == ["1_plain", "2_dropout_smoothing"]
    assert rows[-1].name == "tiny"
    assert all(row.description for row in rows)


# The table -------------------------------------------------------------------------------------


def test_the_spread_is_half_the_range() -> None:
    assert mean_and_spread([0.5]) == (0.5, None)
    assert mean_and_spread([0.5, 0.8]) == pytest.approx((0.65, 0.15))
    assert mean_and_spread([1.0, 4.0, 1.0]) == pytest.approx((2.0, 1.5))


def test_several_seeds_by_hand(
    invented: list[str], config: Callable[..., Path], tmp_path: Path
) -> None:
    files = [config("base", "The first."), config("other", "The second.")]
    made = compare(files, tmp_path / "out", seeds=2)
    assert invented == ["base 0", "base 1", "other 0", "other 1"]
    # fmt: off
    assert table(tmp_path / "out") == {
        "name": [
            "description", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "ΔCIDEr", "distinct", "minutes",
        ],
        "base": [
            "The first.", "0.250 ± 0.050", "0.250 ± 0.000", "0.500 ± 0.000", "0.650 ± 0.150", "",
            "0.750 ± 0.000", "1.5 ± 0.5",
        ],
        "other": [
            "The second.", "0.300 ± 0.200", "0.250 ± 0.000", "0.500 ± 0.000", "0.800 ± 0.100",
            "+0.150", "0.750 ± 0.000", "1.0 ± 0.0",
        ],
    }
    # fmt: on
    page = (tmp_path / "out/comparison.md").read_text(encoding="utf-8")
    assert "Mean ± half the range (highest minus lowest) of 2 seeds" in page
    assert "--seeds 2`" in page
    assert "- Precision: trained in bfloat16, scored in float32\n" in page
    assert "- Machine: cpu, 4 processors, torch 2.6, Python 3.11\n- Threads: 2\n" in page
    assert "pycocoevalcap 1.2, PTB tokens" in page

    # t of 97.5 % with one degree of freedom is 12.706; the deviations are 0.3 and 0.2 over √2.
    low, high = 0.65 - 12.706205 * 0.15, 0.65 + 12.706205 * 0.15
    assert f"| base | CIDEr | 2 | 0.650 | 0.2121 | {low:.3f} to {high:.3f} |" in page
    assert "| other | CIDEr | 2 | 0.800 | 0.1414 |" in page
    summary = json.loads((tmp_path / "out/comparison.json").read_text())
    assert "seed_differences" not in summary["rows"][0]
    found = summary["rows"][1]["seed_differences"]["CIDEr"]
    assert found["difference"] == pytest.approx(0.15)
    assert found["freedom"] == pytest.approx(0.0325**2 / (0.0225**2 + 0.01**2))
    low, high = found["interval"]
    assert low < 0 < high
    shown = f"+0.150 ({low:+.3f} to {high:+.3f})"
    assert "## Differences over seeds to base\n" in page
    assert f"{shown} |\n" in page
    html = to_html(tables.Comparison(plan(files), tmp_path / "out", 2, "", made.results))
    for part in ("Over seeds", "Differences over seeds to base", "0.2121", shown):
        assert f">{part}<" in html
    words = [*map(str, files), "--out", str(tmp_path / "out"), "--seeds", "2"]
    shown_rows = CliRunner().invoke(compare_app(), words)
    assert "Over seeds. " in shown_rows.output
    assert "0.2121" in shown_rows.output


def test_one_seed_has_no_statistics_over_seeds(
    invented: list[str], config: Callable[..., Path], tmp_path: Path
) -> None:
    compare([config("base"), config("other")], tmp_path)
    summary = json.loads((tmp_path / "comparison.json").read_text())
    assert summary["rows"][1]["seed_differences"] == {}
    for page in ("comparison.md", "comparison.html"):
        assert "ver seeds" not in (tmp_path / page).read_text(encoding="utf-8")


def test_leads_are_means_over_seeds() -> None:
    def run(pointing: float, low: float, high: float) -> dict[str, Any]:
        each = {"model": pointing, "uniform": 0.2, "centre": 0.3}
        interval = {"uniform": [low, high], "centre": [low - 0.1, high - 0.1]}
        return {"own": {"pointing": each, "mass": {"model": 0.25}, "words": 100,
                        "interval": {"pointing": interval}}}  # fmt: skip

    rows = [{"name": "a", "grounding": [run(0.5, 0.2, 0.4), run(0.6, 0.3, 0.5)]}]
    (own, human) = map_tables({"rows": rows})
    assert own.rows == [("a", "0.550", "+0.350 (+0.200 to +0.500)", "+0.250 (+0.100 to +0.400)",
                         "0.250", "100")]  # fmt: skip
    assert human.rows == []


def test_a_finished_run_is_not_trained_again(
    invented: list[str], config: Callable[..., Path], tmp_path: Path
) -> None:
    base, other = config("base"), config("other")
    compare([base], tmp_path)
    compare([base, other], tmp_path, seeds=2)
    assert invented == ["base 0", "base 1", "other 0", "other 1"]
    # Fewer seeds are asked for, so fewer are shown; nothing is trained.
    made = compare([other, base], tmp_path)
    assert len(invented) == 4
    assert [row[0] for row in tables.cells(made)] == ["other", "base"]
    assert tables.cells(made)[1][4:6] == ("0.500", "-0.200")
    # A folder that is named in another way, or moved, makes no other run of it.
    compare([base], tmp_path / "." / "configs" / "..", overrides=["train.save_every=9"])
    assert len(invented) == 4


def test_a_finished_run_of_another_config_is_not_taken_for_this_one(
    invented: list[str],
    config: Callable[..., Path],
    tmp_path: Path,
    warned: list[str],
) -> None:
    compare([config("base")], tmp_path)
    changed = [config("base", train={"lr": 0.5}), config("other")]
    made = compare(changed, tmp_path)
    assert invented == ["base 0", "other 0"]
    assert set(made.failures) == {("base", 0)}
    assert "base/seed-0/results.json: the run was made with another config" in warned[0]
    assert "train.lr was 0.01, is 0.5" in warned[0]
    assert table(tmp_path)["base"][1:] == ["-"] * 7
    assert table(tmp_path)["other"][5] == "-", "there is nothing to compare it with"
    assert f"- Failed: {warned[0]}\n" in (tmp_path / "comparison.md").read_text(encoding="utf-8")


RESULTS: dict[str, Any] = {
    "metrics": {"CIDEr": 0.5}, "best": {"epoch": 1}, "epochs": 1, "seconds": 1.5, "wording": {},
    "machine": {}, "config": {}, "evaluation": {},
}  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        *('{"metrics": ', "[]", '{"metrics": {}}'),
        json.dumps(RESULTS | {"metrics": {"CIDEr": "high"}}),
        json.dumps(RESULTS | {"best": None}),
        json.dumps(RESULTS | {"config": []}),
        json.dumps(RESULTS | {"evaluation": "val"}),
    ],
)
def test_damaged_results_are_named(
    content: str,
    invented: list[str],
    config: Callable[..., Path],
    tmp_path: Path,
    warned: list[str],
) -> None:
    compare([config("base")], tmp_path)
    (tmp_path / "base/seed-0/results.json").write_text(content)
    compare([config("base")], tmp_path)
    assert len(warned) == 1
    assert "base/seed-0/results.json: " in warned[0]
    assert "\n" not in warned[0]
    assert invented == ["base 0"]


def test_rows_scored_on_other_images_have_no_difference(
    invented: list[str], config: Callable[..., Path], tmp_path: Path
) -> None:
    files = [config("base"), config("other", data={"path": "elsewhere"})]
    compare(files, tmp_path)
    path = tmp_path / "other/seed-0/results.json"
    results = json.loads(path.read_text())
    results["evaluation"] |= {"references": "def", "images": 900}
    path.write_text(json.dumps(results))
    made = compare(files, tmp_path)
    assert [cells[5] for cells in tables.cells(made)] == ["", "-"]
    split = next(line for line in tables.notes(made) if line.startswith("Split: "))
    assert "1,000 images (base); validation split of elsewhere, 900 images (other)" in split
    assert any("scored on the same images" in line for line in tables.notes(made))


def test_a_row_that_fails_does_not_stop_the_others(
    invented: list[str],
    config: Callable[..., Path],
    tmp_path: Path,
    warned: list[str],
) -> None:
    files = [config("base"), config("broken"), config("other")]
    made = compare(files, tmp_path)
    assert invented == ["base 0", "broken 0", "other 0"]
    assert warned == ["broken, seed 0: data/nowhere: no such file"]
    assert table(tmp_path)["broken"][1] == "-"
    assert set(made.results) == {("base", 0), ("other", 0)}


def test_a_model_that_was_left_without_its_state_is_not_overwritten(
    config: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "out/base/seed-0"
    folder.mkdir(parents=True)
    (folder / FILE_NAME).write_bytes(b"weights")
    made = compare([config("base")], tmp_path / "out")
    assert "no scores and no training state" in made.failures["base", 0]
    assert (folder / FILE_NAME).read_bytes() == b"weights"
    assert not (folder / STATE_NAME).exists()


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("# Plain words.\n# More of them.\ndata:\n", "Plain words."),
        ("---\n#\n# ----\n\n## Ünder a rule #\ntrain: {}\n", "Ünder a rule"),
        ("data:\n  # of this key\n  path: toy\n# later\n", ""),
        ("", ""),
    ],
)
def test_the_description_is_the_first_comment(text: str, description: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    assert describe(tmp_path / "a.yaml") == description


# What a user gets wrong ------------------------------------------------------------------------


def test_all_configs_are_looked_at_before_one_is_trained(
    invented: list[str], config: Callable[..., Path], tmp_path: Path
) -> None:
    base, wrong = config("base"), config("wrong", train={"epochs": 0})
    again = tmp_path / "elsewhere" / "Base.yaml"
    again.parent.mkdir()
    again.write_text(base.read_text())
    mistakes: list[tuple[Sequence[Path], Sequence[str], str]] = [
        ([], [], "no config to compare"),
        ([base, base], [], "has the name of"),
        ([base, again], [], "has the name of"),
        ([base, tmp_path / "gone.yaml"], [], r"gone\.yaml: no such config file"),
        ([base, wrong], [], r"wrong\.yaml: train\.epochs is 0"),
        ([base], ["train.epoch=3"], "did you mean train.epochs"),
        ([base], ["train.out=runs/mine"], "use --out"),
        ([base], ["train.seed=3"], "--seeds"),
    ]
    for files, overrides, message in mistakes:
        with pytest.raises(ConfigError, match=message) as caught:
            compare(files, tmp_path / "out", overrides=overrides)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="--seeds is 0"):
        compare([base], tmp_path / "out", seeds=0)
    assert invented == []
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_said_at_once(
    invented: list[str], config: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        compare([config("base")], tmp_path / "file")
    assert invented == []


def test_shipped_configs_are_found_by_name() -> None:
    (row,) = plan([Path("tiny.yaml")], ["train.epochs=1"])
    assert (row.name, row.config.train.epochs) == ("tiny", 1)
    assert row.description.startswith("Synthetic coloured shapes")
    assert row.run(Path("out"), 3).train.out == str(Path("out/tiny/seed-3"))


# The command -----------------------------------------------------------------------------------


@pytest.fixture
def command() -> Callable[..., Any]:
    show_log()
    app = typer.Typer()
    app.command()(compare_command.compare)
    return lambda *args: CliRunner().invoke(app, [str(arg) for arg in args])


def test_the_command_prints_the_table(
    invented: list[str], config: Callable[..., Path], tmp_path: Path, command: Callable[..., Any]
) -> None:
    out = tmp_path / "out"
    args = (config("base"), config("other"), "--out", out, "--seeds", 2, "train.epochs=2")
    done = command(*args)
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    other = next(line for line in lines if line[:1] == ["other"])
    assert {"0.300", "0.800", "+0.150"} <= set(other)
    assert "Split: validation split of" in done.stdout
    assert "base, seed 1\n" in done.stderr
    assert done.stderr.endswith(f"{out / 'comparison.md'} and {out / 'comparison.html'}\n")
    written = json.loads((out / "base/seed-1/results.json").read_text())
    assert written["config"]["train"]["epochs"] == 2
    assert written["config"]["train"]["seed"] == 1
    assert command(*args).exit_code == 0
    assert len(invented) == 4


def test_how_the_command_exits(
    invented: list[str], config: Callable[..., Path], tmp_path: Path, command: Callable[..., Any]
) -> None:
    base, broken = config("base"), config("broken")
    done = command(broken, "--out", tmp_path / "none")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "showattend: broken, seed 0: data/nowhere: no such file\n" in done.stderr
    assert command(broken, base, "--out", tmp_path / "some").exit_code == 1
    # These reach the user as one line, by the command line's own handler.
    for args in (("train.epochs=1",), (base, base), (tmp_path / "gone.yaml",)):
        assert isinstance(command(*args, "--out", tmp_path / "no").exception, ConfigError)
    assert isinstance(command(base).exception, UserError)  # without --out
    assert command(base, "--out", tmp_path / "no", "--seeds", 0).exit_code == 2


def test_an_interrupted_command_says_what_is_there(
    invented: list[str],
    config: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    score = comparisons.score

    def interrupted(settings: Any, reporter: Any) -> dict[str, Any]:
        if Path(settings.train.out).parent.name == "other":
            raise KeyboardInterrupt
        return score(settings, reporter)

    monkeypatch.setattr(comparisons, "score", interrupted)
    show_log()
    with pytest.raises(KeyboardInterrupt):
        compare_command.compare([str(config("base")), str(config("other"))], tmp_path / "out")
    assert f"the results so far are in {tmp_path / 'out/comparison.md'}" in capsys.readouterr().err
    assert table(tmp_path / "out")["other"][1] == "-"


def test_a_finished_run_says_what_differs(
    config: Callable[..., Path], invented: list[str], tmp_path: Path
) -> None:
    compare([config("base")], tmp_path)
    (changed,) = plan([config("base")], ["search.beam_size=1"])
    with pytest.raises(CheckpointError, match=r"search\.beam_size was 2, is 1"):
        comparisons.read_finished(changed.run(tmp_path, 0))


# Lengths, cost, objects, differences -----------------------------------------------------------


@pytest.mark.usefixtures("no_java")
def test_the_report_says_what_each_row_costs_where_it_looks_and_how_long_captions_fare(
    config: Callable[..., Path], toy: Path, tmp_path: Path
) -> None:
    objects = Objects(toy.parent / "instances_val.json", toy.parent / "images", toy)
    small, large = config("small"), config("large", decoder={"hidden_dim": 32})
    out = tmp_path / "out"
    made = compare([small, large], out, objects=objects)
    assert made.failures == {}
    summary = json.loads((out / "comparison.json").read_text())
    costs = [row["cost"][0] for row in summary["rows"]]
    assert costs[0]["parameters"] < costs[1]["parameters"]
    assert all(cost["step"] > 0 and cost["search"] > 0 for cost in costs)
    for row in summary["rows"]:
        lengths = row["lengths"][0]
        assert sum(each["images"] for each in lengths["scores"]) == 8
        assert all(each["log_prob"] < 0 for each in lengths["likelihood"])
        assert row["objective"] == "cross-entropy, 1 epochs"
        own = row["grounding"][0]["human"]
        assert 0 <= own["pointing"]["model"] <= 1
    difference = summary["rows"][1]["differences"]["CIDEr"]
    assert difference["difference"] == pytest.approx(summary["rows"][1]["CIDEr_difference"])
    low, high = difference["interval"]
    assert low <= difference["difference"] <= high
    page = (out / "comparison.md").read_text(encoding="utf-8")
    for heading in ("Differences to small", "Cost", "CIDEr by length of the human captions",
                    "Log-probability of human captions by length",
                    "Where the model looks, human captions"):  # fmt: skip
        assert f"## {heading}\n" in page

    html = (out / "comparison.html").read_text(encoding="utf-8")
    assert html.count("data:image/jpeg") == 2 * 6  # six photographs, two rows
    assert "<strong>" not in html or "**" not in html
    assert html.count("<figcaption>large</figcaption>") == 6
    samples = summary["samples"]
    assert len(samples) == 6
    _, _, said = page.partition("## What they say\n")
    assert said.count("\n### ") == 6
    for sample in samples:
        name = Path(sample["image"]).name
        assert list(sample["captions"]) == ["small", "large"]
        assert f"<h3>{name}</h3>" in html
        assert sample["references"]
        text = said.partition(f"### {name}\n")[2].partition("\n### ")[0]
        for row, caption in sample["captions"].items():
            assert f'<img alt="{caption}"' in html
            assert f"- {row}: {caption}\n" in text
        assert text.count("- a person: ") == len(sample["references"])
    assert not re.search(r'(?:src|href)="(?!data:)', html)  # it loads nothing

    results = json.loads((out / "small/seed-0/results.json").read_text())
    _, *words = reproduce.command(results)
    assert command_line([*words, "--output", str(tmp_path / "again.json")]) == 0
    repeated = json.loads((tmp_path / "again.json").read_text())
    for key in ("captions", "metrics"):
        assert repeated[key] == results[key]
    for key in ("weights", "encoder"):
        assert repeated["provenance"]["model"][key] == results["provenance"]["model"][key]

    kept = out / "small/seed-0/grounding.json"
    before = kept.stat().st_mtime_ns
    again = compare([small, large], out, objects=objects)
    assert kept.stat().st_mtime_ns == before  # measured once
    assert again.grounding == made.grounding
    compare([small, large], out, objects=objects._replace(captions=None))
    assert "human" not in json.loads(kept.read_text())  # other objects are measured again


def test_captions_in_the_report_are_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever people wrote, Markdown shows it as written, on one line."""
    monkeypatch.setattr(tables, "tables", lambda _: [])
    made = tables.Comparison([], tmp_path, 1, "showattend compare")
    record = Record("1", Path("photos/1_a.jpg"), ("a <b>*dog*</b> |\n# [x](y) `z` \\",), "val")
    made.samples = [tables.Sample(record, [("one_two", "A *dog*.", b"")])]
    said = tables.to_markdown(made).partition("## What they say\n")[2].split("\n")
    assert said == [
        "",
        r"### 1\_a.jpg",
        "",
        r"- one\_two: A \*dog\*.",
        r"- a person: a \<b\>\*dog\*\</b\> \| \# \[x\](y) \`z\` \\",
        "",
    ]


def test_objects_come_whole(config: Callable[..., Path], toy: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    for given, message in (
        (["--instances", str(toy)], "--instances FILE and --images DIR together"),
        (["--instances", str(tmp_path / "x"), "--images", str(tmp_path)], "no such file"),
    ):
        found = runner.invoke(
            compare_app(), [str(config("a")), "--out", str(tmp_path / "out"), *given]
        )
        assert isinstance(found.exception, UserError)
        assert message in str(found.exception)
    assert not (tmp_path / "out").exists()
