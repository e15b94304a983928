r"""Compare the captions of this code with those of another version.

    python scripts/same_as_before.py OTHER --model flickr8k --images DIR \
        --annotations captions_val.json --output before.json

OTHER is a commit of this repository, or a folder with another checkout. Both versions caption each
photograph in fp32, in separate processes, with the same model file. The script compares the words,
their log-probabilities, the maps on the model's grid, and the pixels that the network is given: a
caption may differ because a photograph is read differently. --output keeps the figures as a record.
The exit code is 1 if a caption differs, or a map by more than 1e-6.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

# Modules of showattend are imported where they are used: `caption` runs with another version.

ROOT = Path(__file__).parents[1]
TOLERANCE = 1e-6
"""Maps are the same up to this difference."""
SEARCH = ("beam_size", "length_penalty", "block_ngrams", "min_length", "max_length")


def caption(job: Path) -> None:
    """Caption photographs with the imported version of showattend.

    Args:
        job: A folder with ``job.json`` (model, photographs), to which captions.json is written
            (an entry for each photograph) and maps.npz (their maps [T, H, W], by number).
    """
    import showattend
    from showattend.captioner import Captioner

    given = json.loads((job / "job.json").read_text(encoding="utf-8"))
    captioner = Captioner.from_pretrained(given["model"], device="cpu", precision="fp32")
    entries: list[dict[str, Any]] = []
    maps = {}
    for path, found in captioner.stream([Path(each) for each in given["photographs"]]):
        if isinstance(found, Exception):
            entries.append({"problem": type(found).__name__})
            continue
        pixels = captioner.preprocessing.load_pixels(path)[0]
        maps[str(len(entries))] = np.asarray(found.attention)
        entries.append(
            {
                "words": list(found.words),
                "log_probs": [float(each) for each in found.log_probs],
                "pixels": hashlib.sha256(pixels.tobytes()).hexdigest(),
            }
        )
    about = {
        "package": str(Path(showattend.__file__).parents[1]),
        "search": {key: getattr(captioner.search, key) for key in SEARCH},
        "size": captioner.preprocessing.size,
    }
    np.savez(job / "maps.npz", **maps)  # type: ignore[arg-type]
    (job / "captions.json").write_text(json.dumps({"about": about, "captions": entries}))


def run(model: Path, photographs: Sequence[Path], tree: Path, job: Path) -> dict[str, Any]:
    """Run `caption` in a process that imports showattend from a folder.

    Returns:
        about: package, search, size; captions: an entry for each photograph, with its maps.

    Raises:
        UserError: It failed, or imported another version.
    """
    from showattend.exceptions import UserError

    job.mkdir()
    values = {"model": str(model), "photographs": [str(path) for path in photographs]}
    (job / "job.json").write_text(json.dumps(values), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, Path(__file__).resolve(), "--job", job],
        env=os.environ | {"PYTHONPATH": str(tree)},
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise UserError(f"{tree}: cannot caption with {model} ({lines[-1]})")
    found: dict[str, Any] = json.loads((job / "captions.json").read_text(encoding="utf-8"))
    if Path(found["about"]["package"]) != tree:
        raise UserError(
            f"{tree}: not a checkout of showattend; {found['about']['package']} was used"
        )
    with np.load(job / "maps.npz") as maps:
        for number, entry in enumerate(found["captions"]):
            if "words" in entry:
                entry["maps"] = maps[str(number)]
    return found


@contextmanager
def checkout(other: str) -> Iterator[tuple[Path, str]]:
    """Yield the folder of another version, and its commit if it is known.

    Args:
        other: A folder, or a commit of this repository.

    Raises:
        UserError: It is neither.
    """
    from showattend.exceptions import UserError

    if (Path(other) / "showattend").is_dir():
        tree = Path(other).resolve()
        yield tree, git(tree, "rev-parse", "HEAD").decode().strip()
        return
    content = git(ROOT, "archive", "--format=tar", other, "showattend")
    if not content:
        raise UserError(f"{other}: neither a checkout of showattend nor a commit of {ROOT}")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(content)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder).resolve(), git(ROOT, "rev-parse", other).decode().strip()


def git(tree: Path, *arguments: str) -> bytes:
    """The output of a git command; empty if it fails."""
    try:
        return subprocess.run(["git", "-C", tree, *arguments], capture_output=True).stdout
    except OSError:
        return b""


def compare(
    names: Sequence[str], before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Compare the captions of two versions.

    Args:
        names: Names of the photographs.
        before: The entries that `run` returned for the other version.
        now: Those for this version.

    Returns:
        photographs; unreadable, those that both refuse; same_pixels, those whose pixels are the
        same; same_words; same_maps, those of these whose maps are the same up to `TOLERANCE`;
        largest, the largest differences of maps and log_probs between the same words; differ, the
        other captions.
    """
    counts = dict.fromkeys(("unreadable", "same_pixels", "same_words", "same_maps"), 0)
    largest = {"maps": 0.0, "log_probs": 0.0}
    differ = []
    for name, one, other in zip(names, before, now, strict=True):
        if "problem" in one and "problem" in other:
            counts["unreadable"] += 1
            continue
        same_pixels = one.get("pixels") == other.get("pixels")
        counts["same_pixels"] += same_pixels
        if one.get("words") != other.get("words"):
            said = [" ".join(each.get("words", [])) or each.get("problem") for each in (one, other)]
            differ.append(
                {"image": name, "same_pixels": same_pixels, "before": said[0], "now": said[1]}
            )
            continue
        counts["same_words"] += 1
        if one["maps"].shape != other["maps"].shape:
            maps = 1.0
        else:
            maps = float(np.abs(one["maps"] - other["maps"]).max(initial=0))
        counts["same_maps"] += maps <= TOLERANCE
        log_probs = np.abs(np.subtract(one["log_probs"], other["log_probs"])).max(initial=0)
        largest["maps"] = max(largest["maps"], maps)
        largest["log_probs"] = max(largest["log_probs"], float(log_probs))
    return {"photographs": len(names), **counts, "largest": largest, "differ": differ}


def measure(
    other: str, model: str | None, images: Path, annotations: Path | None
) -> dict[str, Any]:
    """Caption with both versions and compare.

    Args:
        other: The other version, see `checkout`.
        model: A model's name, folder or file; None is the default one of this version.
        images: The folder of the photographs.
        annotations: A file of captions that names the photographs; None uses the whole folder.

    Returns:
        The figures of `compare`, with settings and provenance.

    Raises:
        UserError: There are no photographs, the other version is missing, or one of them fails.
    """
    from showattend.captioner import Captioner
    from showattend.evaluation.evaluate import caption_inputs, read_references
    from showattend.exceptions import UserError
    from showattend.images.finding import find_images
    from showattend.model.checkpoint import FILE_NAME, find_model
    from showattend.model.score_settings import caption_settings
    from showattend.system.provenance import file_digest, joint_digest, stamp

    if annotations:
        paths = [each.path for each in read_references(annotations, images)]
    else:
        paths, problems = find_images([str(images)], recursive=True)
        if not paths:
            raise UserError(problems[0] if problems else f"{images}: holds no photographs")
    paths = [path.resolve() for path in paths]
    file = find_model(model).resolve()
    captioner = Captioner.from_pretrained(model, device="cpu", precision="fp32")
    settings = caption_settings(captioner)
    with checkout(other) as (tree, commit), tempfile.TemporaryDirectory() as folder:
        chosen = file.parent if file.name == FILE_NAME else file
        with ThreadPoolExecutor(2) as pool:
            jobs = [Path(folder) / name for name in ("before", "now")]
            before, now = pool.map(partial(run, chosen, paths), (tree, ROOT), jobs)
    asked = ("search", "size")
    if any(before["about"][key] != now["about"][key] for key in asked):
        found = [{key: each["about"][key] for key in asked} for each in (before, now)]
        raise UserError(f"{model}: has other settings there: {found[0]}, and here {found[1]}")
    data = {
        "images": joint_digest(map(file_digest, paths)),
        "annotations": file_digest(annotations) if annotations else None,
    }
    return {
        "before": commit or None,
        **compare([path.name for path in paths], before["captions"], now["captions"]),
        "settings": settings,
        "provenance": stamp(captioner.device, data=data, **caption_inputs(captioner, settings)),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    from showattend.exceptions import UserError
    from showattend.system.files import write_json
    from showattend.system.provenance import remember_command

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", help="a commit, or a folder with another checkout")
    parser.add_argument("--model")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, help="names the photographs")
    parser.add_argument("--output", type=Path, help="keep the figures as a record (.json)")
    args = parser.parse_args(arguments)
    remember_command(sys.argv[1:] if arguments is None else arguments, "same_as_before.py")
    try:
        found = measure(args.other, args.model, args.images, args.annotations)
        if args.output:
            write_json(args.output, found)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    made = found["photographs"] - found["unreadable"]
    print(
        f"{made} photographs, model {found['settings']['model']}, fp32: the same pixels for "
        f"{found['same_pixels']}, the same words for {found['same_words']}, and the same maps to "
        f"{TOLERANCE:.0e} for {found['same_maps']}"
    )
    largest = found["largest"]
    print(
        f"largest differences: maps {largest['maps']:.1e}, log-probabilities "
        f"{largest['log_probs']:.1e}"
    )
    for each in found["differ"]:
        read = "the same pixels" if each["same_pixels"] else "other pixels"
        print(f"{each['image']} ({read}): {each['before']!r}, now {each['now']!r}")
    return int(found["same_maps"] < made)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        caption(Path(sys.argv[2]))
    else:
        sys.exit(main())
