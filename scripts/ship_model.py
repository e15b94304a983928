"""Turn a trained run into a shipped model: float16 weights and scores in one file.

    python scripts/ship_model.py runs/flickr8k --images DIR --annotations captions_val.json

Scores the run's weights as trained and rounded to float16, both computed in --precision, with the
code of `showattend evaluate`. Writes assets/model/NAME only if rounding loses nothing (CIDEr within
0.002), with the scores of the rounded weights and the settings used: size, precision, and the run's
own search settings.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from showattend.captioner import Captioner
from showattend.evaluation.evaluate import evaluate
from showattend.model import checkpoint
from showattend.model.description import figures_entry
from showattend.model.score_settings import describe_settings
from showattend.system.device import PRECISIONS
from showattend.system.provenance import portable

ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--name", default=checkpoint.DEFAULT_MODEL)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--split-name", default="Flickr8k validation split")
    parser.add_argument("--size", type=int, help="side of the input in pixels; default: the run's")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="for scoring")
    args = parser.parse_args(arguments)

    found = checkpoint.load(args.run)
    # The model file has the history up to its best epoch; the run's record has all of it.
    record = json.loads((args.run / "training.json").read_text(encoding="utf-8"))
    found.record = portable(record)  # no paths of this machine
    captioner = Captioner.from_checkpoint(found, precision="fp32")
    if args.size:
        captioner.resize(args.size)
        found.preprocessing = captioner.preprocessing.to_dict()
    half = captioner.to_checkpoint(half=True)
    results = {}
    for name, model in (("weights as trained", found), ("float16 weights", half)):
        result = evaluate(
            args.annotations,
            captioner=Captioner.from_checkpoint(model, name=name, precision=args.precision),
            images=args.images,
        )
        results[name] = result
        scores = "  ".join(f"{key} {value:.4f}" for key, value in result["metrics"].items())
        print(f"{name} ({describe_settings(result['settings'])}): {scores}")
    before, after = results.values()
    if after["metrics"]["CIDEr"] < before["metrics"]["CIDEr"] - 0.002:
        print("float16 lowers the CIDEr; nothing written", file=sys.stderr)
        return 1
    entry = figures_entry(args.split_name, after["metrics"], after["settings"])
    half.record["figures"] = [entry]
    file = checkpoint.save(ROOT / "assets/model" / args.name, half)
    print(f"wrote {file.relative_to(ROOT)} ({file.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
