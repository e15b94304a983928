"""The benchmark: its arithmetic, that its opponent is the same model, and a run of it."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from showattend.decoding.beam import search
from showattend.evaluation.scores import java
from showattend.model.search_options import SearchOptions
from showattend.text.vocabulary import Vocabulary

SCRIPTS = Path(__file__).parents[2] / "scripts" / "benchmark"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


def tiny(**values: Any) -> Any:
    rows = script("rows")
    return rows.Sizes(
        **{
            "images": 3, "captions": 2, "words": 4, "locations": 6, "feature": 7, "hidden": 5,
            "vocabulary": 20, "searched": 4, "beams": 3, "longest": 6, **values,
        }
    )  # fmt: skip


# Statistics ----------------------------------------------------------------------------------


def test_a_spread_is_the_median_and_the_ends() -> None:
    spread = script("measuring").Spread.of([3.0, 1.0, 2.0, 10.0])
    assert (spread.median, spread.low, spread.high, spread.count) == (2.5, 1.0, 10.0, 4)
    assert str(spread) == "2.5 (1 to 10)"


def test_contenders_run_in_turn_and_warm_rounds_do_not_count() -> None:
    called: list[str] = []
    contenders = {name: (lambda name=name: called.append(name)) for name in ("a", "b")}
    seconds = script("measuring").alternate(contenders, 2, warm=1)
    assert called == ["a", "b"] * 3
    assert [len(each) for each in seconds.values()] == [2, 2]


def test_ratios_are_per_round_and_compared_with_bars() -> None:
    tools = script("measuring")
    seconds = {"ours": [1.0, 2.0, 4.0], "usual": [8.0, 18.0, 20.0]}
    made = tools.row("x", seconds, bar=8, floor=0.5)
    assert made.ratio.median == 8.0
    assert made.share == 0.25
    assert made.met is True
    assert tools.row("x", seconds, bar=8.1).met is False
    assert tools.row("x", seconds).met is None
    slower = {"ours": [3.0], "usual": [2.0]}
    assert tools.row("x", slower, bar=1.5, at_most=True).met is True
    assert tools.row("x", slower, bar=1.4, at_most=True).met is False


def test_bars_are_those_of_the_goals_and_read_right() -> None:
    tools = script("measuring")
    wanted = {
        "training step, fp32": 8, "training step, bf16 against fp32": 14,
        "training step, bf16 and torch.compile against fp32": 20,
        "search, fp32": 8, "search, bf16 against fp32": 16,
    }  # fmt: skip
    assert wanted.items() <= tools.BARS.items()
    seconds = {"ours": [1.0], "usual": [13.96]}
    rows = [tools.row(name, seconds) for name in (*wanted, *tools.LIMITS)]
    assert [each.met for each in rows] == [True, False, False, True, False, True, True]
    table = tools.as_markdown(rows, {})
    assert "| training step, bf16 against fp32 | 1 s | 14 s | 13.96 | ≥ 14 not met |" in table
    assert "processor time | 1 s | 14 s | 13.96 | ours ≤ 1.1 × usual: met |" in table
    old = tools.as_json(rows, {}, torch.device("cpu"))["rows"][1] | {"bar": 9.0}
    assert tools.from_json(old).bar == 14


def test_rows_of_every_bar_exist() -> None:
    """A bar whose row was renamed would never be shown."""
    path = SCRIPTS.parents[1] / "docs" / "records" / "benchmark.json"
    names = {each["name"] for each in json.loads(path.read_text(encoding="utf-8"))["rows"]}
    tools = script("measuring")
    assert names >= tools.BARS.keys() | tools.LIMITS.keys()


def test_the_record_names_the_device_that_computed() -> None:
    tools = script("measuring")
    made = tools.as_json([], {}, torch.device("meta"))["provenance"]
    assert made["machine"]["device"] == "meta"


def test_a_floor_is_arithmetic_or_bytes_whichever_takes_longer() -> None:
    rates = script("measuring").Rates(fp32=100.0, bf16=200.0, copy=10.0, elementwise=50.0)
    assert rates.floor(500.0, 20.0, low=False) == 5.0
    assert rates.floor(500.0, 20.0, low=True) == 2.5
    assert rates.floor(500.0, 80.0, low=True) == 8.0
    assert rates.floor(500.0, 20.0, low=True, elementwise=100.0) == 4.5


def test_operations_agree_with_pytorchs_count() -> None:
    """Forwards, in search of one beam through all time steps."""
    from torch.utils.flop_counter import FlopCounterMode

    sizes = tiny(searched=2, beams=1)
    decoder = sizes.decoder().double().eval()
    features = torch.rand(2, sizes.locations, sizes.feature, dtype=torch.float64)
    options = SearchOptions(beam_size=1, max_length=4, min_length=4)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        search(decoder, features, options)
    counted = sizes.key_operations(2) + 2 * 4 * sizes.token_operations()
    # The scores are elementwise here, which PyTorch does not count; it counts the initial state.
    scores = 2 * 4 * 2 * sizes.locations * sizes.hidden
    initial = 2 * 2 * sizes.feature * 2 * sizes.hidden
    padding = 2 * 4 * 2 * sizes.hidden * decoder.padding  # rows of zeros
    assert counter.get_total_flops() == counted - scores + initial + padding


# The opponent --------------------------------------------------------------------------------


def test_the_opponent_has_the_same_loss_and_gradients() -> None:
    sizes = tiny()
    decoder, (features, captions, lengths) = sizes.decoder().train(), sizes.batch()
    lengths[0, 1], lengths[2, 0] = 2, 3  # its captions leave the batch one by one
    rows = script("rows")
    found = rows.check_training(decoder, (features, captions, lengths))
    assert found["loss"] < 1e-6
    assert found["gradients"] < 1e-4
    usual = script("usual").UsualDecoder.like(decoder)
    with torch.no_grad():
        usual.L_z.weight[0, 0] += 1  # a model that is another one is noticed
    monkey = pytest.MonkeyPatch()
    monkey.setattr(rows.UsualDecoder, "like", lambda _: usual)
    with pytest.raises(AssertionError, match="differ"):
        rows.check_training(decoder, (features, captions, lengths))
    monkey.undo()


@pytest.mark.parametrize("beams", [1, 3])
def test_the_opponent_finds_the_same_captions(beams: int) -> None:
    sizes = tiny(searched=12, beams=beams, longest=8)
    decoder, features = script("rows").speaking(sizes)
    with torch.no_grad():  # captions of several lengths
        decoder.L_o.bias[Vocabulary.END] -= 2.0
    usual = script("usual").UsualDecoder.like(decoder)
    ours = search(decoder, features, SearchOptions(beam_size=beams, max_length=8))
    theirs = [usual.search(each, beam_size=beams, max_length=8) for each in features]
    assert [each[0].words for each in ours] == theirs
    assert len({len(words) for words in theirs}) > 1
    assert len({tuple(words) for words in theirs}) > 3


def test_other_forms_of_the_decoder_are_refused() -> None:
    decoder = tiny().decoder()
    decoder.attend_with = "current"
    with pytest.raises(ValueError, match="form"):
        script("usual").UsualDecoder.like(decoder)


# Running it ----------------------------------------------------------------------------------


def test_a_quick_run_writes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script("benchmark").main(["search", "--quick", "--repeats", "1", "--out", str(tmp_path)])
    content = json.loads((tmp_path / "benchmark.json").read_text())
    names = [
        "search, fp32", "search, bf16 against fp32", "search, bf16 against usual bf16",
        "search, fp32, one image at a time",
        "search, bf16, one image at a time, against usual bf16",
        "search, fp32, against our plain code",
    ]  # fmt: skip
    assert [row["name"] for row in content["rows"]] == names
    assert content["rows"][0]["ratio"]["count"] == 1
    assert content["rows"][0]["share"] > 0
    assert content["about"]["threads"] == torch.get_num_threads()
    text = (tmp_path / "benchmark.md").read_text()
    assert text in capsys.readouterr().out
    assert "3 of 3 captions identical" in text


def test_the_cost_of_each_kind_has_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against additive attention in plain code, which is another class than the fast one."""
    family_rows, kinds = script("family_rows"), ("lstm, additive", "lstm, dot", "transformer")
    every = family_rows.members({"hidden_dim": 8})
    assert {"lstm, additive, hard", "lstm, additive, sentinel", "masked"} < every.keys()
    members = family_rows.members

    def few(sizes: dict[str, Any]) -> dict[str, Any]:
        return {name: each for name, each in members(sizes).items() if name in kinds}

    monkeypatch.setattr(family_rows, "members", few)
    script("benchmark").main(["family", "--quick", "--repeats", "1", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "benchmark.json").read_text())["rows"]
    fast, plain, dot, transformer = rows
    assert [row["name"] for row in rows] == [
        "lstm, additive", "lstm, additive, plain code", "lstm, dot", "transformer",
    ]  # fmt: skip
    assert plain["ratio"]["median"] == 1
    assert fast["extra"]["parameters"] == plain["extra"]["parameters"]
    assert dot["extra"]["parameters"] < plain["extra"]["parameters"]
    assert 0 < dot["extra"]["megabytes"] < plain["extra"]["megabytes"]
    assert all(row["extra"]["search"]["median"] > 0 for row in rows)
    lines = (tmp_path / "benchmark.md").read_text().splitlines()
    header = next(line for line in lines if "MB per step" in line)
    shown = [line for line in lines if line.startswith("| transformer |")]
    assert [line.count("|") for line in shown] == [header.count("|")]
    assert f"{transformer['extra']['parameters'] / 1e6:.1f} |" in shown[0]


def test_training_has_the_opponent_in_bf16(capsys: pytest.CaptureFixture[str]) -> None:
    rows = script("rows")
    made = rows.training(rows.Setting(script("measuring").Rates(1e9, 1e9, 1e9, 1e9), 1, True))
    names = [each.name for each in made]
    assert "training step, bf16 against usual bf16" in names
    by_name = dict(zip(names, made, strict=True))
    ours = by_name["training step, bf16 against usual bf16"].ours
    assert ours == by_name["training step, bf16 against fp32"].ours
    capsys.readouterr()


def test_the_opponent_in_bf16_learns_the_same() -> None:
    sizes = tiny()
    decoder, (features, *rest) = sizes.decoder().train(), sizes.batch()
    rows = script("rows")
    usual = script("usual").UsualDecoder
    exact = rows.usual_step(usual.like(decoder), (features, *rest))
    rounded = rows.usual_step(usual.like(decoder), (features.bfloat16(), *rest), low=True)
    losses = [(exact(), rounded()) for _ in range(5)]
    assert all(one == pytest.approx(other, rel=0.02) for one, other in losses)
    assert losses[0][0] != losses[0][1], "it computes in bf16"
    assert losses[-1][1] < losses[0][1]


def test_ours_one_image_at_a_time_gets_one_image_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = script("rows")
    sizes: list[int] = []
    real = rows.search

    def watched(decoder: Any, features: torch.Tensor, options: Any) -> Any:
        sizes.append(len(features))
        return real(decoder, features, options)

    monkeypatch.setattr(rows, "search", watched)
    rows.searching(rows.Setting(script("measuring").Rates(1e9, 1e9, 1e9, 1e9), 1, True))
    once = [3, 3, *[1] * 6, 3]  # in fp32 and bf16 at once, then singly, then plain code
    assert sizes == once * 2, "a round to warm up, and one"


def test_growth_is_measured_and_drawn(tmp_path: Path) -> None:
    record = tmp_path / "kept" / "growth.json"
    record.parent.mkdir()
    options = ["--quick", "--growth", "--out", str(tmp_path), "--output", str(record)]
    script("benchmark").main(options)
    content = json.loads((tmp_path / "growth.json").read_text())
    assert content == json.loads(record.read_text())
    assert content["provenance"]["command"][:3] == ["benchmark/benchmark.py", "--quick", "--growth"]
    assert content["provenance"]["command"][-1] == ".../growth.json"
    found = content["milliseconds an image"]
    assert set(found) == {"locations", "vocabulary", "beams", "images"}
    assert "training" not in found["beams"]
    assert all(value > 0 for each in found.values() for value in each["search"])
    assert (tmp_path / "growth.png").stat().st_size < 100_000


def test_unknown_rows_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script("benchmark").main(["trainings"])
    assert "no such row: trainings" in capsys.readouterr().err


def test_java_starts_are_counted() -> None:
    with script("image_rows").counted_java() as started:
        java.forget()
        assert java.tokenize_ptb(["A dog runs.", "A dog runs.", ""]) == ["a dog runs"] * 2 + [""]
        assert java.tokenize_ptb(["A dog runs."]) == ["a dog runs"]
    assert started == ["tokenizer"]


@pytest.fixture(autouse=True)
def _threads() -> Any:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    sys.modules.pop("benchmark", None)
