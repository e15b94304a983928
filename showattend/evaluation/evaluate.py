"""Score a model, or existing captions, against human captions."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from showattend import __version__
from showattend.data.readers import read_dataset, read_text, shown_json
from showattend.data.records import Record
from showattend.evaluation.scores.metrics import ImageId, Scores, score_captions
from showattend.evaluation.scores.wording import wording
from showattend.exceptions import DataError, ImageError
from showattend.images.photo_file import PhotoFile
from showattend.model.record_schema import SETTINGS, shallow
from showattend.model.score_settings import SEARCH, caption_settings, search_settings
from showattend.system.files import spare
from showattend.system.matching import name_key
from showattend.system.provenance import DIGITS, file_digest, joint_digest, stamp

if TYPE_CHECKING:
    from showattend.captioner import Captioner

Progress = Callable[[str, int, int], None]


def evaluate(
    annotations: Path,
    *,
    captioner: Captioner | None = None,
    images: Path | None = None,
    results: Path | None = None,
    batch_size: int = 32,
    split: str | None = None,
    allow_missing: bool = False,
    progress: Progress | None = None,
    output: Path | None = None,
    **search: float | None,
) -> dict[str, Any]:
    """Score a model's captions, or captions from another source, against human captions.

    Args:
        annotations: Human captions, in any format of ``read_dataset``.
        captioner: The model that captions the images. Give either this or ``results``.
        images: The folder of the images; None takes their paths from the annotations.
        results: Existing captions: COCO's results format, the output of this function or of
            ``showattend caption`` (JSON Lines), or a mapping from image id to caption.
        batch_size: Number of images per forward pass.
        split: The split to score, if the annotations have several.
        allow_missing: Accept ``results`` without captions for some images, and score the others.
        progress: Called with a label, the number of images done, and the total.
        output: A file that the caller will write afterwards; must not be one of the images.
        **search: Options of the model's search (`score_settings.SEARCH`); None or none uses the
            model's default.

    Returns:
        Plain values: metrics, by the names in ``METRICS``; captions, each with its image_id, its
        scores, its BLEU counts (`scores.statistics.BLEU_COUNTS`) and the mean number of words of
        its references; statistics; skipped, the images that could not be opened; notes, one line
        for each caveat; settings, how captions and scores were made (for ``results``, as far as
        that file records it); attention, a summary of the model's maps
        (`showattend.evaluation.scores.map_statistics`); provenance
        (`showattend.system.provenance.stamp`), from which `evaluation.reproduce` builds the command
        that repeats them.

    Raises:
        ValueError: Both or neither of ``captioner`` and ``results`` are given.
        DataError: A file cannot be read, the captions and annotations are for different images,
            or no image can be opened.
        UserError: ``output`` is one of the images.
    """
    if (captioner is None) == (results is None):
        raise ValueError("give either a captioner or results")
    started = time.perf_counter()
    records = read_references(annotations, images, split)
    if output is not None:
        spare((record.path for record in records), output)
    references: dict[ImageId, Sequence[str]] = {r.image_id: r.captions for r in records}
    skipped: list[dict[str, Any]] = []
    settings: dict[str, Any] = {
        "annotations": str(annotations),
        "image_folder": None if images is None else str(images),
        "split": records[0].split,
    }
    inputs: dict[str, Any] = {"data": data_digests(annotations, records)}
    maps: dict[str, float] = {}
    if captioner is not None:
        given = {key: value for key, value in search.items() if value is not None}
        captions, maps, read = _generate(captioner, records, given, batch_size, skipped, progress)
        inputs["data"]["images"] = read
        if not captions:
            raise DataError(
                f"{annotations}: none of its {len(records)} images can be opened "
                f"(for example {skipped[0]['problem']}); check --images"
            )
        settings |= caption_settings(captioner, **given) | {"batch_size": batch_size}
        inputs |= caption_inputs(captioner, settings)
    else:
        assert results is not None
        inputs["results"] = file_digest(results)
        captions = read_results(results, records)
        settings |= made_with(results)
        settings["results"] = str(results)
    captioned = time.perf_counter()
    scores = score_captions(references, captions, allow_missing or captioner is not None)
    settings |= {
        "images": len(scores.per_image),
        "tokenizer": scores.tokenizer,
        "scorer": f"pycocoevalcap {version('pycocoevalcap')}",
        "showattend": __version__,
        "python": platform.python_version(),
        "seconds": {
            "captions": round(captioned - started, 2),
            "scores": round(time.perf_counter() - captioned, 2),
        },
    }
    return {
        "metrics": scores.metrics,
        "captions": [
            {
                "image_id": i,
                "caption": captions[i],
                "scores": each,
                "bleu": scores.bleu[i],
                "reference_words": scores.reference_words[i],
            }
            for i, each in scores.per_image.items()
        ],
        "statistics": _statistics(scores),
        "attention": maps,
        "skipped": skipped,
        "notes": [*skipped_note(skipped, len(records)), *scores.missing, *_trouble(maps)],
        "settings": settings,
        "provenance": stamp(None if captioner is None else captioner.device, **inputs),
    }


def caption_inputs(captioner: Captioner, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the inputs that captions depend on, for `stamp`.

    Args:
        captioner: The model.
        settings: The settings of its captions (`caption_settings`).
    """
    return {
        "model": captioner.digests(),
        "search": search_settings(settings),
        "size": settings["size"],
        "precision": settings["precision"],
    }


def data_digests(annotations: Path, records: Sequence[Record]) -> dict[str, Any]:
    """Compute the digests of a data set.

    Args:
        annotations: Its file.
        records: Its images.

    Returns:
        annotations, of the file; references, of the human captions by image; images, None, since
        only those who read the image files know their digest.
    """
    content = json.dumps([(str(r.image_id), r.captions) for r in records])
    return {
        "annotations": file_digest(annotations),
        "references": hashlib.sha256(content.encode()).hexdigest()[:DIGITS],
        "images": None,
    }


def read_references(
    annotations: Path, images: Path | None = None, split: str | None = None
) -> list[Record]:
    """Read the records of one split; ``split`` may be None if there is only one.

    Raises:
        DataError: The file cannot be read, has no such split, or has several and none is named.
    """
    records = read_dataset(annotations, images)
    splits = sorted({record.split for record in records})
    if split is None:
        if len(splits) > 1:
            raise DataError(
                f"{annotations}: has the splits {', '.join(splits)}; select one with --split"
            )
        return records
    chosen = [record for record in records if record.split == split]
    if not chosen:
        raise DataError(f"{annotations}: has no split {split!r}, but {', '.join(splits)}")
    return chosen


def skipped_note(skipped: Sequence[Mapping[str, Any]], total: int) -> list[str]:
    """One line about the images left out, if any."""
    if not skipped:
        return []
    return [f"{len(skipped)} of {total} images are left out (the first: {skipped[0]['problem']})"]


def _generate(
    captioner: Captioner,
    records: Sequence[Record],
    options: Mapping[str, Any],
    batch_size: int,
    skipped: list[dict[str, Any]],
    progress: Progress | None,
) -> tuple[dict[ImageId, str], dict[str, float], str]:
    """Caption each image that can be opened, and summarise the maps; with the files' digest.

    Images that cannot be opened are appended to ``skipped``.
    """
    photos = (PhotoFile(record.path) for record in records)
    stream = captioner.stream(photos, batch_size=batch_size, **options)
    import torch  # imported here because existing captions are scored without it

    from showattend.evaluation.scores.map_statistics import describe_maps

    captions: dict[ImageId, str] = {}
    maps: list[torch.Tensor] = []
    digests: list[str | None] = []
    for done, (record, (photo, result)) in enumerate(zip(records, stream, strict=True), 1):
        digests.append(cast("PhotoFile", photo).digest)
        if isinstance(result, ImageError):
            skipped.append({"image_id": record.image_id, "problem": str(result)})
        else:
            captions[record.image_id] = result.raw
            if captioner.looks:
                maps.append(torch.from_numpy(result.attention))
        if progress is not None:
            progress("Captioning", done, len(records))
    return captions, describe_maps(maps), joint_digest(digests)


def read_results(path: Path, records: Sequence[Record], others: bool = False) -> dict[ImageId, str]:
    """Read captions from a file, by the image ids of the records.

    The file may name an image by its id or by its file name.

    Args:
        path: A JSON list of {"image_id": ..., "caption": ...} (COCO's results format), an object
            whose "captions" is such a list (the output of ``evaluate``), an object from image id
            to caption, or JSON Lines of {"image_id" or "image": ..., "caption": ...}.
        records: The images to expect.
        others: Leave out images that are not in the records; otherwise they are an error.

    Raises:
        DataError: The file has another format, names an image that is not in the records, has
            two captions for one image, or none at all.
    """
    files = Counter(record.path.name for record in records)
    by_name: dict[str, ImageId] = {
        record.path.name: record.image_id for record in records if files[record.path.name] == 1
    }
    by_name |= {str(record.path): record.image_id for record in records}
    by_name |= {str(record.image_id): record.image_id for record in records}
    keys = Counter(map(name_key, by_name))
    by_key = {name_key(name): i for name, i in by_name.items() if keys[name_key(name)] == 1}
    captions: dict[ImageId, str] = {}
    unknown = []
    for name, caption in _rows(path):
        names = (name, Path(name).name)
        image_id = next((by_name[each] for each in names if each in by_name), None)
        if image_id is None:  # other case, accents, spaces or slashes
            key = name_key(name)
            image_id = by_key.get(key, by_key.get(key.rpartition("/")[2]))
        if image_id is None and files[Path(name).name] > 1:
            raise DataError(
                f"{path}: {name} may be any of {files[Path(name).name]} images of that file name; "
                "name them by image_id"
            )
        if image_id is None:
            unknown.append(name)
        elif image_id in captions:
            raise DataError(f"{path}: has two captions of image {name}; give one per image")
        else:
            captions[image_id] = caption
    if unknown and not others:
        raise DataError(
            f"{path}: {len(unknown)} captions are for images that the annotations do not have "
            f"(for example {', '.join(unknown[:3])})"
        )
    if not captions and not unknown:
        raise DataError(f"{path}: holds no captions")
    return captions


def made_with(path: Path) -> dict[str, Any]:
    """The settings that ``evaluate`` recorded in a results file; empty for other formats."""
    try:
        content = json.loads(read_text(path))
        settings: Any = content.get("settings") if isinstance(content, dict) else None
        SETTINGS(settings, "settings")
        shallow(settings, "settings")
    except (ValueError, RecursionError):
        return {}
    if "model" not in settings:
        return {}
    return {
        key: settings[key] for key in ("model", *SEARCH, "size", "precision") if key in settings
    }


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the (image, caption) pairs of a results file."""
    try:
        content = _parsed(read_text(path))
    except RecursionError:
        raise DataError(f"{path}: broken JSON (nested too deeply)") from None
    except ValueError as error:
        raise DataError(f"{path}: is neither JSON nor JSON Lines ({error})") from error
    if isinstance(content, dict) and isinstance(content.get("captions"), list):
        content = content["captions"]
    if isinstance(content, dict):
        content = [{"image_id": name, "caption": caption} for name, caption in content.items()]
    for row in content if isinstance(content, list) else [content]:
        name = row.get("image_id", row.get("image")) if isinstance(row, dict) else None
        if not isinstance(name, int | str) or not isinstance(row.get("caption"), str):
            raise DataError(
                f'{path}: expected {{"image_id": ..., "caption": "..."}}, found {shown_json(row)}'
            )
        yield str(name), row["caption"]


def _parsed(text: str) -> Any:
    """Parse JSON, or JSON Lines into a list."""
    try:
        content = json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    one_line = isinstance(content, dict) and "caption" in content  # a single line of JSON Lines
    return [content] if one_line else content


def _trouble(maps: Mapping[str, float]) -> list[str]:
    if not maps:
        return []
    from showattend.evaluation.scores.map_statistics import complain_of_maps

    trouble = complain_of_maps(maps)
    return [trouble] if trouble else []


def _statistics(scores: Scores) -> dict[str, Any]:
    """Measure the variety of the captions, in the tokens that were scored."""
    captions = [tokens.split() for tokens in scores.tokens.values()]
    return {
        "images": len(captions),
        "distinct_captions": len(set(scores.tokens.values())),
        "distinct_words": len({word for words in captions for word in words}),
        "mean_length": sum(map(len, captions)) / len(captions),
        "bad_endings": wording(captions)["bad_endings"],
    }
