"""Tables and sentences of the documents that are written from records.

They are between `<!-- NAME -->` and `<!-- end of NAME -->`; `fill` rewrites them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import family_renderer as family
import time_renderers as times
from kept_records import MODELS, ROOT, Records, is_stale
from renderers import (
    BEFORE,
    EVERYDAY_COCO,
    OF_MODEL,
    STALE,
    Render,
    before,
    benchmark,
    errors,
    fairer,
    faithful,
    family_cost,
    first_minutes,
    half_features,
    history,
    listed,
    looked,
    notes,
    people_of_card,
    people_of_readme,
    pointing,
    pointing_of_readme,
    scores,
    sizes,
    unsure_words,
    wrong_words,
)

_ROWS = [(model, data) for model, sets in OF_MODEL.items() for data in sets]


class Part(NamedTuple):
    """A part of a page that is written from records.

    Attributes:
        needs: The records; without them the part is unchanged.
        render: Writes it.
    """

    needs: tuple[str, ...]
    render: Render


def _scores(rows: Sequence[tuple[str, str]], *, whole: bool = False) -> Part:
    return Part(tuple(f"{model}_{data}" for model, data in rows), scores(rows, whole=whole))


def _people(*models: str) -> tuple[str, ...]:
    return tuple(f"{model}_{data}_errors" for model in models for data in EVERYDAY_COCO)


def _grounds(model: str) -> tuple[str, ...]:
    return (f"{model}_ground", f"{model}_ground_human")


def _faithful(name: str, *wanted: str) -> Part:
    return Part((name,), faithful(name, wanted))


_ALL = ("faithful", "explained", "classes", "trust")
BLOCKS: dict[str, dict[str, Part]] = {
    "README.md": {"scores": _scores([*_ROWS[:3], ("flickr8k", "flickr8k")])},
    "docs/results.md": {
        "scores": _scores(_ROWS, whole=True),
        "training of flickr8k": Part(("flickr8k_training",), history("flickr8k")),
        "training of everyday": Part(("everyday_training",), history("everyday")),
    },
    "docs/attention.md": {
        "pointing of everyday": Part(_grounds("everyday"), pointing("everyday")),
        "pointing of flickr8k": Part(_grounds("flickr8k"), pointing("flickr8k")),
        "sizes": Part(("everyday_sizes",), sizes),
        "wrong words": Part(_grounds("everyday"), wrong_words("everyday")),
        "faithful": _faithful("everyday_faithful", *_ALL),
        "faithful pixels": _faithful("everyday_faithful", "pixels"),
        "faithful human": _faithful("everyday_faithful_human", *_ALL),
        "faithful other": _faithful("everyday_faithful_other", "faithful"),
    },
    "docs/attention-family.md": {
        "family scores": Part(("family",), family.scores),
        "family lengths": Part(("family",), family.lengths),
        "family maps": Part(("family",), family.maps),
        "hard": Part(("family",), family.hard),
        "family cost": Part(("family_cost",), family_cost),
    },
    "docs/limits.md": {
        "words of everyday": Part(("everyday_calibration",), unsure_words("everyday")),
        "words of flickr8k": Part(("flickr8k_calibration",), unsure_words("flickr8k")),
        "notes of everyday": Part(("everyday_calibration",), notes("everyday")),
        "notes of flickr8k": Part(("flickr8k_calibration",), notes("flickr8k")),
    },
    "docs/performance.md": {
        "benchmark: training and search": Part(
            ("benchmark",), benchmark("training step, fp32", "training step, bf16", "search")
        ),
        "benchmark: epochs and memory": Part(
            ("benchmark",), benchmark("epoch", "the same", "first epoch", "peak memory")
        ),
        "before": Part(tuple(f"{model}_before_{data}" for model, data in BEFORE), before),
        "benchmark: the rest": Part(
            ("benchmark",), benchmark("showattend", "evaluation", "another model", "extraction")
        ),
        "page times": Part(("page_times",), times.waits),
        "growth": Part(("growth",), times.growth),
    },
    "docs/scaling.md": {
        "rates": Part(("rates",), times.rates),
        "projection": Part(("rates",), times.projection),
        "memory": Part(("streaming",), times.memory),
        "shards": Part(("streaming",), times.shards_against_folder),
        "messages": Part(("messages",), times.messages),
        "workers": Part(("workers",), times.workers),
        "costs": Part(("costs",), times.costs),
    },
    "docs/reliability.md": {
        "fuzz": Part(("fuzz",), times.fuzz),
        "kills": Part(("kills",), times.kills),
    },
    "docs/first-minutes.md": {"first minutes": Part(("first_minutes",), first_minutes)},
    "docs/maps.md": {"looked": Part(tuple(f"{model}_looked" for model in MODELS), looked)},
    "docs/errors.md": {
        "errors": Part(("everyday_everyday_errors",), errors("everyday_everyday_errors"))
    },
    "docs/errors_flickr8k.md": {
        "errors": Part(("flickr8k_flickr8k_errors",), errors("flickr8k_flickr8k_errors"))
    },
    "docs/reproduce.md": {"by hand": Part((), times.commands), "records": Part((), listed)},
    **{
        f"assets/model/{model}/README.md": {
            "scores": _scores([(model, data) for data in OF_MODEL[model]], whole=True),
            "pointing": Part(_grounds(model), pointing(model)),
        }
        for model in MODELS
    },
}
"""Tables, by page and name; the parts of a record that is not kept yet stay as they are."""
SENTENCES: dict[str, dict[str, Part]] = {
    "README.md": {
        "people": Part(_people(*MODELS), people_of_readme),
        "pointing": Part(("everyday_ground",), pointing_of_readme),
    },
    "docs/performance.md": {"fairer": Part(("benchmark",), fairer)},
    "docs/scaling.md": {"two processes": Part(("rates",), times.two_processes)},
    "docs/reproduce.md": {f"kept {name}": Part((name,), times.link(name)) for name in times.MARKED},
    "docs/training.md": {"half features": Part(("everyday_half_features",), half_features)},
    **{
        f"assets/model/{model}/README.md": {"people": Part(_people(model), people_of_card(model))}
        for model in MODELS
    },
}
"""Parts of running text, by page and name."""
PAGES = sorted({*BLOCKS, *SENTENCES})


def needed() -> set[str]:
    """The names of all records that a page is written from."""
    parts = (part for page in (*BLOCKS.values(), *SENTENCES.values()) for part in page.values())
    return {name for part in parts for name in part.needs}


def _pattern(name: str) -> re.Pattern[str]:
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    return re.compile(f"{re.escape(begin)}(.*?){re.escape(end)}", re.DOTALL)


def filled(page: str, text: str, records: Records) -> str:
    """A page's text with its tables and sentences rewritten.

    Raises:
        KeyError: The page lacks one of them.
    """
    for name, part in _parts(page, records).items():
        content = part.render(records)
        if name in BLOCKS.get(page, {}):
            stale = any(is_stale(records[each]) for each in part.needs)
            content = "\n\n".join(["", *([STALE] if stale else []), content, ""])
        found = _pattern(name).search(text)
        if found is None:
            raise KeyError(f"{page}: has no <!-- {name} --> ... <!-- end of {name} -->")
        if found[1].split() != content.split():  # lines may be wrapped differently
            text = text[: found.start(1)] + content + text[found.end(1) :]
    return text


def _parts(page: str, records: Records) -> dict[str, Part]:
    """The parts of a page whose records exist."""
    parts = BLOCKS.get(page, {}) | SENTENCES.get(page, {})
    return {name: part for name, part in parts.items() if records.keys() >= set(part.needs)}


def without_tables(page: str, text: str, records: Records) -> str:
    """A page's text without the parts written from existing records."""
    for name in _parts(page, records):
        text = _pattern(name).sub("", text)
    return text


def fill(records: Records) -> list[Path]:
    """Rewrite all tables and sentences; return the pages that changed."""
    changed = []
    for page in PAGES:
        path = ROOT / page
        old = path.read_text(encoding="utf-8")
        new = filled(page, old, records)
        if new != old:
            path.write_text(new, encoding="utf-8")
            changed.append(path)
    return changed
