"""scripts/reproduce.py, and docs/reproduce.md: every figure has its command, records are whole."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from showattend.evaluation import reproduce

from .loading import load_script as load

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reproduce.md"
RECORDS = ROOT / "docs" / "records"
FIGURE = re.compile(
    r"(?<![\w.=])\d+\.\d{3}(?![\w.])|(?<![\w.=])0\.\d\d\b"
    r"|\d[\d,.]* (?:ms|s|minutes|hours|seconds|GB|MB|images a second|times)\b"
)
COMMAND = re.compile(r"\bshowattend [a-z]+|\bscripts/[\w/]+\.py|\bmake [a-z]+|\bpytest\b")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


class Section(NamedTuple):
    """A part of a page under one heading."""

    page: str
    title: str
    figures: int
    has_command: bool

    @property
    def link(self) -> str:
        """The anchor of the heading, as GitHub makes it."""
        words = re.sub(r"[^\w\- ]", "", self.title.lower()).strip()
        return f"{self.page}#{words.replace(' ', '-')}"


def sections(path: Path) -> Iterator[Section]:
    """The sections of a page, with the number of figures outside of code."""
    title, text, code, fenced = "", [], [], False  # type: ignore[var-annotated]
    for line in [*path.read_text(encoding="utf-8").splitlines(), "# end"]:
        if line.startswith("```"):
            fenced = not fenced
        heading = None if fenced else re.match(r"#+ (.*)", line)
        if heading:
            shown = re.sub(r"`[^`]*`", "", "\n".join(text))
            named = COMMAND.search("\n".join(code + text)) is not None
            yield Section(path.name, title, len(FIGURE.findall(shown)), named)
            title, text, code = heading[1], [], []
        else:
            (code if fenced else text).append(line)


def listed() -> dict[str, str]:
    """Each link of the page's last table, with its row."""
    rows = PAGE.read_text(encoding="utf-8").partition("\n## Figures")[2].splitlines()
    return {
        link.removeprefix("../"): row
        for row in rows
        for link in re.findall(r"\]\(([^)]+)\)", row.split("|")[1] if "|" in row else "")
    }


def test_every_section_with_figures_has_its_command() -> None:
    known = listed()
    found = [each for path in PAGES if path != PAGE for each in sections(path) if each.figures]
    assert len(found) > 30, "the test finds figures"
    bare = [
        each.link
        for each in found
        if not each.has_command and each.link not in known and each.page not in known
    ]
    assert not bare, "say on the page, or in docs/reproduce.md, which command makes these figures"


def test_the_sections_named_in_the_page_exist_and_have_a_command() -> None:
    there = {each.link for path in PAGES for each in sections(path)} | {p.name for p in PAGES}
    for link, row in listed().items():
        assert link in there, link
        command, record = row.split("|")[2], row.split("|")[4]
        assert COMMAND.search(command) or "on the page" in command or "constants" in command, row
        assert "none" in record or "records/" in record or "in every record" in record, row


@pytest.mark.parametrize("path", sorted(RECORDS.glob("*.json")), ids=lambda path: path.stem)
def test_a_record_has_the_digest_that_the_page_states(path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert f"[{path.stem}](records/{path.name}) `{digest}`" in PAGE.read_text(encoding="utf-8")
    record = json.loads(path.read_text(encoding="utf-8"))
    made = record["provenance"]
    assert made["code"]["changed"] is False
    assert made["model"]["weights"]
    assert {"packages", "machine", "command", "search", "data"} <= made.keys()
    assert len(record["captions"]["digest"]) == 16
    assert not re.search(r'"/(home|root|tmp|work)/', json.dumps(record)), "paths of a machine"


def test_the_readmes_scores_are_those_of_the_records() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
    found = 0
    for path in RECORDS.glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if metrics := record.get("metrics"):
            row = " | ".join(f"{metrics[name]:.3f}" for name in names)
            assert f"| {row} |" in text, path.name
            found += 1
    assert found == len(re.findall(r"^\| (?:everyday|flickr8k) \|", text, re.MULTILINE))


@pytest.mark.slow
def test_a_small_part_is_reproduced(capfd: pytest.CaptureFixture[str]) -> None:
    assert load("reproduce").main([]) == 0
    assert "reproduced: weights, losses, captions and scores" in capfd.readouterr().out


def test_a_record_is_kept_without_captions_and_paths(tmp_path: Path) -> None:
    record = {
        "metrics": {"CIDEr": 1.0},
        "captions": [{"image_id": 1, "caption": "a dog"}],
        "settings": {"annotations": "/home/me/captions.json", "beam_size": 5},
    }
    (tmp_path / "results.json").write_text(json.dumps(record))
    script = load("keep_record")
    assert script.main([str(tmp_path / "results.json"), str(tmp_path / "kept.json")]) == 0
    kept = json.loads((tmp_path / "kept.json").read_text(encoding="utf-8"))
    assert kept["settings"] == {"annotations": ".../captions.json", "beam_size": 5}
    assert kept["captions"]["number"] == 1
    record["captions"] = [{"image_id": 1, "caption": "a cat"}]
    other = script.kept(record)
    assert other["captions"]["digest"] != kept["captions"]["digest"]
    names = [name for name, *_ in reproduce.differing(kept, other)]
    assert names == ["captions.digest"]
    assert [name for name, *_ in reproduce.differing(kept, script.kept(kept))] == []
