"""Scores of a finished run: captions of the validation split, lengths, maps on objects, cost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from showattend.captioner import Captioner
from showattend.config import Config, to_dict
from showattend.data.mixture import name_sets
from showattend.data.readers import read_dataset
from showattend.data.records import Record
from showattend.evaluation.evaluate import evaluate, read_references
from showattend.evaluation.grounding.ground import ground
from showattend.evaluation.scores.lengths import likelihood_by_length, scores_by_length
from showattend.evaluation.scores.wording import wording
from showattend.exceptions import ImageError, UserError
from showattend.model.checkpoint import FILE_NAME, weights_digest
from showattend.model.model_schema import parse_json
from showattend.system.files import write_text
from showattend.text.tokenizer import tokenize
from showattend.training.decoder_cost import measure_cost
from showattend.training.inputs import dataset_file
from showattend.training.reporter import Reporter, Silent

GROUNDING = "grounding.json"


class Objects(NamedTuple):
    """Photographs with object masks, on which a run's maps are measured.

    Attributes:
        instances: A file in COCO's instances format.
        images: The folder of its photographs.
        captions: Human captions of the photographs, for which maps are measured too; None measures
            only the maps of the model's own captions.
    """

    instances: Path
    images: Path
    captions: Path | None = None


def score(config: Config, reporter: Reporter | None = None) -> dict[str, Any]:
    """Score a run's best model on all validation images by free decoding, as ``evaluate`` does.

    The model runs in float32, whatever the precision in training. ``data.val_images`` limits only
    the validation during training: its choice of images depends on the seed, so that runs would be
    scored on different images. Several data sets are scored one by one (``evaluation.sets``), and
    the metrics are the means over them.

    Args:
        config: The config of the run.
        reporter: Receives the progress; None for none.

    Returns:
        Plain values: metrics, wording, evaluation (how the scores were made), lengths (scores and
        log-probabilities by length), cost (`measure_cost`), captions and provenance.

    Raises:
        CheckpointError: There is no model.
        DataError: The data set cannot be read, or none of its images.
    """
    reporter, data = reporter or Silent(), config.data
    captioner = Captioner.from_pretrained(Path(config.train.out), device=config.train.device)
    names = name_sets([each.path for each in data.sets], [each.name for each in data.sets])
    parts: dict[str, dict[str, Any]] = {}
    likely: list[tuple[int, list[float]]] = []
    for which, name in enumerate(names):
        path, images = dataset_file(data, which=which)
        if len(names) > 1 and not any(r.split == "val" for r in read_dataset(path, images)):
            continue  # only for training
        records = read_references(path, images, "val")
        found = evaluate(
            path, captioner=captioner, images=images, split="val", progress=reporter.task
        )
        scored = {str(each["image_id"]) for each in found["captions"]}
        kept = [record for record in records if str(record.image_id) in scored]
        parts[name] = found | {"content": [(str(r.image_id), r.captions) for r in kept]}
        likely += _likelihoods(captioner, kept, reporter)
        if len(names) > 1:
            for each in found["captions"]:
                each["set"] = name
    captions = [each for part in parts.values() for each in part["captions"]]
    content = [each for part in parts.values() for each in part["content"]]
    every = list(parts.values())
    settings = every[0]["settings"]
    shared = [key for key in every[0]["metrics"] if all(key in part["metrics"] for part in every)]
    evaluation = {
        "data": to_dict(config)["data"]["path"],
        "files": {
            name: {key: part["settings"][key] for key in ("annotations", "image_folder")}
            for name, part in parts.items()
        },
        "split": "val",
        "images": len(captions),
        "references": hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12],
        "search": to_dict(captioner.search),
        "size": settings["size"],
        "precision": settings["precision"],
        "scorer": settings["scorer"],
        "tokenizer": settings["tokenizer"],
        "notes": list(dict.fromkeys(note for part in every for note in part["notes"])),
    }
    if len(parts) > 1:
        evaluation["sets"] = {
            name: {"images": len(part["captions"]), "metrics": part["metrics"]}
            for name, part in parts.items()
        }
    return {
        "metrics": {key: sum(p["metrics"][key] for p in every) / len(every) for key in shared},
        "wording": wording([each["caption"].split() for each in captions]),
        "evaluation": evaluation,
        "lengths": {
            "scores": scores_by_length(captions),
            "likelihood": likelihood_by_length(likely),
        },
        "cost": measure_cost(
            captioner.decoder, captioner.encoder.grid(captioner.preprocessing.size)
        )._asdict(),
        "captions": captions,
        "provenance": every[0]["provenance"]
        | {"data": {name: part["provenance"]["data"] for name, part in parts.items()}},
    }


def _likelihoods(
    captioner: Captioner, records: Sequence[Record], reporter: Reporter
) -> Iterator[tuple[int, list[float]]]:
    """Yield the number of words and the log-probabilities of captions with only known words."""
    for done, record in enumerate(records, 1):
        sentences = [tokenize(text) for text in record.captions]
        known = [
            text
            for text, words in zip(record.captions, sentences, strict=True)
            if words and all(word in captioner.vocabulary for word in words)
        ]
        if known:
            for said in captioner.attend_all(record.path, known):
                yield len(said.words), list(said.log_probs)
        reporter.task("Scoring human captions", done, len(records))


def ground_run(
    config: Config, objects: Objects, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Measure the maps of a run's best model on objects, and keep the result in ``grounding.json``.

    If the file already has the result for these weights and objects, it is returned.

    Args:
        config: The config of the run.
        objects: The photographs with object masks.
        reporter: Receives the progress; None for none.

    Returns:
        "own", for the model's own captions, and "human", if there are human captions. Each holds
        the figures of `showattend.evaluation.grounding.ground.ground` without its lists of
        captions, or "problem", the reason why there are none (for example a decoder without maps).

    Raises:
        CheckpointError: There is no model.
        DataError: The instances or captions cannot be read.
        UserError: The result cannot be written.
    """
    reporter, out = reporter or Silent(), Path(config.train.out)
    files = [path for path in (objects.instances, objects.captions) if path is not None]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
    of = {"objects": digest, "weights": weights_digest(out / FILE_NAME)}
    path = out / GROUNDING
    try:
        kept: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        if kept.items() >= of.items():
            return kept
    except (OSError, ValueError, AttributeError):
        pass
    captioner = Captioner.from_pretrained(out, device=config.train.device)
    found: dict[str, Any] = dict(of)
    for name, captions in (("own", None), ("human", objects.captions)):
        if name == "human" and captions is None:
            continue
        try:
            measured = ground(
                objects.instances, objects.images, captioner, captions, progress=reporter.task
            )
            left_out = ("captions", "categories", "where")
            found[name] = {key: each for key, each in measured.items() if key not in left_out}
        except ImageError:
            raise
        except UserError as error:
            found[name] = {"problem": str(error)}
    write_text(path, json.dumps(found, indent=1) + "\n")
    return found
