r"""Compute all figures of a model card: scores, wording, invented people, grounding.

    python scripts/measure_model.py everyday --out runs/measured \
        --set everyday=data/everyday/captions_val.json:path/to/everyday \
        --set coco_subset=data/coco_subset/captions_val.json:path/to/coco \
        --set flickr8k=data/flickr8k/captions_val.json:path/to/flickr8k \
        --people everyday coco_subset --instances instances.json:path/to/coco \
        --human-captions captions_train.json

Everything is computed in float32 with the model's own search. Writes measured.md (the tables) and
measured.json (also the captions, the settings of every figure, and what they depend on) into --out.
--sizes measures the model at other input sizes too. `make records` measures the figures in the
documents, with showattend's own commands.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from showattend.captioner import Captioner
from showattend.config import to_dict
from showattend.evaluation.evaluate import caption_inputs, evaluate, read_references
from showattend.evaluation.grounding.ground import ground
from showattend.evaluation.mistakes.people import find_people
from showattend.evaluation.scores.metrics import METRICS
from showattend.evaluation.scores.wording import wording
from showattend.exceptions import DataError, UserError
from showattend.model.score_settings import caption_settings
from showattend.system.files import write_json, write_text
from showattend.system.provenance import remember_command, stamp

BASELINES = ("uniform", "centre", "other_word")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a shipped model's name, or a run's folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=CAPTIONS:IMAGES", dest="sets"
    )
    parser.add_argument("--people", nargs="*", default=[], help="sets to count invented people in")
    parser.add_argument("--instances", metavar="INSTANCES:IMAGES")
    parser.add_argument(
        "--human-captions", type=Path, help="human captions of the images in --instances"
    )
    parser.add_argument("--sizes", nargs="+", type=int, help="input sizes; default: the model's")
    args = parser.parse_args(arguments)
    remember_command(sys.argv[1:] if arguments is None else arguments, "measure_model.py")
    try:
        sets = dict(_set(text) for text in args.sets)
        if unknown := set(args.people) - sets.keys():
            raise UserError(f"--people {min(unknown)}: no --set has this name")
        found, lines = {}, []
        for size in args.sizes or [None]:
            captioner = Captioner.from_pretrained(args.model, precision="fp32", size=size)
            side = captioner.preprocessing.size
            found[str(side)] = measured = measure(captioner, sets, args)
            lines += [f"# {args.model} at {side} pixels", "", *tables(measured), ""]
            print("\n".join(lines), flush=True)
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(args.out / "measured.json", found)
        write_text(args.out / "measured.md", "\n".join(lines))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _set(text: str) -> tuple[str, tuple[Path, Path]]:
    name, sign, rest = text.partition("=")
    captions, colon, images = rest.rpartition(":")
    if not (sign and colon and name):
        raise UserError(f"--set {text}: has the form NAME=CAPTIONS:IMAGES")
    return name, (Path(captions), Path(images))


def measure(
    captioner: Captioner, sets: Mapping[str, tuple[Path, Path]], args: argparse.Namespace
) -> dict[str, Any]:
    """Compute all figures of one model at one size, as plain values."""
    found: dict[str, Any] = {
        "settings": {
            "search": to_dict(captioner.search),
            "size": captioner.preprocessing.size,
            "precision": "fp32",
        },
        "sets": {},
    }
    digests: dict[str, Any] = {}
    said: dict[str, list[str]] = {}
    references: dict[Any, tuple[str, ...]] = {}
    candidates: dict[Any, str] = {}
    for name, (captions, images) in sets.items():
        result = evaluate(captions, captioner=captioner, images=images, split="val")
        digests[name] = result["provenance"]["data"]
        said[name] = [each["caption"] for each in result["captions"]]
        found["sets"][name] = {
            "images": len(said[name]),
            "metrics": result["metrics"],
            "wording": wording([text.split() for text in said[name]]),
            "captions": result["captions"],
        }
        if name in args.people:
            written = {
                str(r.image_id): r.captions for r in read_references(captions, images, "val")
            }
            for each in result["captions"]:
                number = str(each["image_id"])
                references[name, number] = written[number]
                candidates[name, number] = each["caption"]
    every = [text.split() for texts in said.values() for text in texts]
    if every:
        found["wording"] = wording(every)
    if candidates:
        report = find_people(references, candidates)
        found["people"] = {
            key: {
                "count": rate.count,
                "of": rate.of,
                "share": rate.share,
                "interval": rate.interval,
            }
            for key, rate in (("put_in", report.put_in), ("left_out", report.left_out))
        }
    if args.instances:
        instances, _, photos = args.instances.rpartition(":")
        for key, human in (("own", None), ("human", args.human_captions)):
            if key == "own" or human:
                try:
                    result = ground(Path(instances), Path(photos), captioner, human)
                except DataError as error:  # no word names an annotated object
                    found[f"ground_{key}"] = {"problem": str(error)}
                    continue
                kept = ("words", "images", "pointing", "mass", "interval")
                found[f"ground_{key}"] = {name: result[name] for name in kept}
                digests[f"ground_{key}"] = result["provenance"]["data"]
    inputs = caption_inputs(captioner, caption_settings(captioner))
    found["provenance"] = stamp(captioner.device, data=digests, **inputs)
    return found


def tables(found: Mapping[str, Any]) -> list[str]:
    """Format the figures as Markdown."""
    lines = [f"| set | images | {' | '.join(METRICS)} | words | distinct | bad endings |"]
    lines.append("|---|---:|" + "---:|" * (len(METRICS) + 3))
    for name, each in found["sets"].items():
        scores = " | ".join(f"{each['metrics'].get(key, float('nan')):.3f}" for key in METRICS)
        lines.append(f"| {name} | {each['images']:,} | {scores} | {_worded(each['wording'])} |")
    if "wording" in found:
        lines.append(f"| together | | {' | ' * (len(METRICS) - 1)} | {_worded(found['wording'])} |")
    for key, title in (("put_in", "invent people"), ("left_out", "leave people out")):
        if (rate := found.get("people", {}).get(key)) and rate["of"]:
            low, high = rate["interval"]
            share = f"{rate['share']:.1%}, {low:.1%} to {high:.1%}"
            lines += ["", f"Captions that {title}: {rate['count']} of {rate['of']} ({share})."]
    for key, title in (("own", "Its own captions"), ("human", "Human captions, forced")):
        if f"ground_{key}" in found:
            lines += ["", *_grounding(title, found[f"ground_{key}"])]
    return lines


def _worded(figures: Mapping[str, Any]) -> str:
    words, distinct, bad = (figures[key] for key in ("words", "distinct", "bad_endings"))
    return f"{words:,} | {distinct:.1%} | {bad:.1%}"


def _grounding(title: str, found: Mapping[str, Any]) -> list[str]:
    if "problem" in found:
        return [f"{title}: {found['problem']}."]
    lines = [
        f"{title}: {found['words']} words in {found['images']} images.",
        "",
        "| map | pointing game | model's lead, 95 % | mass in the mask | model's lead, 95 % |",
        "|---|---:|---|---:|---|",
    ]
    for name in ("model", *BASELINES):
        cells: list[str] = []
        for measure in ("pointing", "mass"):
            lead = found["interval"][measure].get(name)
            cells += [
                f"{found[measure][name]:.3f}",
                f"{lead[0]:.3f} to {lead[1]:.3f}" if lead else "",
            ]
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
