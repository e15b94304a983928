"""Which numbers of the documents no record supports.

docs/reproduce.md has a row for each section with numbers: the command, and in its last column the
records, or one of `REASONS`. A number of a section (a decimal, a percentage, or a count of
photographs, captions or words) must be a value of one of its records, to the digits shown, unless
it is in a table that `doc_tables` writes, or the row lists it after a reason:
"quoted from a paper: 0.235, 0.207".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from doc_tables import without_tables
from kept_records import ROOT, Records

REASONS = (
    "constant of the code",
    "quoted from a paper",
    "example output",
    "measured independently",
    "computed on the page",
    "counted or measured once",
    "before records were kept",
)
"""Why a number may have no record."""
UNKEPT = frozenset(REASONS[-2:])
"""With these the section itself says "no record"."""

PAGES = (
    "README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "assets").rglob("*.md")),
)
TABLE = "docs/reproduce.md"
OWN = (f"{TABLE}#figures", f"{TABLE}#records")
"""The sections that contain the rows and the records."""

_VERSIONS = re.compile(
    r"\b(?:Python|PyTorch|torch|torchvision|timm|numpy|onnx|onnxscript|onnxruntime|Pillow|typer|"
    r"safetensors|section|version) \d+\.\d+(?:(?:, | or | and )\d+\.\d+)*",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"(?<![\w.=/-])[−+-]?\d[\d,]*\.\d+(?!\w|\.\d)(?: ?%)?|(?<![\w.,])\d+ ?%"
    r"|(?<![\w.,/+-])\d[\d,]*(?= (?:photographs|captions|(?:\w+ )?words|images|of)\b)"
)
_QUANTITY = re.compile(
    r"\d[\d,.]* (?:ms|s|minutes|hours|seconds|GB|MB|kB|images (?:a|per) second|times)(?!\w)"
)
_LEVEL = re.compile(r"\b95 ?%")
_PARTS = re.compile(r"\]\([^)]*\)|<!--.*?-->|https?://\S+", re.DOTALL)


class Section(NamedTuple):
    """A part of a page under one heading, without code, and without tables from records.

    Attributes:
        page: The page's path.
        title: Its heading.
        text: Its running text and its other tables, and those of the sections that it is part of.
        numbers: Its decimal numbers, percentages ("65%") and counts.
        quantities: Its times, sizes and rates.
        written: Whether it has parts that are written from records.
    """

    page: str
    title: str
    text: str
    numbers: list[str]
    quantities: list[str]
    written: bool

    @property
    def link(self) -> str:
        """The address of the section, with the anchor that GitHub makes."""
        words = re.sub(r"[^\w\- ]", "", self.title.lower()).strip()
        return f"{self.page}#{words.replace(' ', '-')}"


class Row(NamedTuple):
    """A row of docs/reproduce.md about some sections.

    Attributes:
        command: The command that makes their figures.
        records: The names of their records.
        reasons: For each reason, the numbers that it covers; empty covers all.
    """

    command: str
    records: list[str]
    reasons: dict[str, list[str]]


def sections(page: str, records: Records) -> Iterator[Section]:
    """The sections of a page."""
    whole = (ROOT / page).read_text(encoding="utf-8")
    written = {title: text for _, title, text in _headed(whole)}
    above: list[tuple[int, str]] = []
    for level, title, text in _headed(without_tables(page, whole, records)):
        above = [each for each in above if each[0] < level]
        above.append((level, text))
        shown = _PARTS.sub("]", re.sub(r"`[^`]*`", "", text))
        shown = _LEVEL.sub("", _VERSIONS.sub("", shown))
        yield Section(
            page,
            title,
            "\n".join(each for _, each in above),
            [re.sub("[, ]", "", found[0]) for found in _NUMBER.finditer(shown)],
            _QUANTITY.findall(shown),
            "<!-- end of " in written[title],
        )


def _headed(text: str) -> list[tuple[int, str, str]]:
    """The level and words of each heading, and the text below it without blocks of code."""
    found: list[tuple[int, str, list[str]]] = [(0, "", [])]
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced and (heading := re.match(r"(#+) (.*)", line)):
            found.append((len(heading[1]), heading[2], []))
        elif not fenced:
            found[-1][2].append(line)
    return [(level, title, "\n".join(lines)) for level, title, lines in found]


def rows() -> dict[str, Row]:
    """The rows of docs/reproduce.md, by the link to each section or page that they name."""
    text = (ROOT / TABLE).read_text(encoding="utf-8").partition("\n## Figures")[2]
    found = {}
    for line in re.sub(r"<!--.*?-->", "", text).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 4 or set(cells[0]) <= set("-: ") or cells[0] == "figures":
            continue
        row = _row(cells[1], cells[3])
        for link in re.findall(r"\]\(([^)]+)\)", cells[0]):
            found[_path(link)] = row
    return found


def _path(link: str) -> str:
    return link.removeprefix("../") if link.startswith("../") else f"docs/{link}"


def _row(command: str, kept: str) -> Row:
    records: list[str] = []
    reasons: dict[str, list[str]] = {}
    for part in filter(None, (each.strip() for each in kept.split(";"))):
        if names := re.findall(r"\[(\w+)\]\(#records\)", part):
            records += names
            continue
        reason, _, numbers = part.partition(":")
        reasons.setdefault(reason, []).extend(filter(None, map(str.strip, numbers.split(","))))
    return Row(command, records, reasons)


def row_of(section: Section, known: Mapping[str, Row]) -> Row | None:
    """The row of a section, or of its whole page."""
    return known.get(section.link) or known.get(section.page)


def unsupported(section: Section, row: Row, records: Records) -> list[str]:
    """The numbers of a section that neither its records nor a reason of its row support."""
    if any(not numbers for numbers in row.reasons.values()):
        return []  # a reason for all of them
    values = [value for name in row.records for value in numbers_of(records[name])]
    excused = {number for numbers in row.reasons.values() for number in numbers}
    return [
        number
        for number in section.numbers
        if number.rstrip("%") not in excused and not any(says(number, value) for value in values)
    ]


def numbers_of(record: Any) -> Iterable[float]:
    """All numbers of a record."""
    if isinstance(record, bool) or record is None:
        return
    if isinstance(record, int | float):
        yield record
    elif isinstance(record, Mapping):
        for each in record.values():
            yield from numbers_of(each)
    elif isinstance(record, list):
        for each in record:
            yield from numbers_of(each)


def says(number: str, value: float) -> bool:
    """Whether a number on a page is a record's value, to the digits shown.

    A percentage is a hundred times the value. A number without digits after the point and without
    a percent sign is a count, and must be equal.
    """
    text, percent = number.rstrip("%"), number.endswith("%")
    shown, digits = float(text.replace("−", "-")), len(text.partition(".")[2])
    if not digits and not percent:
        return shown == value
    half = 0.5 * 10.0**-digits + 1e-9
    return abs(shown - (100 if percent else 1) * value) <= half


def disagreements(records: Records) -> list[str]:
    """Sections with numbers that have no row, no record, or another value; one line each."""
    known = rows()
    found = []
    every = (each for page in PAGES for each in sections(page, records))
    for section in (each for each in every if each.link not in OWN):
        if not (section.numbers or section.quantities or section.written):
            continue
        row = row_of(section, known)
        if row is None:
            shown = ", ".join((section.numbers + section.quantities)[:6])
            found.append(f"{section.link}: {TABLE} has no row for it ({shown})")
        elif unknown := row.reasons.keys() - set(REASONS):
            found.append(f"{TABLE}: {section.link} has an unknown reason: {min(unknown)}")
        elif UNKEPT & row.reasons.keys() and "no record" not in section.text.lower():
            found.append(f"{section.link}: must say that there is no record of its figures")
        elif missing := [name for name in row.records if name not in records]:
            found.append(f"{section.link}: there is no record {', '.join(missing)}")
        elif wrong := unsupported(section, row, records):
            found.append(f"{section.link}: no record says {', '.join(wrong)}")
    return found
