"""A model as a folder in the layout of the Hugging Face Hub, with a model card in its format.

The folder holds the model's own files, byte for byte, and README.md. `hf upload user/name DIR`
(the command of huggingface_hub) publishes it; ``--model hf:user/name`` loads it from there.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from showattend import __version__
from showattend.exceptions import CheckpointError, UserError, one_line
from showattend.model.checkpoint import (
    BESIDE,
    FILE_NAME,
    Checkpoint,
    find_model,
    load,
    shipped_models,
)
from showattend.model.description import describe
from showattend.model.hub import LIBRARY
from showattend.model.record_schema import check_record
from showattend.model.score_settings import describe_settings
from showattend.system.files import unwritable, writing_folder
from showattend.text.printable import visible

CARD = "README.md"
_FILES = (FILE_NAME, CARD, *BESIDE)
TAGS = ("image-captioning", "attention", "show-attend-and-tell", "interpretability")
_METRICS = {"BLEU": "bleu", "METEOR": "meteor", "ROUGE": "rouge", "CIDEr": "cider"}
PAPER = "1502.03044"


def write_hub_folder(
    model: str | None, out: Path, *, license: str | None = None, language: str = "en"
) -> dict[str, int]:
    """Write a model and its card as a folder for the Hub; it appears when it is complete.

    Args:
        model: A shipped model's name, a directory or a file; None for the default.
        out: The folder. One that this function wrote before is replaced.
        license: An identifier of the Hub, such as mit or cc-by-nc-4.0. None: mit for a shipped
            model, unknown for any other.
        language: The language of the captions, an ISO 639-1 code.

    Returns:
        The sizes of the files in bytes, by name.

    Raises:
        CheckpointError: There is no such model, or it is damaged.
        UserError: The folder holds other files or cannot be written, a value is invalid, or the
            model's own card cannot be read.
    """
    for key, value, form in (
        ("--license", license or "mit", r"[a-z0-9.-]+"),
        ("--language", language, r"[a-z]{2,3}"),
    ):
        if not re.fullmatch(form, value):
            raise UserError(f"{key} is {value!r}; write it as the Hub does, such as mit or en")
    source = find_model(model)
    checkpoint = load(source)
    _check(out, source)
    if license is None:
        shipped = source.parent in shipped_models().values()
        license = "mit" if shipped else "unknown"
    name = visible(source.parent.name if source.name == FILE_NAME else source.stem)
    written = _own_card(source)
    card = model_card(
        checkpoint, name, describe(source), license=license, language=language, written=written
    )
    try:
        with writing_folder(out, replaces=_FILES) as aside:
            shutil.copyfile(source, aside / FILE_NAME)
            for each in BESIDE if source.name == FILE_NAME else ():
                if source.with_name(each).is_file():
                    shutil.copyfile(source.with_name(each), aside / each)
            (aside / CARD).write_text(card, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise unwritable(out, error) from error
    return {path.name: path.stat().st_size for path in sorted(out.iterdir())}


def _check(out: Path, source: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; give --hub a folder")
    if out.is_dir() and out.resolve() == source.parent.resolve():
        raise UserError(f"{out}: is the model's own folder; give --hub a new one")
    held = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if strange := held.difference(_FILES):
        raise UserError(f"{out}: holds other files ({min(strange)}); give --hub a new folder")
    parent = next(each for each in out.absolute().parents if each.exists())
    if not os.access(parent, os.W_OK):
        raise UserError(f"{out}: cannot be written (permission denied)")


def _own_card(source: Path) -> str:
    """The card next to a model, without front matter; its links into a checkout become text."""
    card = source.with_name(CARD)
    if source.name != FILE_NAME or not card.is_file():
        return ""
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UserError(f"{card}: cannot be read as text in UTF-8 ({one_line(error)})") from None
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", text).strip()


def model_card(
    checkpoint: Checkpoint,
    name: str,
    facts: str,
    *,
    license: str,
    language: str,
    written: str = "",
) -> str:
    """The model card: front matter as the Hub reads it, how to use the model, facts and scores.

    Args:
        checkpoint: The model.
        name: Its name.
        facts: Lines of `showattend info`.
        license: An identifier of the Hub.
        language: An ISO 639-1 code.
        written: The author's own card, which follows.

    Raises:
        CheckpointError: The model's record is damaged.
    """
    from huggingface_hub import ModelCardData

    try:
        check_record(checkpoint.record)
    except ValueError as error:
        raise CheckpointError(f"{name}: its record cannot be read ({error})") from None
    entries = _entries(checkpoint.record)
    results = [result for entry in entries for result in _results(entry)]
    data = ModelCardData(
        language=language,
        license=license,
        library_name=LIBRARY,
        pipeline_tag="image-to-text",
        tags=list(TAGS),
        metrics=list(dict.fromkeys(each.metric_type for each in results)) or None,
        model_name=name if results else None,
        eval_results=results or None,
    )
    # The path of the model is that of this machine.
    shown = "\n".join(line for line in facts.splitlines() if not line.startswith("model "))
    parts = [
        f"---\n{data.to_yaml()}\n---\n",
        f"# {name}\n",
        f"Show, Attend and Tell ([Xu et al. 2015](https://arxiv.org/abs/{PAPER})): a caption for a "
        "photograph, and a map for each word that shows where the model looked. Made by showattend "
        f"{__version__}.\n",
        "## Use\n",
        "```python\nfrom showattend import Captioner\n\n"
        'captioner = Captioner.from_pretrained("hf:USER/NAME")  # where this folder was uploaded\n'
        'caption = captioner.caption("photo.jpg")\n'
        'caption.save_overlay("figure.png")\n```\n',
        f"## Facts\n\n```text\n{shown}\n```\n",
    ]
    if entries:
        parts.append(f"## Scores\n\n{_table(entries)}\n")
    if written:
        parts.append(f"## Notes of the model's authors\n\n{_lower(written)}\n")
    return "\n".join(parts)


def _entries(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The record's scores with their settings; without any, the best of training's validation."""
    figures = record.get("figures")
    entries = [each for each in figures if "metrics" in each] if isinstance(figures, list) else []
    if entries or not (best := record.get("best")):
        return entries
    history: list[dict[str, Any]] = record.get("history") or []
    row = next((each for each in history if each.get("epoch") == best.get("epoch")), {})
    metrics = {key: row[key] for key in ("BLEU-4", "CIDEr") if key in row}
    settings = record.get("validation") or {}
    return [{"data": "training's validation", "settings": settings, "metrics": metrics}]


def _results(entry: Mapping[str, Any]) -> list[Any]:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="image-to-text",
            task_name="Image captioning",
            dataset_type=re.sub(r"\W+", "-", entry["data"].lower()).strip("-"),
            dataset_name=visible(entry["data"]),
            metric_type=next((v for k, v in _METRICS.items() if name.startswith(k)), name.lower()),
            metric_name=visible(name),
            metric_value=round(float(value), 4),
            metric_args=dict(entry["settings"]) or None,
        )
        for name, value in entry["metrics"].items()
    ]


def _table(entries: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for each in entries for name in each["metrics"]))
    rows = [["data", *names, "settings"], ["---", *("---:" for _ in names), "---"]]
    for each in entries:
        values = [
            f"{each['metrics'][name]:.3f}" if name in each["metrics"] else "" for name in names
        ]
        rows.append([each["data"], *values, describe_settings(each["settings"])])
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows)


def _cell(text: str) -> str:
    """What a record says, as a cell of a table."""
    return visible(text).replace("|", "\\|")


def _lower(text: str) -> str:
    """Headings of a card, one level lower and without the first, which is the title."""
    text = re.sub(r"\A# .*\n+", "", text)
    return re.sub(r"^#", "##", text, flags=re.MULTILINE)
