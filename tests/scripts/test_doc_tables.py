"""scripts/records/doc_tables.py: the documents say what the records say."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from showattend.evaluation.scores.statistics import over_seeds

from .loading import load_from

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return load_from("records", "doc_tables")


@pytest.fixture(scope="module")
def records() -> dict[str, Any]:
    found: dict[str, Any] = load_from("records", "kept_records").read_records()
    return found


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def test_the_pages_say_what_the_records_say(tables: ModuleType, records: dict[str, Any]) -> None:
    for page in tables.PAGES:
        text = read(page)
        assert tables.filled(page, text, records) == text, f"{page}: run make_records.py --check"


def test_another_figure_changes_the_page(tables: ModuleType, records: dict[str, Any]) -> None:
    other = copy.deepcopy(records)
    other["everyday_flickr8k"]["metrics"]["CIDEr"] += 0.001
    other["everyday_ground"]["pointing"]["model"] += 0.01
    other["everyday_coco_subset_errors"]["people"]["put_in"]["count"] += 1
    assert tables.filled("docs/results.md", read("docs/results.md"), other) != read(
        "docs/results.md"
    )
    page = tables.filled("README.md", read("README.md"), other)
    assert "peaks on that object 58%" in page
    count = load_from("records", "renderers").people(records, "everyday").count
    assert f"it mentions a person in {count + 1} " in page
    for model in tables.MODELS:
        card = f"assets/model/{model}/README.md"
        assert (tables.filled(card, read(card), other) != read(card)) is (model == "everyday")


def test_the_readme_and_the_cards_are_of_the_shipped_weights(
    tables: ModuleType, records: dict[str, Any]
) -> None:
    for page in ("README.md", *(f"assets/model/{model}/README.md" for model in tables.MODELS)):
        parts = tables.BLOCKS[page] | tables.SENTENCES[page]
        needed = {name for part in parts.values() for name in part.needs}
        stale = [name for name in needed if tables.is_stale(records[name])]
        assert not stale, f"measure these again for {page}: make records"


def test_tables_of_earlier_weights_say_so(tables: ModuleType, records: dict[str, Any]) -> None:
    other = copy.deepcopy(records)
    other["everyday_ground"]["provenance"]["model"]["weights"] = "0" * 16
    page = "docs/attention.md"
    before = tables.filled(page, read(page), records).count(tables.STALE)
    after = tables.filled(page, read(page), other).count(tables.STALE)
    assert after == before + 2  # where it points, and wrong words
    assert "(earlier weights)" in tables.filled(
        "docs/reproduce.md", read("docs/reproduce.md"), other
    )


def test_without_a_record_its_table_stays(tables: ModuleType, records: dict[str, Any]) -> None:
    less = {name: each for name, each in records.items() if name != "everyday_looked"}
    text = read("docs/maps.md").replace("84%", "99%")
    assert tables.filled("docs/maps.md", text, less) == text
    assert tables.filled("docs/maps.md", text, records) == read("docs/maps.md")
    with pytest.raises(KeyError, match="has no <!-- looked -->"):
        tables.filled("docs/maps.md", "no table", records)


def test_the_benchmark_fills_its_tables(tables: ModuleType, records: dict[str, Any]) -> None:
    spread = {"median": 2.0, "low": 1.5, "high": 2.5, "count": 3}
    row = {"name": "search, fp32", "ours": spread, "usual": spread, "ratio": spread, "bar": 1.5}
    others = [row | {"name": "epoch, fp32"}, row | {"name": "training step, bf16 against fp32"}]
    made = {"about": {"processor": "abacus"}, "rows": [row, *others]}
    page = tables.filled(
        "docs/performance.md", read("docs/performance.md"), records | {"benchmark": made}
    )
    assert "processor abacus." in page
    assert page.count("| search, fp32 | 2 (1.5 to 2.5) s | 2 (1.5 to 2.5) s |") == 1
    assert "| 2.00 (1.50 to 2.50) | ≥ 8 not met |" in page, "the bar of today, not the record's"
    assert "| 2.00 (1.50 to 2.50) | ≥ 14 not met |" in page
    assert "1.5 met" not in page


def test_no_line_of_running_text_begins_with_a_marker(tables: ModuleType) -> None:
    """The site's Markdown ends a list or a paragraph there."""
    for page, parts in tables.SENTENCES.items():
        for name in parts:
            assert not re.search(rf"^\s*<!-- (end of )?{name} -->", read(page), re.MULTILINE), name


def test_fairer_ratios_come_from_their_rows(records: dict[str, Any]) -> None:
    fairer = load_from("records", "renderers").fairer
    names = [f"search, fp32{ending}" for ending in (", one image at a time", "")]
    names += [f"{what}, bf16 against usual bf16" for what in ("training step", "search")]
    rows = [{"name": name, "ratio": {"median": n + 2.125}} for n, name in enumerate(names)]
    said = fairer({"benchmark": {"rows": rows}})
    assert re.findall(r"\d\.\d\d times", said) == [
        "2.12 times",
        "3.12 times",
        "4.12 times",
        "5.12 times",
    ]
    older = fairer({"benchmark": {"rows": rows[:2]}})
    assert "older than these rows" in older
    assert "2.12" not in older


def test_a_record_of_the_familys_cost_fills_its_table(
    tables: ModuleType, records: dict[str, Any]
) -> None:
    def row(name: str, seconds: float, megabytes: float) -> dict[str, Any]:
        spread = {"median": seconds, "low": seconds, "high": seconds, "count": 1}
        extra = {"search": spread, "megabytes": megabytes, "parameters": 1_240_000}
        values = {"ours": spread, "usual": spread | {"median": 0.5}, "note": "A note."}
        ratio = spread | {"median": 0.5 / seconds}
        return {"name": name, "ratio": ratio, "extra": extra, **values}

    rows = [row("lstm, additive", 0.125, 31.2), row("lstm, dot", 0.25, 20.0)]
    made = {"about": {"processor": "abacus"}, "rows": rows}
    page = "docs/attention-family.md"
    text = tables.filled(page, read(page), records | {"family_cost": made})
    assert "processor abacus." in text
    assert "| lstm, additive | 125 | 0.25 | 125.0 | 31 | 1.2 |" in text
    assert "| lstm, dot | 250 | 0.50 | 250.0 | 20 | 1.2 |" in text
    assert text.count("A note.") == 1


def test_the_intervals_over_seeds_are_those_of_the_seeds() -> None:
    lines = re.findall(
        r"^\| (?:1_plain|flickr8k) \| 3 \|.*$", read("docs/results.md"), re.MULTILINE
    )
    assert len(lines) == 2
    found = []
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        found.append(over_seeds([float(value) for value in cells[2].split(", ")]))
        assert f"{found[-1]['mean']:.3f}" == cells[3]
        assert f"{found[-1]['sd']:.4f}" == cells[4]
        low, high = found[-1]["interval"]
        assert f"{low:.3f} to {high:.3f}" == cells[5]
    assert f"worth {found[1]['mean'] - found[0]['mean']:.3f} of CIDEr" in read("docs/results.md")


def test_commands_are_shown_without_what_changes_no_figure() -> None:
    words = ["showattend", "evaluate", "--device", "cpu", "--model", "m", "--output", "x.json"]
    command = load_from("records", "renderers")._command
    assert command(words) == "showattend evaluate --model m"
    assert command(["a.py", "b c"]) == "python scripts/a.py 'b c'"


def test_each_row_of_a_table_has_as_many_cells_as_its_header() -> None:
    found = 0
    for page in load_from("records", "doc_numbers").PAGES:
        fenced, width = False, 0
        for number, line in enumerate(read(page).splitlines(), 1):
            fenced ^= line.startswith("```")
            if fenced or not line.startswith("|"):
                width = 0
                continue
            # GitHub splits at every bar that is not escaped, within code too.
            cells = len(re.findall(r"(?<!\\)\|", line.strip())) - 1
            assert line.rstrip().endswith("|"), f"{page}, line {number}"
            assert cells == (width or cells), f"{page}, line {number}: {cells} cells, not {width}"
            width, found = cells, found + 1
    assert found > 100
