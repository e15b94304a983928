"""scripts/records/doc_numbers.py: every number of the documents has a record, or says why not."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from .loading import load_from

HEAD = "# Figures\n\n## Figures\n\n| figures | command | time | record |\n|---|---|---|---|\n"


@pytest.fixture(scope="module")
def numbers() -> ModuleType:
    return load_from("records", "doc_numbers")


def test_every_number_of_the_documents_has_its_record(numbers: ModuleType) -> None:
    records = load_from("records", "kept_records").read_records()
    assert numbers.disagreements(records) == []
    found = [each for page in numbers.PAGES for each in numbers.sections(page, records)]
    assert sum(len(each.numbers) for each in found) > 100, "it finds numbers"


def test_the_sections_that_have_a_row_exist(numbers: ModuleType) -> None:
    records = load_from("records", "kept_records").read_records()
    there = {each.link for page in numbers.PAGES for each in numbers.sections(page, records)}
    for link, row in numbers.rows().items():
        assert link in there or link in numbers.PAGES, link
        assert row.command, link


@pytest.fixture
def checked(numbers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """What is wrong with a page, given the last cell of its row and a record."""
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(numbers, "ROOT", tmp_path)
    monkeypatch.setattr(numbers, "PAGES", ("docs/page.md", "docs/reproduce.md"))

    def wrong(page: str, kept: str | None) -> list[str]:
        row = f"| [it](page.md#scores) | `showattend evaluate` | | {kept} |\n" if kept else ""
        (tmp_path / "docs" / "page.md").write_text(page, encoding="utf-8")
        (tmp_path / "docs" / "reproduce.md").write_text(HEAD + row, encoding="utf-8")
        found: list[str] = numbers.disagreements({"mine": {"metrics": {"CIDEr": 0.6561}, "n": 139}})
        return found

    return wrong


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("CIDEr is 0.656, or 65.6 %, or 66 % of 1.", "[mine](#records)"),
        ("139 photographs, 139 words, 139 of them", "[mine](#records)"),
        ("| a | 0.656 |\n| b | 0.123 |", "[mine](#records); quoted from a paper: 0.123"),
        ("It took 3.5 hours; there is no record.", "before records were kept"),
        ("A tolerance of 0.01.", "constant of the code"),
        ("With Python 3.11, 3.12 or 3.13, at 95 % confidence, `0.123` and no figures.", None),
        ("```\nCIDEr 0.123\n```\nSee [it](https://a.b/0.123).", None),
    ],
)  # fmt: skip
def test_what_is_supported(checked, text: str, kept: str | None) -> None:  # type: ignore[no-untyped-def]
    assert checked(f"# Page\n\n## Scores\n\n{text}\n", kept) == []


@pytest.mark.parametrize(
    ("text", "kept", "complaint"),
    [
        ("CIDEr is 0.657.", "[mine](#records)", "no record says 0.657"),
        ("CIDEr is 0.656 and 0.123.", "[mine](#records)", "no record says 0.123"),
        ("a share of 67 %", "[mine](#records)", "no record says 67"),
        ("a ratio of 65.6", "[mine](#records)", "no record says 65.6"),
        ("a share of 0.656 %", "[mine](#records)", "no record says 0.656%"),
        ("140 photographs", "[mine](#records)", "no record says 140"),
        ("1 of 139 content words", "[mine](#records)", "no record says 1"),
        ("| a | -0.656 |", "[mine](#records)", "no record says -0.656"),
        ("CIDEr is 0.656.", None, "has no row for it (0.656)"),
        ("It takes 3 minutes.", None, "has no row for it (3 minutes)"),
        ("CIDEr is 0.656.", "[other](#records)", "there is no record other"),
        ("CIDEr is 0.656.", "measured once", "an unknown reason: measured once"),
        ("CIDEr is 0.656.", "before records were kept", "must say that there is no record"),
        ("0.1 and 0.2", "quoted from a paper: 0.1", "no record says 0.2"),
    ],
)
def test_what_is_found(checked, text: str, kept: str | None, complaint: str) -> None:  # type: ignore[no-untyped-def]
    (line,) = checked(f"# Page\n\n## Scores\n\n{text}\n", kept)
    assert complaint in line
    assert "page.md#scores" in line


def test_a_section_says_no_record_for_those_below_it(checked) -> None:  # type: ignore[no-untyped-def]
    page = "# Page\n\nThere is no record of these.\n\n## Scores\n\nIt takes 0.656 s.\n"
    assert checked(page, "before records were kept") == []
    other = "# Page\n\n## Else\n\nThere is no record.\n\n## Scores\n\nIt takes 0.656 s.\n"
    assert len(checked(other, "before records were kept")) == 1
