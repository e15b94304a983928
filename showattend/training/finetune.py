"""Fine-tuning: train an existing model further on a user's own photographs and captions."""

from __future__ import annotations

import math
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from showattend.captioner import Captioner
from showattend.config import Config, override, to_dict
from showattend.data.prepare import prepare
from showattend.data.prepare_folder import draw_validation, read_folder
from showattend.data.readers import read_dataset, read_json
from showattend.data.records import Record
from showattend.evaluation.evaluate import evaluate
from showattend.exceptions import DataError, UserError
from showattend.model import checkpoint as checkpoints
from showattend.model.model_schema import items, number, or_null, section, text
from showattend.model.record_schema import COUNT, METRICS, figure
from showattend.system.files import sweep, write_bytes, write_json
from showattend.system.processes import leave
from showattend.text.tokenizer import sentence
from showattend.training.check import check
from showattend.training.recipe import CACHE_NAME, derive, with_temperature
from showattend.training.reporter import Reporter, default_reporter
from showattend.training.start import fit_temperature
from showattend.training.state import FILE_NAME as STATE_NAME
from showattend.training.state import can_go_on, check_folder, has_begun
from showattend.training.trainer import Trainer

REPORT_NAME = "finetune.json"
WORSE_NAME = "trained.safetensors"  # the trained model, if the start is kept instead
FEWEST_TRAIN, FEWEST_VAL = 4, 1
LISTED = 10  # the most skipped photographs to list
SHOWN = 4  # the most photographs whose captions are shown

_BEGUN = {"source": text(), "model": text(), "temperature": number(0.01, 100)}
_FINISHED = section(
    {
        "kept": text("trained", "start"),
        "model": text(),
        "images": section({"val": COUNT}),
        "before": METRICS,
        "after": METRICS,
        "gain": items(or_null(figure), 2, 2),
        "examples": items(section(dict.fromkeys(("photo", "before", "after", "people"), text()))),
        "skipped": items(text()),
        "unread": COUNT,
        "evaluate": items(text()),
        "notes": items(text()),
    },
    _BEGUN,
)
"""The report of a finished run, or `_BEGUN` for an unfinished one."""
_PREPARED = section({"skipped": items(text())})
"""report.json of the data set."""


def finetune(
    source: Path,
    out: Path,
    *,
    model: str | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Train a model further on a user's photographs, and compare it with the model it started from.

    The folder ``out`` receives the model, the training record and curves, the prepared data set
    (unless ``source`` already is one) and the returned report, as ``finetune.json``. If the trained
    model scores lower than the start on the validation images, the start is kept as the model, and
    the trained one is saved next to it as ``trained.safetensors``.

    Args:
        source: A folder of photographs with captions (`prepare_folder`), or a prepared data set. If
            it has no validation split, one is drawn (`validation_count`).
        out: The folder of the run.
        model: The model to start from: a shipped model's name, a folder or a file; None for the
            default.
        overrides: ``section.key=value`` of the config, to replace the recipe's values
            (`showattend.training.recipe`).
        resume: Continue an interrupted run.
        reporter: Receives progress and messages; None: bars in a notebook, the log elsewhere.

    Returns:
        Plain values: source, model and temperature, the start of the run; images, the number of
        images per split; kept, "trained" or "start"; before and after, the scores of the start and
        of the trained model on the validation images; loss, the validation losses of both; gain,
        the difference of their CIDEr and the half width of its 95 % interval (None for a single
        image); examples, captions of some validation images; skipped, a line for each photograph
        that was not prepared; unread, the number of other photographs that could not be read;
        evaluate, the arguments that score the model; settings, provenance, notes and seconds.

    Raises:
        CheckpointError: There is no such model, or nothing to resume.
        ConfigError: An override is invalid.
        DataError: There are no captions, too few photographs, or the folder holds another run.
        UserError: Several processes were started.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("finetune runs in one process; for several, use train and train.init_from")
    reporter = reporter or default_reporter()
    start = checkpoints.load(model)
    given = {"source": os.path.realpath(source), "model": model or checkpoints.DEFAULT_MODEL}
    report = _begin(out, source, given, resume)
    sweep([out, out / "data"])
    if "kept" in report:
        reporter.message("The run is already finished")
        _tidy(out)
        return report
    images = _folder_of(overrides)
    data, skipped = _gather(source, images, out, resume, reporter)
    records = read_dataset(data, images)
    splits = Counter(record.split for record in records)
    config = derive(
        start,
        model=given["model"],
        images=splits["train"],
        data=data,
        out=out,
        overrides=overrides,
    )
    check(config)
    captioner = Captioner.from_pretrained(given["model"], device=config.train.device)
    if "temperature" not in report:
        training = [record for record in records if record.split == "train"]
        report["temperature"] = fit_temperature(captioner, training)
    config = with_temperature(config, report["temperature"], overrides)
    write_json(out / REPORT_NAME, report)  # from here on the run can be resumed
    resume = resume and can_go_on(out)
    check_folder(out, to_dict(config), resume)
    reporter.message(
        f"{splits['train']:,} photographs: {config.train.epochs} epochs at a rate of "
        f"{config.train.lr:g}, {config.train.batch_size} photographs per step"
    )
    before = _score(captioner, data, images, reporter)
    record, losses = _train(config, resume, reporter)
    trained = out / WORSE_NAME  # exists if an earlier process was killed just before the end
    if not trained.exists():
        trained = out / checkpoints.FILE_NAME
    captioner = Captioner.from_pretrained(trained, device=config.train.device)
    after = _score(captioner, data, images, reporter)
    # With few images, CIDEr may not change at all: then the lower loss decides.
    ranks = [
        (each["metrics"]["CIDEr"], -loss)
        for each, loss in zip((before, after), losses, strict=True)
    ]
    better = ranks[1] > ranks[0]
    if not better:
        if trained.name != WORSE_NAME:
            write_bytes(out / WORSE_NAME, trained.read_bytes())
        checkpoints.save(out, start)
    used = {split: record["data"][f"{split}_images"] for split in ("train", "val")}
    wanted = {"train": config.data.train_images, "val": config.data.val_images}
    report |= {
        "images": used,
        "kept": "trained" if better else "start",
        "before": before["metrics"],
        "after": after["metrics"],
        "loss": losses,
        "gain": _gain(before["captions"], after["captions"]),
        "examples": _examples(records, before["captions"], after["captions"]),
        "skipped": skipped,
        "unread": sum(min(splits[s], wanted[s] or splits[s]) - used[s] for s in used),
        "evaluate": ["--annotations", str(data), "--split", "val"]
        + ([] if images is None else ["--images", str(images)]),
        "settings": {"before": before["settings"], "after": after["settings"]},
        "provenance": {"before": before["provenance"], "after": after["provenance"]},
        "notes": after["notes"],
        "seconds": record["seconds"],
    }
    write_json(out / REPORT_NAME, report)
    _tidy(out)
    return report


def _train(config: Config, resume: bool, reporter: Reporter) -> tuple[dict[str, Any], list[float]]:
    """Train; return the record, and the validation losses of the start and of the best epoch."""
    try:
        trainer = Trainer(config, reporter)
        start = trainer.validate()["val_loss"]  # before anything is trained or resumed
        record = trainer.run(resume)
    finally:
        leave()
    best = record["history"][record["best"]["epoch"] - 1]
    return record, [start, best["val_loss"]]


def validation_count(images: int) -> int:
    """Return how many photographs to validate on: a tenth, or a fifth of few; 1 to 500."""
    return max(1, min(round(images / 10), 500), min(10, images // 5))


# Before ----------------------------------------------------------------------------------------


def _begin(out: Path, source: Path, given: dict[str, Any], resume: bool) -> dict[str, Any]:
    """Read the folder's report, or start a new one.

    Raises:
        DataError: There are no photographs, the folder holds a run, there is none to resume, or it
            was started with another source or model.
    """
    if not source.exists():
        raise DataError(
            f"{source}: no such folder or file; give a folder of photographs with captions, or a "
            "dataset.jsonl"
        )
    if os.path.realpath(out) == given["source"]:
        raise DataError(f"{out}: holds the photographs; give --out another folder")
    path = out / REPORT_NAME
    before = read_json(path) if path.exists() else {}
    if not isinstance(before, dict):
        raise DataError(f"{path}: not written by finetune; give another --out")
    if not resume:
        if "kept" in before or has_begun(out):
            raise DataError(f"{out}: holds a run already; add --resume, or give another --out")
        return given
    try:
        (_FINISHED if "kept" in before else section({}, _BEGUN))(before, "it")
    except ValueError as error:
        raise DataError(f"{path}: damaged, or not written by finetune ({error})") from None
    if not before:
        raise DataError(f"{out}: no run of finetune to resume; start without --resume")
    for key, value in given.items():
        if before.get(key) != value:
            raise DataError(
                f"{out}: was started with the {key} {before.get(key)}, not {value}; give that one, "
                "or another --out"
            )
    return before


def _gather(
    source: Path, images: Path | None, out: Path, resume: bool, reporter: Reporter
) -> tuple[Path, list[str]]:
    """Prepare the data set, if it is not prepared yet.

    Returns:
        The data set's file, and a line for each photograph that was left out.

    Raises:
        DataError: There are no captions, or too few photographs.
    """
    folder = out / "data"
    prepared = folder / "dataset.jsonl"
    if resume and prepared.is_file():
        report = read_json(folder / "report.json")
        try:
            _PREPARED(report, "it")
        except ValueError as error:
            raise DataError(f"{folder / 'report.json'}: damaged ({error})") from None
        return prepared, list(report["skipped"])
    if source.is_dir() and not (source / "dataset.jsonl").is_file():
        records, skipped = read_folder(source)
        if not records:
            raise DataError(
                f"{source}: none of its photographs has a caption (the first: {skipped[0]}); "
                "write captions into photo.txt next to photo.jpg, one per line, or captions.csv"
            )
    else:
        records, skipped = read_dataset(source, images), []
        if any(record.split == "val" for record in records):
            _enough(source, records, [])
            return (source / "dataset.jsonl" if source.is_dir() else source), []

    def draw(usable: list[Record], left_out: list[str]) -> list[Record]:
        if all(record.split != "val" for record in usable):
            count = sum(record.split == "train" for record in usable)
            if count > FEWEST_TRAIN:
                usable = draw_validation(usable, validation_count(count))
        _enough(source, usable, left_out)
        return usable

    report = prepare(
        records, folder, min_count=1, skipped=skipped, draw=draw, progress=reporter.task
    )
    for line in report.skipped[:LISTED]:
        reporter.message(f"skipped: {line}")
    if len(report.skipped) > LISTED:
        reporter.message(
            f"skipped: and {len(report.skipped) - LISTED:,} more: see {folder / 'report.json'}"
        )
    return prepared, list(report.skipped)


def _enough(source: Path, records: Sequence[Record], skipped: Sequence[str]) -> None:
    found = Counter(record.split for record in records)
    if found["train"] >= FEWEST_TRAIN and found["val"] >= FEWEST_VAL:
        return
    left = f" ({len(skipped)} left out, the first: {skipped[0]})" if skipped else ""
    raise DataError(
        f"{source}: {found['train']} photographs with captions to train on and {found['val']} to "
        f"validate on{left}; finetune needs at least {FEWEST_TRAIN + FEWEST_VAL}, "
        f"{FEWEST_TRAIN} to train on and {FEWEST_VAL} to validate on"
    )


def _folder_of(overrides: Sequence[str]) -> Path | None:
    """Return the image folder given as ``data.images=DIR``, or None."""
    values: dict[str, Any] = {}
    override(values, overrides)
    images = values.get("data", {}).get("images")
    return None if images is None else Path(str(images))


# After -----------------------------------------------------------------------------------------


def _score(
    captioner: Captioner, data: Path, images: Path | None, reporter: Reporter
) -> dict[str, Any]:
    """Score a model on the validation images with `evaluate`."""
    return evaluate(data, captioner=captioner, images=images, split="val", progress=reporter.task)


def _gain(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> tuple[float, float | None]:
    """Return the mean difference of the images' CIDEr, and the half width of its 95 % interval."""
    pairs = zip(before, after, strict=True)
    each = [new["scores"]["CIDEr"] - old["scores"]["CIDEr"] for old, new in pairs]
    half = 1.96 * stdev(each) / math.sqrt(len(each)) if len(each) > 1 else None
    return fmean(each), half


def _examples(
    records: Sequence[Record],
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
) -> list[dict[str, str]]:
    """Return the captions of a few validation images, chosen at regular intervals."""
    known = {record.image_id: record for record in records}
    pairs = list(zip(before, after, strict=True))
    step = max(1, len(pairs) // SHOWN)
    return [
        {
            "photo": str(known[old["image_id"]].path),
            "before": sentence(old["caption"].split()),
            "after": sentence(new["caption"].split()),
            "people": known[old["image_id"]].captions[0],
        }
        for old, new in pairs[::step][:SHOWN]
    ]


def _tidy(out: Path) -> None:
    """Remove the files that only an interrupted run needs, much larger than the model."""
    shutil.rmtree(out / CACHE_NAME, ignore_errors=True)
    (out / STATE_NAME).unlink(missing_ok=True)
