r"""Compare the attention of several models, as Markdown tables.

    python scripts/ground_models.py --annotations instances.json --images DIR \
        --captions captions.json --out runs/grounding --last \
        previous=runs/ablation/6_projection/seed-0 current=runs/ablation/7_current/seed-0 \
        --pair current previous --tables pointing difference

Measures each model (NAME=RUN) like `showattend ground`, on its own captions and with --captions
also on human ones, and prints the selected --tables: pointing (the pointing game and the mass),
difference (for each --pair), words (right and wrong ones), confusions (of the last model), objects
(big ones, mentioned or not); and those of `showattend ground --faithful`, which take minutes per
model: faithful, pixels (of --pixels images with its own captions), explained, classes, trust; these
are for the explanations of --kinds, with removed cells replaced as --replace says. --into FILE NAME
replaces the text in FILE between <!-- NAME --> and <!-- end of NAME -->; --output FILE.json writes
a record of the figures, without the captions.

--last uses the weights of each run's last epoch instead of its best, for equal numbers of epochs.
RUN@SIZE sets the side of the input in pixels; RUN/start.safetensors is the model at the start of
that run's self-critical training. Results are cached in --out as long as model and data are the
same; empty that folder when the program has changed. The same command continues an interrupted run:
with --faithful, each photo is saved as it is measured. Runs that are missing, or with --last not
finished, are reported and left out, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from showattend.captioner import Captioner
from showattend.cli.terminal import bars
from showattend.decoding.explaining import KINDS
from showattend.evaluation.grounding import side_by_side
from showattend.evaluation.grounding.faithful_tables import beta_line, faithful_tables
from showattend.evaluation.grounding.faithfulness import REPLACEMENTS, Removal
from showattend.evaluation.grounding.ground import ground
from showattend.evaluation.grounding.pointing import PAPER_SIGMA
from showattend.exceptions import CheckpointError, UserError
from showattend.model import checkpoint as checkpoints
from showattend.model.checkpoint import Checkpoint, load_tensors
from showattend.model.score_settings import describe_settings
from showattend.system.device import choose_device
from showattend.system.files import write_json, write_text
from showattend.system.provenance import remember_command
from showattend.training.state import find_state

START = "start.safetensors"
TABLES = ("pointing", "difference", "words", "confusions", "objects")
FAITHFUL = ("faithful", "pixels", "explained", "classes", "trust")


def main(args: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--captions", type=Path, help="human captions, forced")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--last", action="store_true", help="weights of the last epoch")
    parser.add_argument("--pair", nargs=2, action="append", default=[], metavar=("ONE", "OTHER"))
    parser.add_argument("--tables", nargs="+", choices=(*TABLES, *FAITHFUL), default=list(TABLES))
    parser.add_argument("--replace", choices=REPLACEMENTS, default="mean", help="of --faithful")
    parser.add_argument("--pixels", type=int, default=0, help="images to blur, with own captions")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--into", nargs=2, metavar=("FILE", "NAME"))
    parser.add_argument("--output", type=Path, help="also write the figures as a record (.json)")
    parser.add_argument("--smooth", type=float, default=PAPER_SIGMA, help="see showattend ground")
    parser.add_argument(
        "--precision", default="fp32", help="fp32 (the default) has the least rounding"
    )
    given = parser.parse_intermixed_args(args)
    remember_command(sys.argv[1:] if args is None else args, "ground_models.py")
    if not 0 <= given.smooth <= 1:
        parser.error(f"--smooth is {given.smooth}; it must be from 0 to 1")
    # Split at the last equals sign, since a name may contain one ("λ = 1").
    named = {name: run for name, _, run in (each.rpartition("=") for each in given.models)}
    if "" in named:
        parser.error("give each model as NAME=RUN")
    if unknown := {name for pair in given.pair for name in pair} - named.keys():
        parser.error(f"--pair: no model is named {', '.join(sorted(unknown))}")

    missing = 0
    kinds = ("own", "human") if given.captions else ("own",)
    found: dict[str, dict[str, Any]] = {kind: {} for kind in kinds}
    for name, run in named.items():
        try:
            for kind, models in found.items():
                models[name] = measured(run, given.captions if kind == "human" else None, given)
        except CheckpointError as error:
            missing += 1
            print(f"{name} is left out: {error}", file=sys.stderr)
    text = "\n\n".join(
        part
        for kind, models in found.items()
        if models
        for part in (SAID[kind], how(models), *tables(models, given.pair, given.tables))
    )
    if given.output:
        write_json(given.output, record(found, given.pair))
    if given.into:
        put_into(Path(given.into[0]), given.into[1], text)
    else:
        print(text)
    return 1 if missing else 0


LONG = ("captions", "faithful", "provenance", "categories", "where")
"""What a record of several models leaves out of each."""
SAID = {"own": "Their own captions:", "human": "Human captions, forced:"}


def how(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Describe the settings of the captions, once if they are the same for all models."""
    told = {name: describe_settings(found["settings"]) for name, found in models.items()}
    if len(set(told.values())) == 1:
        return f"Settings: {next(iter(told.values()))}."
    return f"Settings: {'; '.join(f'{name}: {text}' for name, text in told.items())}."


def record(
    found: Mapping[str, Mapping[str, Mapping[str, Any]]], pairs: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """The figures of the models and the differences of the pairs, for each kind of captions."""
    made: dict[str, Any] = {}
    for kind, models in found.items():
        made[kind] = {
            "models": {
                name: {key: value for key, value in each.items() if key not in LONG}
                for name, each in models.items()
            },
            "differences": side_by_side.differences(models, _there(models, pairs)),
        }
        for each in models.values():
            # Sizes are in the settings of each; what else it says is the same for all.
            shared = {key: value for key, value in each["provenance"].items() if key != "size"}
            made["provenance"] = shared
    return made


def _there(models: Mapping[str, Any], pairs: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    return [(one, other) for one, other in pairs if {one, other} <= models.keys()]


def tables(
    models: Mapping[str, Mapping[str, Any]], pairs: Sequence[Sequence[str]], wanted: Sequence[str]
) -> list[str]:
    """The selected tables for the results of `ground` for each model."""
    there = side_by_side.differences(models, _there(models, pairs))
    made = {
        "pointing": lambda: side_by_side.pointing_table(models),
        "difference": lambda: side_by_side.difference_table(there) if there else "",
        "words": lambda: side_by_side.wrong_words_table(models),
        "confusions": lambda: side_by_side.confusion_table(models[list(models)[-1]]),
        "objects": lambda: side_by_side.objects_table(models),
    }
    texts = [text for name in TABLES if name in wanted and (text := made[name]())]
    for name, found in models.items():
        if "faithful" not in found:
            continue
        settings = found["faithful"]["settings"]
        texts.append(f"{name}; removed cells: {settings['replace']}, {settings['sentences']}.")
        made_of = faithful_tables(found["faithful"])
        texts += [each.markdown() for key, each in made_of.items() if key in wanted]
        if "trust" in wanted:
            texts += filter(None, [beta_line(found["faithful"])])
    return texts


def put_into(path: Path, name: str, text: str) -> None:
    """Replace the text between a document's markers.

    Raises:
        UserError: The document cannot be read or written, or has no such markers.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    try:
        document = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(document):
        raise UserError(f"{path}: has no {begin} ... {end}")
    write_text(path, pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", document))


def measured(run: str, captions: Path | None, given: argparse.Namespace) -> dict[str, Any]:
    """Run `ground` on a model, add the epoch and its validation CIDEr, and cache the result.

    Raises:
        CheckpointError: There is no such model, or with --last its run is not finished.
    """
    name, _, size = run.rpartition("@")
    run, size = (name, size) if name and size.isdecimal() else (run, "")
    start = Path(run) if Path(run).name == START else None
    model = checkpoints.find_model(start.parent if start else run)
    weights = start or (find_state(model.parent) if given.last else model)
    files = [weights, given.annotations, captions]
    stamps = [(str(f.resolve()), f.stat().st_mtime_ns, f.stat().st_size) for f in files if f]
    asked = (stamps, str(given.images.resolve()), given.precision, size, given.smooth)
    with_faithful = any(name in given.tables for name in FAITHFUL)
    if with_faithful:
        asked += (given.replace, given.pixels, *given.kinds)  # type: ignore[assignment]
    kept = given.out / f"{hashlib.sha256(repr(asked).encode()).hexdigest()[:16]}.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    checkpoint = checkpoints.load(model)
    history = checkpoint.record.get("history", [])
    epoch = checkpoint.record.get("best", {}).get("epoch")
    if start is not None:
        checkpoint.weights = load_tensors(start, "the weights of a run")[0]
        scored = [each for each in history if each["phase"] == "cross-entropy" and "CIDEr" in each]
        epoch = max(scored, key=lambda each: each["CIDEr"])["epoch"]
    elif given.last:
        checkpoint, history = last_epoch(checkpoint, weights)
        epoch = history[-1]["epoch"]
    captioner = Captioner.from_checkpoint(
        checkpoint, name=run, device=choose_device("auto"), precision=given.precision
    )
    if weights == model:
        captioner.file = model  # of which the record has the digest
    if size:
        captioner.resize(int(size))
    print(f"grounding {run} ...", file=sys.stderr, flush=True)
    asked_for = None
    if with_faithful:
        asked_for = Removal(
            given.replace,
            0 if captions else given.pixels,
            given.kinds,
            kept.with_suffix(".part"),
            True,
        )
    with bars() as progress:
        found = ground(
            given.annotations, given.images, captioner, captions, sigma=given.smooth,
            faithful=asked_for, progress=progress,
        )  # fmt: skip
    scores = {each["epoch"]: each.get("CIDEr") for each in history}
    found |= {"epoch": epoch, "CIDEr": scores.get(epoch)}
    given.out.mkdir(parents=True, exist_ok=True)
    write_json(kept, found)
    kept.with_suffix(".part").unlink(missing_ok=True)
    return found


def last_epoch(checkpoint: Checkpoint, state: Path) -> tuple[Checkpoint, list[dict[str, Any]]]:
    """The checkpoint with the weights of the run's last epoch, and the history up to it.

    If the run averages its weights, these are the averaged ones, which are validated and saved.

    Raises:
        CheckpointError: The run is not finished.
    """
    tensors, meta = load_tensors(state, "a training state")
    done, wanted = len(meta["progress"]["history"]), meta["config"]["train"]["epochs"]
    if done < wanted:
        raise CheckpointError(f"{state}: has {done} of its {wanted} epochs")
    weights = {}
    for key in checkpoint.weights:
        part, _, rest = key.partition(".")
        averaged = f"average_{part}.model.{rest}"
        weights[key] = tensors[averaged if averaged in tensors else key]
    checkpoint.weights = weights
    return checkpoint, meta["progress"]["history"]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"ground_models: {error}")
